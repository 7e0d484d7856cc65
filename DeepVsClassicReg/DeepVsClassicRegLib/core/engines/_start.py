"""How engines take over the start of a pair: an affine part for the back end, the rest absorbed beforehand."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

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
        What follows the back end's map to reach the moving volume of the pair.
    """

    fixed: Volume
    moving: Volume
    fixed_mask: LabelMap | None
    moving_mask: LabelMap | None
    affine: Affine
    tail: Transform

    @property
    def affine_matters(self) -> bool:
        """Whether the affine start differs from the identity."""
        return not np.array_equal(self.affine.homogeneous, np.eye(4))

    def complete(self, *parts: Part | Transform) -> Transform:
        """Return the complete fixed-to-moving map: the given parts, then the tail."""
        return Transform.of([*parts, self.tail])


def native_start(pair: Pair) -> Start:
    """Return the pair for a back end that takes an affine start; any other start is absorbed.

    A start that is not linear warps the moving volume onto the fixed volume's field of view, widened by
    a tenth on every side, at the finer of both spacings, so that nothing is lost twice.
    """
    linear = Affine.identity() if pair.initial is None else pair.initial.affine
    if linear is not None:
        masks = _on(pair.fixed_mask, pair.fixed.grid), _on(pair.moving_mask, pair.moving.grid)
        return Start(pair.fixed, pair.moving, *masks, linear, Transform())
    return _absorbed(pair, _wide_grid(pair))


def same_grid_start(pair: Pair) -> Start:
    """Return the pair with the moving volume brought onto the fixed grid through the whole start."""
    return _absorbed(pair, pair.fixed.grid)


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
