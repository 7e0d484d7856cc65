"""Agreement of segmentations: overlap, and distances between the boundaries of labels in millimeters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ..errors import RegistrationError
from ..images.grid import Grid
from ..images.volume import LabelMap
from .region import Sampled, in_grid, moving_indices

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint16]
LARGEST_TABLE = 1 << 20
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice, slice]


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
    count = len(scored.labels) + 1
    sizes = [np.bincount(codes.ravel(), minlength=count)[1:].astype(float) for codes in (fixed, warped)]
    both = np.bincount(fixed[fixed == warped].ravel(), minlength=count)[1:].astype(float)
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


class SoftOverlap:
    """Sums of soft Dice of all labels, accumulated in one pass over parts of the grid.

    The linearly interpolated membership of a point in a label is the sum of the weights of its eight neighbors with
    that label. Adding the weights by label gives the soft Dice of all labels without warping one volume per label.

    Parameters
    ----------
    moving : LabelMap
        The moving segmentation.
    scored : Scored
        The evaluated labels.
    """

    def __init__(self, moving: LabelMap, scored: Scored) -> None:
        self.grid = moving.grid
        self.scored = scored
        codes = scored.codes(moving.array)
        self._codes = codes.ravel()
        self._near = _any_of_eight(codes > 0).ravel()
        self._warped, self._both, self._fixed = np.zeros((3, len(scored.labels) + 1))

    def add(self, fixed: Codes, grid: Grid, mapping: Sampled) -> None:
        """Add a part of the fixed grid.

        Parameters
        ----------
        fixed : (Z, Y, X) uint16 array
            Fixed codes on `grid`.
        grid : Grid
            The fixed grid or a slab of it.
        mapping : Sampled
            Fixed-to-moving transform; a field must be defined on `grid`.
        """
        for part, index in moving_indices(grid, self.grid, mapping):
            self.add_points(fixed[part], index)

    def measures(self) -> dict[str, Any]:
        """Return the soft Dice of all added parts."""
        dice = 2 * self._both[1:] / (self._fixed + self._warped)[1:]
        return {"soft_dice_mean": float(dice.mean()), "soft_dice_per_label": self.scored.by_label(dice)}

    def add_points(self, fixed: Codes, index: Array) -> None:
        """Add voxels of the fixed grid, with their continuous indices (i, j, k) in the moving grid, shape (N, 3)."""
        fixed = fixed.ravel()
        self._fixed += np.bincount(fixed, minlength=len(self._fixed))
        size = np.array(self.grid.size)
        steps = np.array([1, size[0], size[0] * size[1]])
        low = np.clip(index, 0, size - 1).astype(np.int64)
        base = low[:, 0] + low[:, 1] * steps[1] + low[:, 2] * steps[2]
        chosen = np.flatnonzero(in_grid(self.grid, index) & self._near[base])
        base, fixed, low, index = base[chosen], fixed[chosen], low[chosen], np.clip(index[chosen], 0, size - 1)
        upper = index - low
        step = np.where(low < size - 1, steps, 0)
        for corner in np.ndindex(2, 2, 2):
            weight = np.ones(len(chosen))
            place = base.copy()
            for axis, high in enumerate(corner):
                weight *= upper[:, axis] if high else 1 - upper[:, axis]
                if high:
                    place += step[:, axis]
            codes = self._codes[place]
            self._warped += np.bincount(codes, weight, minlength=len(self._warped))
            hit = codes == fixed
            self._both += np.bincount(codes[hit], weight[hit], minlength=len(self._both))


def _any_of_eight(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return whether a voxel or one of its upper neighbors (the cell above it) is set."""
    near = there.copy()
    for axis in range(3):
        lower = [slice(None)] * 3
        upper = [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        grown = near.copy()
        grown[tuple(lower)] |= near[tuple(upper)]
        near = grown
    return near


def surface_measures(
    fixed: Codes, warped: Codes, scored: Scored, spacing_mm: tuple[float, float, float]
) -> dict[str, Any]:
    """Return HD95, HD and average symmetric surface distance per label and as means.

    The boundary of a label is the set of its voxels with at least one of their six neighbors outside the label (or the
    volume). Distances are measured between voxel centers, to the nearest boundary voxel of the other label map. HD95
    is the larger of the two directed 95th percentiles, ASSD the mean over both sets of distances. A label that is
    missing on one side has no distance: NaN, excluded from the means (`labels_lost` counts them).

    Parameters
    ----------
    fixed, warped : (Z, Y, X) uint16 arrays
        Codes from `Scored.codes`.
    spacing_mm : tuple of 3 float
        Along the index axes (i, j, k); the axes are orthogonal, so the direction has no effect.
    """
    distances = np.full((3, len(scored.labels)), np.nan)
    boxes = _boxes(fixed, len(scored.labels)), _boxes(warped, len(scored.labels))
    for place in range(len(scored.labels)):
        first, second = boxes[0][place], boxes[1][place]
        if first is None or second is None:
            continue
        # A neighbor outside the box does not carry the label, so cutting the box out changes no boundary.
        box = _union(first, second)
        there, back = directed_distances(fixed[box] == place + 1, warped[box] == place + 1, spacing_mm)
        both = np.concatenate([there, back])
        distances[:, place] = max(np.percentile(there, 95), np.percentile(back, 95)), both.max(), both.mean()
    measures: dict[str, Any] = {}
    for name, values in zip(("hd95_mm", "hd_mm", "assd_mm"), distances, strict=True):
        found = values[np.isfinite(values)]
        measures[f"{name}_mean"] = float(found.mean()) if len(found) else float("nan")
        measures[f"{name}_per_label"] = scored.by_label(values)
    return measures


def directed_distances(first: Mask, second: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Array, Array]:
    """Return the boundary distances first -> second and second -> first of two masks on one grid, mm.

    Raises
    ------
    ValueError
        When a mask is empty.
    """
    there, back = (np.argwhere(boundary(mask)) * np.array(spacing_mm[::-1]) for mask in (first, second))
    if not len(there) or not len(back):
        raise ValueError("An empty mask has no boundary.")
    return cKDTree(back).query(there)[0], cKDTree(there).query(back)[0]


def boundary(mask: Mask) -> Mask:
    """Return the voxels of a mask with one of their six neighbors outside of it or of the volume."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for start in (0, 2):
            part = [slice(1, -1)] * 3
            part[axis] = slice(start, start + mask.shape[axis])
            inner &= padded[tuple(part)]
    return mask & ~inner


def _boxes(codes: Codes, count: int) -> list[Box | None]:
    """Return the bounding box of each code 1..count, None for missing codes."""
    flat = np.flatnonzero(codes)
    order = np.argsort(codes.ravel()[flat], kind="stable")
    flat = flat[order]
    present, starts = np.unique(codes.ravel()[flat], return_index=True)
    boxes: list[Box | None] = [None] * count
    if not len(present):
        return boxes
    lows, highs = [], []
    for coordinate in np.unravel_index(flat, codes.shape):
        lows.append(np.minimum.reduceat(coordinate, starts))
        highs.append(np.maximum.reduceat(coordinate, starts))
    for place, code in enumerate(present):
        z, y, x = (slice(int(low[place]), int(high[place]) + 1) for low, high in zip(lows, highs, strict=True))
        boxes[int(code) - 1] = (z, y, x)
    return boxes


def _union(first: Box, second: Box) -> Box:
    z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return z, y, x
