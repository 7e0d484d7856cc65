"""Overlap of segmentations: hard, soft and pooled Dice, target overlap, volume similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from ..images.grid import Grid
from ..images.volume import LabelMap
from .mapping import Sampled, moving_indices

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint16]
LARGEST_TABLE = 1 << 20


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
        count = len(self._fixed)
        self._fixed += np.bincount(fixed.ravel(), minlength=count)
        for part, index in moving_indices(grid, self.grid, mapping):
            self._add_points(fixed[part].ravel(), index)

    def measures(self) -> dict[str, Any]:
        """Return the soft Dice of all added parts."""
        dice = 2 * self._both[1:] / (self._fixed + self._warped)[1:]
        return {"soft_dice_mean": float(dice.mean()), "soft_dice_per_label": self.scored.by_label(dice)}

    def _add_points(self, fixed: Codes, index: Array) -> None:
        size = np.array(self.grid.size)
        inside = ((index >= -0.5) & (index <= size - 0.5)).all(axis=1)
        index = np.clip(index, 0, size - 1)
        low = np.minimum(index.astype(np.int64), size - 1)
        steps = np.array([1, size[0], size[0] * size[1]])
        base = low @ steps
        chosen = np.flatnonzero(inside & self._near[base])
        base, fixed, low = base[chosen], fixed[chosen], low[chosen]
        upper = index[chosen] - low
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
