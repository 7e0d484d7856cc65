"""The phantom's answer is right: labels and landmarks agree with the warp, the warp with its inverse."""

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume
from DeepVsClassicRegLib.core.images.points import read_landmarks
from DeepVsClassicRegLib.core.images.resample import warp_labels, warp_volume
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom
from DeepVsClassicRegLib.core.transforms.files import read_transform
from DeepVsClassicRegLib.core.transforms.jacobian import jacobian_determinant
from testing_grids import oblique_grid


@pytest.fixture(scope="module", params=["head", "lung"])
def phantom(request):
    return make_phantom(request.param, size=48, noise=0.0)


def agreement(a, b):
    either = (a > 0) | (b > 0)
    return float((a == b)[either].mean())


def test_the_truth_aligns_labels_and_intensities(phantom):
    pair = phantom.pair
    before = agreement(pair.fixed_labels.array, warp_labels(pair.moving_labels, pair.fixed.grid).array)
    after = agreement(pair.fixed_labels.array, warp_labels(pair.moving_labels, pair.fixed.grid, phantom.truth).array)
    linear = warp_labels(pair.moving_labels, pair.fixed.grid, phantom.warp.affine)
    assert before < agreement(pair.fixed_labels.array, linear.array) < after - 0.05
    assert after > 0.78  # nearest neighbor on 4 to 7 mm voxels costs the rest
    warped = warp_volume(pair.moving, pair.fixed.grid, phantom.truth)
    assert np.corrcoef(warped.array.ravel(), pair.fixed.array.ravel())[0, 1] > 0.93


def test_landmarks_follow_the_truth(phantom):
    pair = phantom.pair
    assert np.abs(phantom.warp.apply(pair.fixed_points) - pair.moving_points).max() < 1e-9
    assert np.abs(phantom.truth.apply(pair.fixed_points) - pair.moving_points).max() < 0.3


def test_the_inverse_is_exact(phantom):
    points = phantom.pair.fixed.grid.points()[::5, ::5, ::5]
    assert np.abs(phantom.warp.inverse(phantom.warp.apply(points)) - points).max() < 1e-4


def test_the_warp_never_folds_and_its_jacobian_is_closed_form(phantom):
    grid = phantom.pair.fixed.grid
    exact = phantom.warp.jacobian(grid.points())
    assert exact.min() > 0.2
    inner = np.s_[2:-2, 2:-2, 2:-2]
    assert np.abs(jacobian_determinant(phantom.truth, grid).array - exact)[inner].max() < 0.03


def test_same_arguments_same_phantom():
    one, two, other = (make_phantom("head", size=24, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.pair.moving.array, two.pair.moving.array)
    assert not np.array_equal(one.pair.moving.array, other.pair.moving.array)


def test_grids_and_contrasts_are_free():
    fixed, moving = oblique_grid((40, 32, 28), (4.5, 5.5, 6.0)), oblique_grid((30, 34, 36), (6, 5, 5.0), seed=4)
    phantom = make_phantom("head", fixed_grid=fixed, moving_grid=moving, contrasts=("t1", "t2"))
    pair = phantom.pair
    assert (pair.fixed.grid, pair.moving.grid) == (fixed, moving)
    assert agreement(pair.fixed_labels.array, warp_labels(pair.moving_labels, fixed, phantom.truth).array) > 0.6


def test_files_hold_everything(tmp_path):
    phantom = make_phantom("head", size=24)
    files = write_phantom(phantom, tmp_path)
    assert np.allclose(read_volume(files["moving"]).array, phantom.pair.moving.array)
    assert np.array_equal(read_labels(files["fixed_labels"]).array, phantom.pair.fixed_labels.array)
    points = read_landmarks(files["fixed_points"]).points_mm
    moved = read_transform(files["truth"]).apply(points)
    assert np.abs(moved - read_landmarks(files["moving_points"]).points_mm).max() < 0.5


def test_wrong_names_are_helped():
    with pytest.raises(SettingsError, match="Did you mean 'head'"):
        make_phantom("haed")
    with pytest.raises(SettingsError, match="at least 16"):
        make_phantom("head", size=4)
