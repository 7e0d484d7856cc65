"""Where to look after a run: the places that speak most against it, the same in the report and in the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.lengths import length_text
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from .mismatch import Mismatch

SUSPICIOUS_JACOBIAN = 0.1
APART = 15.0  # between two places of one kind, in units of the grid, mm for a head
MOST_FOLDS = 5000
COUNT = 10


@dataclass(frozen=True)
class Location:
    """A place worth looking at.

    Attributes
    ----------
    point_mm : tuple of 3 float
        LPS position in fixed space.
    voxel : tuple of 3 int
        Nearest voxel (i, j, k) of the fixed volume.
    text : str
        What is to be seen there.
    """

    point_mm: tuple[float, float, float]
    voxel: tuple[int, int, int]
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return the location as plain JSON values."""
        return {
            "point_mm": [float(f"{value:.7g}") for value in self.point_mm],
            "voxel": list(self.voxel),
            "text": self.text,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Location:
        """Return the location that `to_json` wrote."""
        (x, y, z), (i, j, k) = values["point_mm"], values["voxel"]
        return cls((float(x), float(y), float(z)), (int(i), int(j), int(k)), str(values["text"]))


@dataclass(frozen=True)
class Locations:
    """The places of each kind, worst first.

    Attributes
    ----------
    fold : tuple of Location
        The lowest Jacobian determinants of 0 and less.
    match : tuple of Location
        Where the intensities match worst.
    structure : tuple of Location
        The scored structures, lowest Dice first.
    look_at : tuple of Location
        The worst place of each kind and the worst landmark, the gravest first.
    """

    fold: tuple[Location, ...] = ()
    match: tuple[Location, ...] = ()
    structure: tuple[Location, ...] = ()
    look_at: tuple[Location, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the places of each kind as plain JSON values; `look_at` stands in the report by itself."""
        return {kind: [place.to_json() for place in getattr(self, kind)] for kind in ("fold", "match", "structure")}


def locations_of(
    pair: Pair,
    values: Mapping[str, Any],
    *,
    jacobian: Volume | None,
    inside: npt.NDArray[np.bool_],
    mismatches: Sequence[Mismatch],
) -> Locations:
    """Return where a result deserves a look.

    Parameters
    ----------
    pair : Pair
        What was registered.
    values : mapping
        Measures of the result (`dice_per_label`, `tre_mm_per_point`).
    jacobian : Volume or None
        Determinant on the fixed grid.
    inside : (Z, Y, X) bool array
        Where it is evaluated.
    mismatches : sequence of Mismatch
        Where the intensities match worst, worst first.
    """
    folds = worst_folds(jacobian, inside) if jacobian is not None else ()
    matches = worst_matches(mismatches, pair.fixed.grid)
    structures = lowest_dice(pair.fixed_labels, values.get("dice_per_label") or {}, pair.fixed.grid)
    worst = [
        *(folds[:1] or _squeezed(jacobian, inside)),
        *_worst_landmark(pair, values),
        *structures[:1],
        *matches[:1],
    ]
    return Locations(folds, matches, structures, tuple(worst))


def worst_folds(jacobian: Volume, inside: npt.NDArray[np.bool_], *, count: int = COUNT) -> tuple[Location, ...]:
    """Return the places with the lowest Jacobian determinant <= 0, worst first; empty when nothing folds.

    Parameters
    ----------
    jacobian : Volume
        Determinant on the fixed grid.
    inside : (Z, Y, X) bool array
        Where it is evaluated.
    count : int
        Most places; they are at least 15 mm (of a head; in proportion elsewhere) apart.
    """
    grid = jacobian.grid
    folded = np.flatnonzero((jacobian.array <= 0) & inside)
    values = jacobian.array.reshape(-1)[folded]
    if len(folded) > MOST_FOLDS:
        worst = np.argpartition(values, MOST_FOLDS)[:MOST_FOLDS]
        folded, values = folded[worst], values[worst]
    order = np.argsort(values, kind="stable")
    index = np.stack(np.unravel_index(folded[order], jacobian.array.shape), axis=-1)[:, ::-1]
    points = grid.index_to_point(index)
    return tuple(
        _location(grid, points[place], f"Folded: Jacobian {values[order[place]]:.2f}.")
        for place in separate(points, apart_mm=APART * grid.view_unit_mm, count=count)
    )


def worst_matches(mismatches: Sequence[Mismatch], grid: Grid, *, count: int = COUNT) -> tuple[Location, ...]:
    """Return the places where the intensities match worst, worst first, at least 15 mm (of a head) apart."""
    if not mismatches:
        return ()
    points = np.array([each.point_mm for each in mismatches])
    return tuple(
        _location(
            grid,
            points[place],
            f"Intensities match badly: {mismatches[place].percent:.0f} % of their range is unexplained.",
        )
        for place in separate(points, apart_mm=APART * grid.view_unit_mm, count=count)
    )


def lowest_dice(labels: LabelMap | None, scores: Mapping[Any, float | None], grid: Grid) -> tuple[Location, ...]:
    """Return the scored structures, lowest Dice first, each at the middle of the fixed structure.

    Parameters
    ----------
    labels : LabelMap or None
        The fixed segmentation.
    scores : mapping of label to float
        Dice of each label; None and NaN are left out.
    grid : Grid
        Of the fixed volume.
    """
    if labels is None:
        return ()
    middles = label_middles(labels.array, labels.grid)
    scored = {int(label): float(score) for label, score in scores.items() if score is not None and score == score}
    return tuple(
        _location(grid, middles[label], f"{labels.names.get(label, f'Label {label}')}: Dice {scored[label]:.2f}.")
        for label in sorted(scored, key=lambda each: scored[each])
        if label in middles
    )


def label_middles(array: npt.NDArray[np.integer], grid: Grid) -> dict[int, npt.NDArray[np.floating]]:
    """Return for each label the LPS position of its voxel nearest to its centroid.

    The centroid itself may lie outside a bent structure.
    """
    flat = np.flatnonzero(array)
    values = array.reshape(-1)[flat]
    order = np.argsort(values, kind="stable")
    flat, values = flat[order], values[order]
    numbers, starts = np.unique(values, return_index=True)
    middles = {}
    for number, voxels in zip(numbers.tolist(), np.split(flat, starts[1:]), strict=True):
        index = np.stack(np.unravel_index(voxels, array.shape), axis=-1)[:, ::-1]
        nearest = np.linalg.norm((index - index.mean(axis=0)) * np.array(grid.spacing_mm), axis=1).argmin()
        middles[number] = grid.index_to_point(index[nearest])
    return middles


def separate(points_mm: npt.NDArray[np.floating], *, apart_mm: float, count: int) -> list[int]:
    """Return the indices of the first points that keep a distance from the ones taken before."""
    taken: list[int] = []
    free = np.ones(len(points_mm), dtype=bool)
    while len(taken) < count and free.any():
        index = int(np.argmax(free))
        taken.append(index)
        free &= np.linalg.norm(points_mm - points_mm[index], axis=1) > apart_mm
    return taken


def _location(grid: Grid, point_mm: npt.ArrayLike, text: str) -> Location:
    x, y, z = (float(value) for value in np.asarray(point_mm))
    nearest = np.clip(np.rint(grid.point_to_index([x, y, z])), 0, np.array(grid.size) - 1).astype(int)
    i, j, k = (int(value) for value in nearest)
    return Location((x, y, z), (i, j, k), text)


def _squeezed(jacobian: Volume | None, inside: npt.NDArray[np.bool_]) -> tuple[Location, ...]:
    """Return where the volume shrinks most, when that is suspicious."""
    if jacobian is None or not inside.any():
        return ()
    values = np.where(inside, jacobian.array, np.inf)
    place = int(np.argmin(values))
    lowest = float(values.ravel()[place])
    if lowest >= SUSPICIOUS_JACOBIAN:
        return ()
    k, j, i = np.unravel_index(place, values.shape)
    point = jacobian.grid.index_to_point([i, j, k])
    return (_location(jacobian.grid, point, f"Squeezed most: Jacobian {lowest:.2f}."),)


def _worst_landmark(pair: Pair, values: Mapping[str, Any]) -> tuple[Location, ...]:
    errors = values.get("tre_mm_per_point")
    if errors is None or pair.fixed_points is None or not len(errors):
        return ()
    number = int(np.argmax(errors))
    text = f"Landmark {number + 1}: error {length_text(float(errors[number]))}, the largest."
    return (_location(pair.fixed.grid, pair.fixed_points[number], text),)
