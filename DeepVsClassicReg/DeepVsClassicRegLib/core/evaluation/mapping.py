"""Positions of the voxels of the fixed grid in the moving volume, computed in slabs to limit memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..images.grid import Grid
from ..images.volume import Volume
from ..transforms.transform import Affine, DisplacementField, Transform

Array = npt.NDArray[np.float64]
Sampled = Affine | DisplacementField
POINTS_AT_ONCE = 1 << 20
VOXELS_PER_SLAB = 1 << 24


class Ready:
    """A transform that is converted to SimpleITK once and used many times."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform.to_sitk()

    def to_sitk(self) -> sitk.Transform:
        """Return the SimpleITK transform."""
        return self._transform

    def displacement_on(self, grid: Grid) -> DisplacementField:
        """Return the transform sampled on the voxels of a grid."""
        field = sitk.TransformToDisplacementField(
            self._transform, sitk.sitkVectorFloat64, grid.size, grid.origin_mm, grid.spacing_mm, grid.direction
        )
        return DisplacementField.from_sitk(field)


def slabs(grid: Grid, *, voxels: int = VOXELS_PER_SLAB) -> Iterator[slice]:
    """Yield ranges of z with about `voxels` voxels each, which together cover the grid."""
    rows = max(4, voxels // (grid.size[0] * grid.size[1]))
    for start in range(0, grid.size[2], rows):
        yield slice(start, min(start + rows, grid.size[2]))


def slab_of(grid: Grid, part: slice, *, margin: int = 0) -> Grid:
    """Return the slices of a range of z as a grid, with up to `margin` additional slices on each side."""
    start, stop = max(part.start - margin, 0), min(part.stop + margin, grid.size[2])
    return grid.cropped((0, 0, start), (grid.size[0], grid.size[1], stop - start))


def moving_indices(grid: Grid, moving: Grid, mapping: Sampled) -> Iterator[tuple[slice, Array]]:
    """Yield ranges of z and the continuous moving indices (i, j, k) of their voxels, shape (N, 3).

    Parameters
    ----------
    grid, moving : Grid
        The fixed grid (or a slab of it) and the moving grid.
    mapping : Affine or DisplacementField
        Fixed-to-moving transform; a field must be defined on `grid`.
    """
    back = np.linalg.inv(moving.matrix)
    linear = mapping.homogeneous if isinstance(mapping, Affine) else np.eye(4)
    full = back @ linear @ grid.matrix
    depth, height, width = grid.shape
    rows = max(1, POINTS_AT_ONCE // (height * width))
    plane = np.stack(np.meshgrid(np.arange(width), np.arange(height), indexing="xy"), axis=-1).reshape(-1, 2)
    flat = plane @ full[:3, :2].T + full[:3, 3]
    for start in range(0, depth, rows):
        part = slice(start, min(start + rows, depth))
        layers = np.arange(part.start, part.stop)[:, None] * full[:3, 2]
        index = (flat[None] + layers[:, None]).reshape(-1, 3)
        if isinstance(mapping, DisplacementField):
            index += mapping.array_mm[part].reshape(-1, 3) @ back[:3, :3].T
        yield part, index


def seen_voxels(grid: Grid, moving: Volume, mapping: Sampled) -> npt.NDArray[np.bool_]:
    """Return which voxels of a grid are mapped to measured voxels of the moving volume, (Z, Y, X)."""
    seen = np.empty(grid.shape, dtype=bool)
    last = np.array(moving.grid.size) - 1
    for part, index in moving_indices(grid, moving.grid, mapping):
        inside = ((index >= -0.5) & (index <= last + 0.5)).all(axis=1)
        if moving.valid is not None:
            i, j, k = np.clip(np.rint(index), 0, last).astype(int).T
            inside &= moving.valid[k, j, i]
        seen[part] = inside.reshape(seen[part].shape)
    return seen
