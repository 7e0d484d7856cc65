"""Objects come to the other side of a registration in the right direction, and what is unreliable is reported."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.transforms.reliability import determinants, is_extrapolated, jacobians
from DeepVsClassicRegLib.core.transforms.sides import SideChange
from DeepVsClassicRegLib.core.transforms.transform import Affine, BSpline, DisplacementField, Transform, VelocityField
from testing_grids import GRIDS, oblique_grid

GRID = Grid((24, 24, 24), (2.0, 2.0, 2.0), (-23.0, -23.0, -23.0))
# A quarter turn about z, then 6 mm along x: fixed (x, y, z) -> moving (6 - y, x, z).
TURN = Transform((Affine([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [6, 0, 0]),))
FIXED_POINT, MOVING_POINT = [10.0, 4.0, -2.0], [2.0, 10.0, -2.0]


def smooth_field(grid, amplitude_mm=3.0):
    points = grid.points()
    return DisplacementField(
        amplitude_mm * np.stack([np.sin(points[..., axis] / 14) for axis in (1, 2, 0)], axis=-1), grid
    )


def blob(center, grid=GRID, radius_mm=5.0):
    return np.linalg.norm(grid.points() - center, axis=-1) < radius_mm


def center_of(mask, grid=GRID):
    return grid.index_to_point(np.argwhere(mask)[:, ::-1]).mean(axis=0)


@pytest.mark.parametrize(
    ("to", "here", "there"), [("fixed", MOVING_POINT, FIXED_POINT), ("moving", FIXED_POINT, MOVING_POINT)]
)
def test_points_labels_and_volumes_move_to_the_same_place(to, here, there):
    change = SideChange(TURN, to, GRID)
    points, checked = change.points([here])
    assert np.allclose(points, [there]) and checked.notes("view") == ()
    moved = change.labels(LabelMap(blob(here).astype(np.int32) * 7, GRID))
    assert moved.labels == (7,) and np.linalg.norm(center_of(moved.mask()) - there) < 0.2
    volume = change.volume(Volume(blob(here).astype(np.float32), GRID))
    assert np.linalg.norm(center_of(volume.array > 0.5) - there) < 0.2


@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
def test_both_directions_cancel(grid):
    transform = Transform((smooth_field(grid), Affine.about([[0.9, 0.1, 0], [-0.1, 1.1, 0], [0, 0.05, 1]], [1, 2, 3])))
    inner = grid.index_to_point(np.random.default_rng(0).uniform(3, np.array(grid.size) - 4, (200, 3)))
    there, _ = SideChange(transform, "moving", grid).points(inner)
    back, checked = SideChange(transform, "fixed", grid).points(there)
    assert np.abs(back - inner).max() < 1e-3
    assert checked.inverse_error_mm < 1e-3 and not checked.folded


@pytest.mark.parametrize(
    "part",
    [
        smooth_field(oblique_grid((9, 8, 7), (4.0, 5.0, 6.0), seed=2)),
        VelocityField(smooth_field(GRID).array_mm, GRID),
        BSpline(
            np.random.default_rng(3).normal(size=(8, 9, 10, 3)), oblique_grid((10, 9, 8), (12.0, 14.0, 16.0), seed=3)
        ),
    ],
    ids=lambda part: type(part).__name__,
)
def test_points_are_mapped_as_itk_maps_them(part):
    """Also in the half voxel around the outermost nodes, and beyond it."""
    grid = part.grid
    points = grid.index_to_point(np.random.default_rng(1).uniform(-1.5, np.array(grid.size) + 0.5, (2000, 3)))
    transform = Transform((part,))
    itk = transform.to_sitk()
    expected = np.array([itk.TransformPoint(point) for point in points.tolist()])
    assert np.abs(transform.apply(points) - expected).max() < 1e-9


def test_a_shape_of_points_is_kept():
    field = Transform((smooth_field(GRID),))
    assert field.apply(np.zeros((2, 5, 3))).shape == (2, 5, 3) and field.apply([1.0, 2.0, 3.0]).shape == (3,)


def test_smooth_labels_have_no_staircase():
    """A ball of coarse voxels on a fine grid: its volume stays, its surface is shorter than with nearest neighbors."""
    coarse = GRID.with_spacing(6.0)
    ball = LabelMap(blob([0, 0, 0], coarse, 15.0).astype(np.int32) * 3, coarse)
    change = SideChange(Transform(), "fixed", GRID)
    nearest, smooth = change.labels(ball), change.labels(ball, "smooth")

    def faces(mask):
        return sum(int((np.diff(mask.astype(np.int8), axis=axis) != 0).sum()) for axis in range(3))

    def roughness(mask):
        distance = np.linalg.norm(GRID.points(), axis=-1)
        return distance[mask].max() - distance[~mask].min()

    assert smooth.labels == nearest.labels == (3,)
    assert abs(smooth.mask().sum() / nearest.mask().sum() - 1) < 0.1
    assert faces(smooth.mask()) <= faces(nearest.mask()) and roughness(smooth.mask()) < roughness(nearest.mask())


def test_colors_keep_their_type_and_vectors_turn_with_the_tissue():
    change = SideChange(TURN, "fixed", GRID)
    colors = np.zeros((*GRID.shape, 3), np.uint8)
    colors[blob(MOVING_POINT)] = (200, 100, 50)
    moved = change.channels(colors, GRID)
    middle = tuple(np.rint(GRID.point_to_index(FIXED_POINT)).astype(int)[::-1])
    assert moved.dtype == np.uint8 and moved[middle].tolist() == [200, 100, 50]
    # At the moving side the vectors point along +y; turned back by the inverse quarter turn they point along +x.
    vectors = np.zeros((*GRID.shape, 3), np.float32)
    vectors[..., 1] = 2.0
    assert np.allclose(change.vectors(vectors, GRID)[middle], [2, 0, 0], atol=1e-5)
    forth = SideChange(TURN, "moving", GRID).vectors(vectors, GRID)
    middle = tuple(np.rint(GRID.point_to_index(MOVING_POINT)).astype(int)[::-1])
    assert np.allclose(forth[middle], [-2, 0, 0], atol=1e-5)


def test_jacobians_of_a_stretched_field():
    matrix = np.array([[1.2, 0.1, 0], [0, 0.9, 0], [0.05, 0, 1.1]])
    field = DisplacementField(GRID.points() @ (matrix - np.eye(3)).T, GRID)
    inner = np.random.default_rng(0).uniform(-15, 15, (20, 3))
    for transform in (Transform((field,)), Transform((Affine(matrix, [1, 2, 3]),))):
        assert np.abs(jacobians(transform, inner) - matrix).max() < 1e-4
        assert np.allclose(determinants(transform, inner), np.linalg.det(matrix), atol=1e-4)


def folding():
    """Mirrors x between -6 and 6 mm: the determinant is -1 there."""
    points = GRID.points()
    shift = np.zeros_like(points)
    shift[..., 0] = np.where(np.abs(points[..., 0]) < 6, -2 * points[..., 0], 0)
    return Transform((DisplacementField(shift, GRID),))


def test_folds_extrapolation_and_what_leaves_the_view_are_reported():
    at = np.array([[0.5, 0, 0], [15.0, 0, 0]])
    _, checked = SideChange(folding(), "moving", GRID).points(at)
    assert checked.folded == 1 and "folds at 50 % of its points" in checked.notes("Fixed")[0]
    beyond = np.array([[0, 0, 40.0], [0, 0, 0], [0, 0, 50.0], [0, 0, 60.0]])
    smooth = Transform((smooth_field(GRID),))
    assert is_extrapolated(smooth, beyond).tolist() == [True, False, True, True]
    _, checked = SideChange(smooth, "fixed", GRID).points(beyond)
    assert (checked.extrapolated, checked.outside, checked.count) == (3, 3, 4)
    notes = " ".join(checked.notes("CT"))
    assert "75 % of its points lie beyond the field of the transform" in notes and "lie outside CT" in notes
    _, alone = SideChange(TURN, "fixed", GRID).points([[500.0, 0, 0]])
    assert alone.notes("CT") == ("It lies completely outside CT.",)


def test_an_inverse_that_does_not_exist_is_reported():
    """A field of 30 mm everywhere on its grid: what would come to the origin lies beyond the grid, where it ends."""
    coarse = GRID.with_spacing(6.0)
    jump = Transform((DisplacementField(np.broadcast_to([30.0, 0, 0], (*coarse.shape, 3)), coarse),))
    points, checked = SideChange(jump, "fixed", GRID).points([[0.0, 0, 0], [20.0, 0, 0]])
    assert np.allclose(points[1], [-10, 0, 0], atol=1e-4)
    assert checked.inaccurate == 1 and checked.inverse_error_mm > 5
    assert "inverse is inaccurate at 50 % of its points" in " ".join(checked.notes("CT"))


def test_volumes_with_a_smaller_common_region_are_no_problem():
    far = Grid((24, 24, 24), (2.0, 2.0, 2.0), (17.0, -23.0, -23.0))
    assert SideChange(Transform(), "fixed", GRID).check_volume(far).notes("CT") == ()
    apart = Grid((24, 24, 24), (2.0, 2.0, 2.0), (117.0, -23.0, -23.0))
    assert SideChange(Transform(), "fixed", GRID).check_volume(apart).notes("CT") == ("It lies completely outside CT.",)


def test_wrong_use():
    with pytest.raises(SettingsError, match="no side 'fix'"):
        SideChange(TURN, "fix")
    with pytest.raises(SettingsError, match="need the volume of the fixed side"):
        SideChange(TURN, "fixed").labels(LabelMap(np.zeros(GRID.shape, np.int32), GRID))
    with pytest.raises(SettingsError, match="no interpolation 'cubic'"):
        SideChange(TURN, "fixed", GRID).labels(LabelMap(np.zeros(GRID.shape, np.int32), GRID), "cubic")
