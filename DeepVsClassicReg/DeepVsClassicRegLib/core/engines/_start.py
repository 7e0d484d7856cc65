"""What a back end gets of a pair: an affine start, the rest of it absorbed, and lengths as those of a head."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..images.grid import Grid
from ..images.resample import warp_labels, warp_volume
from ..images.volume import LabelMap, Pair, Volume
from ..transforms.affine import Affine
from ..transforms.transform import Part, Transform

MARGIN = 0.1


@dataclass(frozen=True, eq=False)
class Start:
    """A pair as a back end shall see it.

    Attributes
    ----------
    fixed, moving : Volume
        What is registered; `moving` already went through `tail`.
    fixed_mask, moving_mask : LabelMap or None
        Masks on the grids of their volumes.
    affine : Affine
        Where the back end starts (identity when everything was absorbed).
    tail : Transform
        What follows the back end's map to reach the moving volume of the pair, in real mm.
    unit_mm : float
        All other lengths are divided by it, so that a mouse brain or a whole body has about the size of a head and
        the fixed millimeters inside back ends (grids, steps, tolerances) mean the same; 1 for heads at 1 mm.
    """

    fixed: Volume
    moving: Volume
    fixed_mask: LabelMap | None
    moving_mask: LabelMap | None
    affine: Affine
    tail: Transform
    unit_mm: float = 1.0

    @property
    def affine_matters(self) -> bool:
        """Whether the affine start differs from the identity."""
        return not np.array_equal(self.affine.homogeneous, np.eye(4))

    def complete(self, *parts: Part | Transform) -> Transform:
        """Return the complete fixed-to-moving map: the given parts, then the tail."""
        return Transform.of([Transform.of(parts).scaled(self.unit_mm), self.tail])


def native_start(pair: Pair, *, unit_mm: float | None = None) -> Start:
    """Return the pair for a back end that takes an affine start; any other start is absorbed.

    A start that is not linear warps the moving volume onto the fixed volume's field of view, widened by
    a tenth on every side, at the finer of both spacings, so that nothing is lost twice.
    Lengths are divided by `unit_mm`, that of the fixed grid when none is given.
    """
    linear = Affine.identity() if pair.initial is None else pair.initial.affine
    if linear is not None:
        masks = _on(pair.fixed_mask, pair.fixed.grid), _on(pair.moving_mask, pair.moving.grid)
        return _in_units(Start(pair.fixed, pair.moving, *masks, linear, Transform()), pair, unit_mm)
    return _in_units(_absorbed(pair, _wide_grid(pair)), pair, unit_mm)


def same_grid_start(pair: Pair) -> Start:
    """Return the pair with the moving volume brought onto the fixed grid through the whole start."""
    return _in_units(_absorbed(pair, pair.fixed.grid), pair)


def _in_units(start: Start, pair: Pair, unit_mm: float | None = None) -> Start:
    """Return a start in real mm with all lengths but the tail's divided by the unit."""
    unit = pair.fixed.grid.unit_mm if unit_mm is None else unit_mm
    if unit == 1:
        return start
    items = (start.fixed, start.moving, start.fixed_mask, start.moving_mask)
    shrunk: list[Any] = [None if item is None else item.scaled(1 / unit) for item in items]
    affine = Affine(start.affine.matrix, start.affine.translation_mm / unit)
    return Start(*shrunk, affine, start.tail, unit)


def _absorbed(pair: Pair, grid: Grid) -> Start:
    start = pair.initial or Transform()
    moving = warp_volume(pair.moving, grid, start, name=pair.moving.name)
    mask = None if pair.moving_mask is None else warp_labels(_binary(pair.moving_mask), grid, start)
    return Start(pair.fixed, moving, _on(pair.fixed_mask, pair.fixed.grid), mask, Affine.identity(), start)


def _wide_grid(pair: Pair) -> Grid:
    fine = np.minimum(pair.fixed.grid.spacing_mm, min(pair.moving.grid.spacing_mm))
    # A thin-sliced moving volume must not blow up the memory: at most 8 times the fixed volume's voxels.
    fine = np.maximum(fine, np.array(pair.fixed.grid.spacing_mm) / 2)
    grid = pair.fixed.grid.with_spacing([float(s) for s in fine])
    return grid.padded([int(np.ceil(MARGIN * n)) for n in grid.size])


def _binary(mask: LabelMap) -> LabelMap:
    return dataclasses.replace(mask, array=mask.mask().astype(np.int32))


def _on(mask: LabelMap | None, grid: Grid) -> LabelMap | None:
    if mask is None:
        return None
    return _binary(mask) if mask.grid.same_as(grid) else warp_labels(_binary(mask), grid)
