"""The grid that ConvexAdam works on: isotropic, made of whole blocks, never beyond the memory asked for."""

from __future__ import annotations

import numpy as np
from DeepVsClassicRegLib.core.engines.external.convexadam import ConvexAdamSettings, working_grid
from testing_grids import oblique_grid

FIXED = oblique_grid((61, 40, 9), (0.9, 1.1, 4.0), seed=1, left_handed=True)


def test_grid_is_isotropic_in_whole_blocks_and_covers_the_fixed_volume():
    grid, notes = working_grid(FIXED, ConvexAdamSettings())
    assert np.allclose(grid.spacing_mm, 0.9)
    assert all(n % 6 == 0 and n >= 24 for n in grid.size)
    corners = np.array([[i, j, k] for i in (0, 60) for j in (0, 39) for k in (0, 8)])
    index = grid.point_to_index(FIXED.index_to_point(corners))
    assert (index >= -0.5).all()
    assert (index <= np.array(grid.size) - 0.5).all()
    assert notes == []


def test_a_large_volume_is_computed_coarser_and_reported():
    grid, notes = working_grid(FIXED, ConvexAdamSettings(most_voxels=20_000, grid_vox=4, fine_grid_vox=2))
    assert grid.spacing_mm[0] > 1
    assert np.prod(grid.size) < 40_000
    assert "Working spacing" in notes[0]
