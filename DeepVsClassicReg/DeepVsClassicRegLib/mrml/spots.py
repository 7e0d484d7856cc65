"""Where a run deserves a look: folds, disagreement of intensities, structures that fit worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from slicer.i18n import tr as _

from ..core.images.grid import Grid
from . import comparison
from .arrays import array_of
from .frames import flipped, grid_of
from .runs import Run

APART = 15.0  # in units of the grid, mm for a head
MOST_FOLDS = 5000


@dataclass(frozen=True)
class Spot:
    """A place worth looking at.

    Attributes
    ----------
    point_mm : tuple of 3 float
        LPS position in fixed space.
    text : str
        What is to be seen there, such as 'Left hippocampus: Dice 0.61'.
    """

    point_mm: tuple[float, float, float]
    text: str


def places(run: Run) -> list[Spot]:
    """Return where the verdict of a run wants to be looked at, the gravest first."""
    return [Spot(_three(place["point_mm"]), str(place["text"])) for place in run.report.get("look_at") or ()]


def worst_folds(run: Run, *, count: int = 10) -> list[Spot]:
    """Return the places with the lowest Jacobian determinant <= 0, worst first; empty when nothing folds.

    Places are at least 15 mm (of a head; in proportion elsewhere) apart.

    Raises
    ------
    RegistrationError
        When the Jacobian was deleted.
    """
    jacobian = run.need("jacobian")
    array = array_of(jacobian)
    folded = np.flatnonzero(array <= 0)
    values = array.reshape(-1)[folded]
    if len(folded) > MOST_FOLDS:
        worst = np.argpartition(values, MOST_FOLDS)[:MOST_FOLDS]
        folded, values = folded[worst], values[worst]
    order = np.argsort(values)
    index = np.stack(np.unravel_index(folded[order], array.shape), axis=-1)[:, ::-1]
    grid = grid_of(jacobian)
    points = grid.index_to_point(index)
    taken = comparison.separate(points, apart_mm=APART * grid.unit_mm, count=count)
    return [
        _spot(points[place], _("Folded: Jacobian {value:.2f}").format(value=values[order[place]])) for place in taken
    ]


def disagreements(fixed: comparison.Bytes, warped: comparison.Bytes, grid: Grid, *, count: int = 10) -> list[Spot]:
    """Return the places where windowed volumes on one grid disagree most, see `comparison.disagreement`."""
    found = comparison.disagreement(fixed, warped, grid, count=20 * count)
    if not found:
        return []
    points = np.stack([point for point, _ in found])
    taken = comparison.separate(points, apart_mm=APART * grid.unit_mm, count=count)
    return [
        _spot(points[place], _("Unexplained intensity {value:.0f} % of the window").format(value=found[place][1]))
        for place in taken
    ]


def lowest_dice(run: Run) -> list[Spot]:
    """Return the labels, lowest Dice first, each with the middle of its structure.

    The middle was noted when the result was read (a voxel inside the warped label nearest to its centroid); a
    label that has vanished is looked for in the fixed segmentation.
    """
    scores: Mapping[str, float | None] = run.measures.get("dice_per_label") or {}
    styles, places = run.labels, run.label_places
    found = []
    for number, score in sorted(scores.items(), key=lambda item: item[1] if item[1] is not None else math.inf):
        if score is None:
            continue
        style = styles.get(int(number))
        name = style.name if style is not None else _("Label {number}").format(number=number)
        place = places.get(int(number)) or _fixed_middle(run, name)
        if place is not None:
            found.append(Spot(place, _("{name}: Dice {score:.2f}").format(name=name, score=score)))
    return found


def label_middles(array: npt.NDArray[np.integer], grid: Grid) -> dict[int, tuple[float, float, float]]:
    """Return for each label the LPS position of its voxel nearest to its centroid."""
    flat = np.flatnonzero(array)
    values = array.reshape(-1)[flat]
    order = np.argsort(values, kind="stable")
    flat, values = flat[order], values[order]
    numbers, starts = np.unique(values, return_index=True)
    middles = {}
    for number, voxels in zip(numbers.tolist(), np.split(flat, starts[1:]), strict=True):
        index = np.stack(np.unravel_index(voxels, array.shape), axis=-1)[:, ::-1]
        nearest = np.linalg.norm((index - index.mean(axis=0)) * np.array(grid.spacing_mm), axis=1).argmin()
        middles[number] = _three(grid.index_to_point(index[nearest]))
    return middles


def _fixed_middle(run: Run, name: str) -> tuple[float, float, float] | None:
    node = run.node("fixed_labels")
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return None
    segment = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    center = node.GetSegmentCenterRAS(segment) if segment else None
    return _three(flipped(center)) if center is not None else None


def _spot(point: npt.NDArray[np.float64], text: str) -> Spot:
    return Spot(_three(point), text)


def _three(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
