"""What a network is shown: both volumes on its lattice, intensities 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ...images.grid import Grid
from ...images.intensity import background_value, normalized
from ...images.resample import warp_volume
from ...images.simple import to_sitk, volume_from_sitk
from ...images.volume import Pair, Volume
from ...transforms.transform import Transform

Image = npt.NDArray[np.float32]
# From this ratio of spacings on, one voxel more is averaged: 1.7 gives blocks of 2.
ROUND_UP = 0.3


@dataclass(frozen=True, eq=False)
class Inputs:
    """Both volumes on one lattice, (Z, Y, X), 0 to 1; `moving` already went through the start."""

    grid: Grid
    fixed: Image
    moving: Image


def make_inputs(pair: Pair, start: Transform, grid: Grid) -> Inputs:
    """Return what the network is shown of a pair on this lattice."""
    return Inputs(grid, normalized(_sampled(pair.fixed, grid, None)), normalized(_sampled(pair.moving, grid, start)))


def _sampled(volume: Volume, grid: Grid, start: Transform | None) -> Volume:
    """Return the volume on the lattice, averaged over blocks first where the lattice is coarser."""
    spacing = min(grid.spacing_mm)
    factors = [max(1, int(spacing / own + ROUND_UP)) for own in volume.grid.spacing_mm]
    factors = [min(factor, size) for factor, size in zip(factors, volume.grid.size, strict=True)]
    fill = background_value(volume)
    if max(factors) > 1:
        volume = volume_from_sitk(sitk.BinShrink(to_sitk(volume), factors), name=volume.name)
    return warp_volume(volume, grid, start, fill=fill, name=volume.name)
