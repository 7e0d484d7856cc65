"""Grids: geometry against hand-made cases and SimpleITK, on every kind of orientation."""

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import GeometryError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import grid_of, place


def sitk_image(grid):
    return place(sitk.Image(list(grid.size), sitk.sitkUInt8), grid)


def test_index_to_point_is_sitks(grid):
    image = sitk_image(grid)
    index = (3, 5, 7)
    assert grid.index_to_point(index) == pytest.approx(image.TransformIndexToPhysicalPoint(index), abs=1e-9)
    assert grid_of(image).same_as(grid)


def test_point_to_index_inverts(grid):
    points = np.random.default_rng(0).normal(scale=20, size=(50, 3))
    assert np.allclose(grid.index_to_point(grid.point_to_index(points)), points)


def test_points_are_in_array_order(grid):
    points = grid.points()
    assert points.shape == (*grid.shape, 3)
    assert np.allclose(points[7, 5, 3], grid.index_to_point((3, 5, 7)))


def test_with_spacing_keeps_the_field_of_view(grid):
    coarse = grid.with_spacing(4.0)
    assert np.allclose(coarse.extent_mm, grid.extent_mm)
    assert np.allclose(coarse.center_mm, grid.center_mm)
    corner = np.array([-0.5, -0.5, -0.5])
    assert np.allclose(coarse.index_to_point(corner), grid.index_to_point(corner))


def test_crop_and_pad_keep_voxels_in_place(grid):
    assert np.allclose(grid.cropped((2, 3, 4), (5, 5, 5)).index_to_point((1, 1, 1)), grid.index_to_point((3, 4, 5)))
    assert np.allclose(grid.padded(2).index_to_point((2, 2, 2)), grid.index_to_point((0, 0, 0)))
    assert grid.padded((1, 2, 3)).size == tuple(np.add(grid.size, (2, 4, 6)))


def test_contains_ends_half_a_voxel_beyond_the_centers(grid):
    last = np.array(grid.size) - 1
    inside = grid.index_to_point(last + 0.49)
    outside = grid.index_to_point(np.add(last, (0.51, 0, 0)))
    assert grid.contains([inside, outside]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"spacing_mm": (0.0, 1, 1)}, "positive"),
        ({"spacing_mm": (np.nan, 1, 1)}, "finite"),
        ({"size": (0, 3, 3)}, "at least 1"),
        ({"direction": (1, 0.3, 0, 0, 1, 0, 0, 0, 1)}, "right angles"),
        ({"direction": (0,) * 9}, "right angles"),
        ({"size": (3, 3)}, "3 sizes"),
    ],
)
def test_impossible_geometry_is_refused(change, word):
    with pytest.raises(GeometryError, match=word):
        Grid(**{"size": (3, 3, 3), **change})
