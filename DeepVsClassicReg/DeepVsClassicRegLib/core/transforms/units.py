"""The only conversions of axes and units: voxel displacements of arrays and networks to mm and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid

Array = npt.NDArray[np.floating]


def voxels_to_mm(displacement_vox: Array, grid: Grid) -> Array:
    """Return LPS mm (x, y, z) of displacements given in voxels along the index axes (i, j, k).

    Parameters
    ----------
    displacement_vox : (..., 3) array
        Components (i, j, k) in voxels of `grid`.
    """
    return np.asarray(displacement_vox @ grid.matrix[:3, :3].T.astype(displacement_vox.dtype))


def mm_to_voxels(displacement_mm: Array, grid: Grid) -> Array:
    """Return voxels along the index axes (i, j, k) of LPS mm displacements; inverse of `voxels_to_mm`."""
    return np.asarray(displacement_mm @ np.linalg.inv(grid.matrix[:3, :3]).T.astype(displacement_mm.dtype))


def channels_to_mm(displacement_zyx: Array, grid: Grid) -> Array:
    """Return (Z, Y, X, 3) LPS mm of a network's (3, Z, Y, X) displacement with channels (z, y, x) in voxels."""
    return voxels_to_mm(np.moveaxis(displacement_zyx, 0, -1)[..., ::-1], grid)


def mm_to_channels(displacement_mm: Array, grid: Grid) -> Array:
    """Return (3, Z, Y, X) voxels, channels (z, y, x), of LPS mm displacements; inverse of `channels_to_mm`."""
    return np.moveaxis(mm_to_voxels(displacement_mm, grid)[..., ::-1], -1, 0)
