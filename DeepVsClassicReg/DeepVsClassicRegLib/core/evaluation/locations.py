"""Locations to check after a run: the worst ones of each kind, the same in the report and in the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..files import from_plain
from ..images.grid import Grid, length_text
from ..images.intensity import robust_range
from ..images.volume import LabelMap, Volume
from ..pair import Pair

SUSPICIOUS_JACOBIAN = 0.1
APART = 15.0  # minimum distance between two locations of one kind, in units of the grid (mm for a head)
MOST_FOLDS = 5000
COUNT = 10
# In units of the grid (mm for a head).
BLOCK, SAMPLE = 10.0, 2.5
LEAST_INSIDE = 0.5
MOST_BLOCKS = 200


@dataclass(frozen=True)
class Mismatch:
    """A block in which volumes do not match.

    Attributes
    ----------
    point_mm : tuple of 3 float
        LPS coordinates of its center.
    percent : float
        Standard deviation of the residuals of the best linear fit, in percent of the range of the fixed intensities.
    """

    point_mm: tuple[float, float, float]
    percent: float


@dataclass(frozen=True)
class Location:
    """A location to check.

    Attributes
    ----------
    point_mm : tuple of 3 float
        LPS coordinates in fixed space.
    voxel : tuple of 3 int
        Nearest voxel (i, j, k) of the fixed volume.
    text : str
        Description of the finding.
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
        """Return the location from the output of `to_json`."""
        return from_plain(cls, values)


@dataclass(frozen=True)
class Locations:
    """The locations of each kind, worst first.

    Attributes
    ----------
    fold : tuple of Location
        The lowest Jacobian determinants of 0 and less.
    match : tuple of Location
        The worst matches of the intensities.
    structure : tuple of Location
        The evaluated structures, lowest Dice first.
    error : tuple of Location
        Largest estimated errors, when they were requested.
    look_at : tuple of Location
        The worst location of each kind and the worst landmark, the most severe first.
    """

    fold: tuple[Location, ...] = ()
    match: tuple[Location, ...] = ()
    structure: tuple[Location, ...] = ()
    error: tuple[Location, ...] = ()
    look_at: tuple[Location, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the locations of each kind as plain JSON values, without `look_at`, a separate entry of the report."""
        kinds = ("fold", "match", "structure", *(("error",) if self.error else ()))
        return {kind: [place.to_json() for place in getattr(self, kind)] for kind in kinds}


def locations_of(
    pair: Pair,
    values: Mapping[str, Any],
    *,
    jacobian: Volume | None,
    inside: npt.NDArray[np.bool_],
    mismatches: Sequence[Mismatch],
) -> Locations:
    """Return the locations to check in a result.

    Parameters
    ----------
    pair : Pair
        The registered pair.
    values : mapping
        Measures of the result (`dice_per_label`, `tre_mm_per_point`).
    jacobian : Volume or None
        Determinant on the fixed grid.
    inside : (Z, Y, X) bool array
        Region of the evaluation.
    mismatches : sequence of Mismatch
        Blocks with bad match of the intensities, worst first.
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
    return Locations(folds, matches, structures, look_at=tuple(worst))


def worst_folds(jacobian: Volume, inside: npt.NDArray[np.bool_], *, count: int = COUNT) -> tuple[Location, ...]:
    """Return the locations with the lowest Jacobian determinant <= 0, worst first; empty without folds.

    Parameters
    ----------
    jacobian : Volume
        Determinant on the fixed grid.
    inside : (Z, Y, X) bool array
        Region of the evaluation.
    count : int
        Maximum number of locations; they are at least 15 mm apart (for a head; otherwise in proportion).
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
        location_at(grid, points[place], f"Folded: Jacobian {values[order[place]]:.2f}.")
        for place in separate(points, apart_mm=APART * grid.view_unit_mm, count=count)
    )


def worst_matches(mismatches: Sequence[Mismatch], grid: Grid, *, count: int = COUNT) -> tuple[Location, ...]:
    """Return the locations of the worst matches, worst first, at least 15 mm (for a head) apart."""
    if not mismatches:
        return ()
    points = np.array([each.point_mm for each in mismatches])
    return tuple(
        location_at(
            grid,
            points[place],
            f"Poor match: intensities differ by {mismatches[place].percent:.0f} % of their range after a linear fit.",
        )
        for place in separate(points, apart_mm=APART * grid.view_unit_mm, count=count)
    )


def lowest_dice(labels: LabelMap | None, scores: Mapping[Any, float | None], grid: Grid) -> tuple[Location, ...]:
    """Return the evaluated structures, lowest Dice first, each at the middle of the fixed structure.

    Parameters
    ----------
    labels : LabelMap or None
        The fixed segmentation.
    scores : mapping of label to float
        Dice of each label; None and NaN are omitted.
    grid : Grid
        Grid of the fixed volume.
    """
    if labels is None:
        return ()
    middles = label_middles(labels.array, labels.grid)
    scored = {int(label): float(score) for label, score in scores.items() if score is not None and score == score}
    return tuple(
        location_at(grid, middles[label], f"{labels.names.get(label, f'Label {label}')}: Dice {scored[label]:.2f}.")
        for label in sorted(scored, key=lambda each: scored[each])
        if label in middles
    )


def label_middles(array: npt.NDArray[np.integer], grid: Grid) -> dict[int, npt.NDArray[np.floating]]:
    """Return for each label the LPS coordinates of its voxel nearest to its centroid.

    The centroid itself may be outside a curved structure.
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
    """Return the indices of the first points that are far enough from all points selected before."""
    taken: list[int] = []
    free = np.ones(len(points_mm), dtype=bool)
    while len(taken) < count and free.any():
        index = int(np.argmax(free))
        taken.append(index)
        free &= np.linalg.norm(points_mm - points_mm[index], axis=1) > apart_mm
    return taken


def location_at(grid: Grid, point_mm: npt.ArrayLike, text: str) -> Location:
    """Return the location of a point with its nearest voxel of a grid."""
    x, y, z = (float(value) for value in np.asarray(point_mm))
    nearest = np.clip(np.rint(grid.point_to_index([x, y, z])), 0, np.array(grid.size) - 1).astype(int)
    i, j, k = (int(value) for value in nearest)
    return Location((x, y, z), (i, j, k), text)


def _squeezed(jacobian: Volume | None, inside: npt.NDArray[np.bool_]) -> tuple[Location, ...]:
    """Return the location of the strongest compression, if it is suspicious."""
    if jacobian is None or not inside.any():
        return ()
    values = np.where(inside, jacobian.array, np.inf)
    place = int(np.argmin(values))
    lowest = float(values.ravel()[place])
    if lowest >= SUSPICIOUS_JACOBIAN:
        return ()
    k, j, i = np.unravel_index(place, values.shape)
    point = jacobian.grid.index_to_point([i, j, k])
    return (location_at(jacobian.grid, point, f"Strongest compression: Jacobian {lowest:.2f}."),)


def _worst_landmark(pair: Pair, values: Mapping[str, Any]) -> tuple[Location, ...]:
    errors = values.get("tre_mm_per_point")
    if errors is None or pair.fixed_points is None or not len(errors):
        return ()
    number = int(np.argmax(errors))
    text = f"Landmark {number + 1}: error {length_text(float(errors[number]))}, the largest."
    return (location_at(pair.fixed.grid, pair.fixed_points[number], text),)


def mismatches_of(
    fixed: npt.NDArray[np.generic],
    warped: npt.NDArray[np.generic],
    inside: npt.NDArray[np.bool_],
    grid: Grid,
    *,
    count: int = MOST_BLOCKS,
) -> list[Mismatch]:
    """Return the blocks in which the warped volume predicts the fixed volume worst, worst first.

    In blocks of about 10 mm (for a head; otherwise in proportion) the fixed intensities are fitted linearly by the
    warped ones. The residual does not depend on the contrast, so that T1 and T2 can be compared; unlike a correlation
    it is small in blocks that contain mostly noise.

    Parameters
    ----------
    fixed, warped : (Z, Y, X) arrays
        Volumes on the same grid.
    inside : (Z, Y, X) bool array
        Region of the comparison; a block is used when at least half of it is inside.
    grid : Grid
        Grid of both volumes.
    count : int
        Maximum number of blocks.
    """
    if not inside.any():
        return []
    unit = grid.view_unit_mm
    step = [max(1, int(SAMPLE * unit / s)) for s in grid.spacing_mm]
    edge = [max(2, round(BLOCK * unit / (s * n))) for s, n in zip(grid.spacing_mm, step, strict=True)]
    every = tuple(slice(None, None, n) for n in step[::-1])
    mask = inside[every]
    if not mask.any():
        return []
    (f, spread), (w, _) = (_clipped(array[every], mask) for array in (fixed, warped))
    if spread <= 0:
        return []
    f, w, m = _blocks(f, edge), _blocks(w, edge), _blocks(mask, edge)
    voxels = m.sum(axis=-1)
    safe = np.maximum(voxels, 1)
    f = m * (f - (m * f).sum(axis=-1, keepdims=True) / safe[..., None])
    w = m * (w - (m * w).sum(axis=-1, keepdims=True) / safe[..., None])
    common = (f * w).sum(axis=-1) ** 2 / np.maximum((w * w).sum(axis=-1), 1e-12)
    left = 100 * np.sqrt(np.maximum((f * f).sum(axis=-1) - common, 0) / safe) / spread
    left[voxels < LEAST_INSIDE * m.shape[-1]] = -1
    order = np.argsort(-left, axis=None, kind="stable")[:count]
    order = order[left.reshape(-1)[order] >= 0]
    k, j, i = np.unravel_index(order, left.shape)
    centers = (np.stack([i, j, k], axis=-1) + 0.5) * np.array(edge) * np.array(step) - 0.5
    points = grid.index_to_point(np.minimum(centers, np.array(grid.size) - 1))
    return [
        Mismatch((float(x), float(y), float(z)), float(left.flat[place]))
        for (x, y, z), place in zip(points, order, strict=True)
    ]


def _clipped(array: npt.NDArray[np.generic], inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], float]:
    """Return the array clipped to its robust range in the region, and the width of that range."""
    values = array.astype(np.float64)
    low, high = robust_range(values[inside])
    return np.clip(values, low, high), high - low


def _blocks(array: npt.NDArray[np.generic], edge: list[int]) -> npt.NDArray[np.float64]:
    """Return (blocks z, y, x, voxels of a block); incomplete blocks at the upper border are omitted."""
    sizes = [max(1, n // e) for n, e in zip(array.shape, edge[::-1], strict=True)]
    steps = [min(e, n) for n, e in zip(array.shape, edge[::-1], strict=True)]
    cut = array[tuple(slice(0, s * e) for s, e in zip(sizes, steps, strict=True))]
    parts = cut.reshape(sizes[0], steps[0], sizes[1], steps[1], sizes[2], steps[2]).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(*sizes, -1).astype(np.float64)
