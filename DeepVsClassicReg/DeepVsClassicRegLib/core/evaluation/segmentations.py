"""Agreement of segmentations: overlap, and distances between the boundaries of labels in millimeters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ..errors import RegistrationError
from ..images.grid import Grid
from ..images.volume import LabelMap
from .region import Sampled, indices_at

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint16]
LARGEST_TABLE = 1 << 20
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """The evaluated labels, numbered 1..n for fast counting.

    Attributes
    ----------
    labels : tuple of int
        Ascending.
    """

    labels: tuple[int, ...]

    def codes(self, array: npt.NDArray[np.integer]) -> Codes:
        """Return the number of each voxel's label, 0 for labels that are not evaluated."""
        wanted = np.array(self.labels, dtype=np.int64)
        low, high = int(array.min()), int(array.max())
        if low >= 0 and high < LARGEST_TABLE:
            table = np.zeros(max(high, int(wanted.max(initial=0))) + 1, dtype=np.uint16)
            table[wanted] = np.arange(1, len(wanted) + 1)
            return table[array]
        place = np.clip(np.searchsorted(wanted, array), 0, len(wanted) - 1)
        return np.where(wanted[place] == array, place + 1, 0).astype(np.uint16)

    def by_label(self, values: Array) -> dict[int, float]:
        """Return label -> value."""
        return {label: float(value) for label, value in zip(self.labels, values, strict=True)}


def scored_labels(
    fixed: LabelMap, moving: LabelMap, labels: Sequence[int] | None = None
) -> tuple[Scored, tuple[str, ...]]:
    """Return the labels to evaluate and notes on the excluded ones.

    A label is evaluated when it exists in both segmentations: a label on one side only says nothing about a
    registration, and a Dice of 0 would lower the mean of every engine. (An evaluated label that a transform moves out
    of the fixed field of view has a Dice of 0.)

    Parameters
    ----------
    fixed, moving : LabelMap
        The given segmentations, before any warping.
    labels : sequence of int, optional
        Labels to evaluate; default: all.

    Raises
    ------
    RegistrationError
        When more than 65535 labels are requested.
    """
    allowed = None if labels is None else {int(label) for label in labels} - {0}
    sides = [set(side.labels) if allowed is None else set(side.labels) & allowed for side in (fixed, moving)]
    shared = sorted(sides[0] & sides[1])
    if len(shared) >= 1 << 16:
        raise RegistrationError(f"{len(shared)} labels are too many to be a segmentation.")
    remarks = []
    for only, side in ((sides[0] - sides[1], "fixed"), (sides[1] - sides[0], "moving")):
        if only:
            names = (fixed if side == "fixed" else moving).names
            shown = [f"{label} ({names[label]})" if names.get(label) else str(label) for label in sorted(only)[:8]]
            named = ", ".join(shown) + (", …" if len(only) > 8 else "")
            remarks.append(f"{len(only)} label(s) only in the {side} segmentation are not evaluated: {named}.")
    return Scored(tuple(shared)), tuple(remarks)


def hard_overlap(fixed: Codes, warped: Codes, scored: Scored) -> dict[str, Any]:
    """Return the hard overlap measures of two coded label maps on one grid.

    Parameters
    ----------
    fixed, warped : (Z, Y, X) uint16 arrays
        Codes from `Scored.codes`; every evaluated label is in `fixed`.

    References
    ----------
    Klein et al., NeuroImage 46:786-802, 2009, doi 10.1016/j.neuroimage.2008.12.037 (pooled and target overlap);
    Taha & Hanbury, BMC Med. Imaging 15:29, 2015, doi 10.1186/s12880-015-0068-x (volume similarity).
    """
    count = len(scored.labels)
    sizes = [_counts(codes, codes > 0, count) for codes in (fixed, warped)]
    both = _counts(fixed, (fixed > 0) & (fixed == warped), count)
    total = sizes[0] + sizes[1]
    dice = 2 * both / total
    return {
        "dice_mean": float(dice.mean()),
        "dice_per_label": scored.by_label(dice),
        "dice_pooled": float(2 * both.sum() / total.sum()),
        "target_overlap_mean": float((both / sizes[0]).mean()),
        "volume_similarity_mean": float((1 - np.abs(sizes[0] - sizes[1]) / total).mean()),
        "labels_lost": int((sizes[1] == 0).sum()),
    }


def _counts(codes: Codes, chosen: Mask, count: int) -> Array:
    """Return how many of the chosen voxels have each of the codes 1..count."""
    return np.bincount(codes[chosen], minlength=count + 1)[1:].astype(float)


@dataclass(frozen=True, eq=False)
class Memberships:
    """The moving segmentation, prepared for the soft overlap with any transform.

    Attributes
    ----------
    grid : Grid
        The moving grid.
    scored : Scored
        The evaluated labels.
    codes : (N,) array
        Their codes in the flattened array of the moving segmentation.
    mixed_cells : (N,) bool array
        Voxels that form a cell with their upper neighbors in which there are several labels, in the flattened array.
    mixed : (Z, Y, X) bool array
        Voxels at a corner of such a cell. A point that is nearest to any other voxel lies between eight voxels with the
        same label.
    """

    grid: Grid
    scored: Scored
    codes: Codes
    mixed_cells: Mask
    mixed: Mask

    @classmethod
    def of(cls, moving: LabelMap, scored: Scored) -> Memberships:
        """Return the memberships of a segmentation."""
        codes = scored.codes(moving.array)
        cells = _mixed_cells(codes)
        mixed = cells.copy()
        for axis in range(3):
            rows = np.moveaxis(mixed, axis, 0)
            rows[1:] |= rows[:-1].copy()
        return cls(moving.grid, scored, codes.ravel(), cells.ravel(), mixed)


class SoftOverlap:
    """Sums of soft Dice of all labels, accumulated in one pass over parts of the grid.

    The linearly interpolated membership of a point in a label is the sum of the weights of its eight neighbors with
    that label. Adding the weights by label gives the soft Dice of all labels without warping one volume per label.
    Weights are computed in mixed voxels only: elsewhere the membership is 0 or 1.

    Parameters
    ----------
    moving : Memberships
        The moving segmentation.
    """

    def __init__(self, moving: Memberships) -> None:
        self._moving = moving
        self._warped, self._both, self._fixed = np.zeros((3, len(moving.scored.labels)))

    def add(self, fixed: Codes, warped: Codes, mixed: Mask, grid: Grid, mapping: Sampled) -> None:
        """Add a part of the fixed grid.

        Parameters
        ----------
        fixed, warped : (Z, Y, X) uint16 arrays
            Codes of the fixed and of the warped segmentation (nearest neighbor) on `grid`.
        mixed : (Z, Y, X) bool array
            `Memberships.mixed` on `grid`, nearest neighbor.
        grid : Grid
            The fixed grid or a slab of it.
        mapping : Sampled
            Fixed-to-moving transform; a field must be defined on `grid`.
        """
        count = len(self._fixed)
        self._fixed += _counts(fixed, fixed > 0, count)
        whole = (warped > 0) & ~mixed
        self._warped += _counts(warped, whole, count)
        self._both += _counts(warped, whole & (fixed == warped), count)
        for places, index in indices_at(grid, self._moving.grid, mapping, np.flatnonzero(mixed)):
            self._add_weights(fixed.reshape(-1)[places], index)

    def measures(self) -> dict[str, Any]:
        """Return the soft Dice of all added parts."""
        dice = 2 * self._both / (self._fixed + self._warped)
        return {"soft_dice_mean": float(dice.mean()), "soft_dice_per_label": self._moving.scored.by_label(dice)}

    def _add_weights(self, fixed: Codes, index: Array) -> None:
        """Add voxels of the fixed grid, with their continuous indices (i, j, k) in the moving grid, shape (3, N)."""
        size = np.array(self._moving.grid.size)[:, None]
        steps = (1, int(size[0, 0]), int(size[0, 0] * size[1, 0]))
        index = np.clip(index, 0, size - 1)
        low = index.astype(np.intp)
        base = low[0] + steps[1] * low[1] + steps[2] * low[2]
        mixed = self._moving.mixed_cells[base]
        self._add_counts(self._moving.codes[base[~mixed]], fixed[~mixed], None)
        base, fixed, low, index = base[mixed], fixed[mixed], low[:, mixed], index[:, mixed]
        upper = index - low
        shares = np.stack([1 - upper, upper])
        step = [np.where(rows < last, length, 0) for rows, last, length in zip(low, size[:, 0] - 1, steps, strict=True)]
        for i, j, k in np.ndindex(2, 2, 2):
            place = base + i * step[0] + j * step[1] + k * step[2]
            self._add_counts(self._moving.codes[place], fixed, shares[i, 0] * shares[j, 1] * shares[k, 2])

    def _add_counts(self, codes: Codes, fixed: Codes, weights: Array | None) -> None:
        """Count codes; in one pass also those that are the same in both segmentations."""
        count = len(self._fixed) + 1
        numbers = codes + (codes == fixed) * np.intp(count)
        other, same = np.bincount(numbers, weights, minlength=2 * count).reshape(2, count)
        self._both += same[1:]
        self._warped += (other + same)[1:]


def _mixed_cells(codes: Codes) -> Mask:
    """Return whether a voxel and its upper neighbors, the corners of a cell, have several codes."""
    mixed = np.zeros(codes.shape, dtype=bool)
    for axis in (2, 1, 0):  # an edge, then a square, then the cell; all corners stay connected
        rows, found = np.moveaxis(codes, axis, 0), np.moveaxis(mixed, axis, 0)
        found[:-1] |= found[1:]
        found[:-1] |= rows[1:] != rows[:-1]
    return mixed


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The boundaries of the labels of a segmentation: voxels with a neighbor outside the label or the volume.

    Attributes
    ----------
    places : tuple of (N,) arrays
        Per label, ascending numbers of its boundary voxels in the flattened array.
    shape : tuple of 3 int
        Shape of the array, (Z, Y, X).
    spacing_mm : tuple of 3 float
        Along the index axes (i, j, k); the axes are orthogonal, so the direction has no effect.
    """

    places: tuple[npt.NDArray[np.intp], ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, codes: Codes, scored: Scored, spacing_mm: tuple[float, float, float]) -> Surfaces:
        """Return the boundaries in an array of codes (`Scored.codes`)."""
        inner = codes == 0
        padded = np.pad(codes, 1)
        same = np.ones(codes.shape, dtype=bool)
        for axis in range(3):
            for start in (0, 2):
                part = [slice(1, -1)] * 3
                part[axis] = slice(start, start + codes.shape[axis])
                same &= padded[tuple(part)] == codes
        flat = np.flatnonzero(~(inner | same))
        own = codes.ravel()[flat]
        order = np.argsort(own, kind="stable")
        ends = np.cumsum(np.bincount(own, minlength=len(scored.labels) + 1))
        return cls(tuple(np.split(flat[order], ends[:-1])[1:]), codes.shape, spacing_mm)

    def points(self, place: int) -> Array:
        """Return the boundary voxels of a label (by its place among the scored labels) in mm, (N, 3)."""
        return np.stack(np.unravel_index(self.places[place], self.shape), axis=-1) * np.array(self.spacing_mm[::-1])

    def tree(self, place: int) -> cKDTree:
        """Return the search tree of the points of a label."""
        if place not in self._trees:
            # Faster to build and, for points on a grid, to query than a balanced tree.
            self._trees[place] = cKDTree(self.points(place), balanced_tree=False, compact_nodes=False)
        return self._trees[place]

    @cached_property
    def _trees(self) -> dict[int, cKDTree]:
        return {}

    def distances(self, other: Surfaces, place: int, *, threads: int = 1) -> Array:
        """Return the distance of each boundary voxel of a label to the nearest one of another segmentation, mm.

        Most are short: they are looked up in the neighborhood of the voxel, the others are searched in the tree.
        """
        own = self.places[place]
        found = np.zeros(len(own))
        left, here = np.arange(len(own)), other._padded(own)
        for length, step in other._neighbors:
            hit = other._codes.take(here + step) == place + 1
            found[left[hit]] = length
            left, here = left[~hit], here[~hit]
        if len(left):
            found[left] = other.tree(place).query(self.points(place)[left], workers=threads)[0]
        return found

    @cached_property
    def _codes(self) -> Codes:
        """The codes of boundary voxels, 0 elsewhere, in the flattened array with one more voxel on every side."""
        codes = np.zeros(np.array(self.shape) + 2, dtype=np.uint16).ravel()
        for place, places in enumerate(self.places):
            codes[self._padded(places)] = place + 1
        return codes

    def _padded(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return the numbers of voxels in the flattened array with one more voxel on every side."""
        k, j, i = np.unravel_index(places, self.shape)
        return ((k + 1) * (self.shape[1] + 2) + j + 1) * (self.shape[2] + 2) + i + 1

    @cached_property
    def _neighbors(self) -> list[tuple[float, int]]:
        """Distance and step in the padded array of the voxel itself and of its neighbors, the nearest first.

        Neighbors are left out that are farther away than a voxel two steps away.
        """
        width, height = self.shape[2] + 2, self.shape[1] + 2
        found = []
        for k, j, i in itertools.product((-1, 0, 1), repeat=3):
            length = float(np.linalg.norm(np.array([i, j, k]) * self.spacing_mm))
            if length <= 2 * min(self.spacing_mm):
                found.append((length, (k * height + j) * width + i))
        return sorted(found)


def surface_measures(fixed: Surfaces, warped: Surfaces, scored: Scored, *, threads: int = 1) -> dict[str, Any]:
    """Return HD95, HD and average symmetric surface distance per label and as means.

    Distances are measured between voxel centers, to the nearest boundary voxel of the other label map. HD95
    is the larger of the two directed 95th percentiles, ASSD the mean over both sets of distances. A label that is
    missing on one side has no distance: NaN, excluded from the means (`labels_lost` counts them).

    Parameters
    ----------
    fixed, warped : Surfaces
        Boundaries on one grid.
    threads : int
        Number of CPU threads.
    """
    distances = np.full((3, len(scored.labels)), np.nan)
    for place in range(len(scored.labels)):
        if not len(fixed.places[place]) or not len(warped.places[place]):
            continue
        there = fixed.distances(warped, place, threads=threads)
        back = warped.distances(fixed, place, threads=threads)
        both = np.concatenate([there, back])
        distances[:, place] = max(np.percentile(there, 95), np.percentile(back, 95)), both.max(), both.mean()
    measures: dict[str, Any] = {}
    for name, values in zip(("hd95_mm", "hd_mm", "assd_mm"), distances, strict=True):
        found = values[np.isfinite(values)]
        measures[f"{name}_mean"] = float(found.mean()) if len(found) else float("nan")
        measures[f"{name}_per_label"] = scored.by_label(values)
    return measures
