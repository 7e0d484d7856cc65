"""Between fields on the working lattice and those of transforms."""

from __future__ import annotations

import numpy as np

from ...images.grid import Grid
from ...transforms.field import DisplacementField
from ...transforms.transform import Transform
from ...transforms.units import channels_to_mm, mm_to_channels
from .schedule import Field


def to_transform_field(u: Field, grid: Grid, fixed: Grid) -> DisplacementField:
    """Return the displacements in mm on the working lattice, widened to cover the fixed volume.

    Parameters
    ----------
    u : (3, Z, Y, X) array
        z, y, x in voxels of `grid`.
    grid : Grid
        The working lattice.
    fixed : Grid
        What must be covered; a field counts as 0 beyond its lattice, so the border values are
        continued up to the border of the fixed volume and no step arises inside of it.
    """
    corners = np.array([[i, j, k] for i in (-0.5, 1) for j in (-0.5, 1) for k in (-0.5, 1)])
    ends = np.where(corners < 0, -0.5, np.array(fixed.size) - 0.5)
    index = grid.point_to_index(fixed.index_to_point(ends))
    before = np.maximum(np.ceil(-index.min(axis=0) - 1e-6), 0).astype(int)
    after = np.maximum(np.ceil(index.max(axis=0) - (np.array(grid.size) - 1) - 1e-6), 0).astype(int)
    widths = [(int(before[axis]), int(after[axis])) for axis in (2, 1, 0)]
    wide = grid.cropped([-int(b) for b in before], [int(n) for n in np.array(grid.size) + before + after])
    field = channels_to_mm(u, grid)
    if before.any() or after.any():
        field = np.pad(field, [*widths, (0, 0)], mode="edge")
    return DisplacementField(field, wide)


def to_working_field(field: DisplacementField, grid: Grid) -> Field:
    """Return displacements (3, Z, Y, X), z, y, x in voxels of the working lattice, of a field in mm."""
    sampled = Transform((field,)).displacement_on(grid).array_mm
    return np.ascontiguousarray(mm_to_channels(sampled, grid), dtype=np.float32)
