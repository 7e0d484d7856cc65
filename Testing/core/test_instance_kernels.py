"""The kernels of the instance engine agree with finite differences, with SciPy, and with each other."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from DeepVsClassicRegLib.core import numba_setup
from DeepVsClassicRegLib.core.engines.instance import numba_fields, numba_level
from DeepVsClassicRegLib.core.engines.instance.level import region_of, settled, taps
from DeepVsClassicRegLib.core.transforms.unfold import unfolded
from DeepVsClassicRegLib.core.transforms.unfold_kernels import smallest_determinants

ndimage = pytest.importorskip("scipy.ndimage")
SHAPE = (13, 14, 15)


def smooth_noise(seed, shape=SHAPE, sigma=1.0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma).astype(np.float32)


def everywhere(shape=SHAPE):
    return region_of(np.ones(shape, bool), margin=0)


def corner_determinants(u):
    out = np.empty(u.shape[1:], np.float32)
    smallest_determinants(u, out)
    return out


def images():
    """Two related images whose extremes lie in the corners, where no test moves anything."""
    found = []
    for image in (smooth_noise(1), 0.5 * smooth_noise(1) + 0.5 * smooth_noise(2)):
        image = 0.1 + 0.8 * (image - image.min()) / np.ptp(image)
        image[0, 0, 0], image[0, 0, 1] = 0, 1
        found.append(image.astype(np.float32))
    return found


def term_of(name, fixed, moving, threads=1):
    region = everywhere()
    if name == "lncc3":
        return numba_level.Lncc(fixed, moving, region, radius=3, threads=threads)
    if name == "lncc":
        return numba_level.Lncc(fixed, moving, region, radius=2, threads=threads)
    if name == "mse":
        return numba_level.Residual(fixed[None], moving[None], region)
    if name == "mi":
        return numba_level.InformationTerm(fixed, moving, region, bins=16)
    return numba_level.Overlap([fixed], [moving], region)


@pytest.mark.parametrize("name", ["lncc", "lncc3", "mse", "mi", "dice"])
def test_force_is_the_slope_of_the_value(name):
    """A compositive shift of the whole warped image changes the value by the sum of the forces."""
    fixed, moving = images()
    # Only the middle may carry a force, so that nothing enters or leaves at the border.
    window = np.zeros(SHAPE, np.float32)
    window[5:9, 5:9, 5:10] = 1
    force = np.zeros((3, *SHAPE), np.float32)
    zero = np.zeros((3, *SHAPE), np.float32)
    term_of(name, fixed, moving).force(zero, force)
    slope = np.gradient(moving.astype(np.float64))
    scratch = np.zeros_like(force)
    values = []
    step = 2e-2
    bump = np.stack([0.3 * slope[0], -0.5 * slope[1], 1.0 * slope[2]]) * window
    for sign in (1, -1):
        # The image moved to first order by the bump, exactly as the force linearizes it.
        moved = moving + sign * step * (bump * np.stack(slope)).sum(0)
        values.append(term_of(name, fixed, moved.astype(np.float32)).force(zero, scratch))
    measured = -(values[0] - values[1]) / (2 * step)
    predicted = float((force * bump).sum())
    per_voxel = 1 / everywhere().voxels
    gain = {"lncc": 2 * per_voxel, "lncc3": 2 * per_voxel, "mse": 2 * per_voxel, "mi": per_voxel, "dice": 1.0}
    assert abs(measured) > 1e-5
    assert measured == pytest.approx(predicted * gain[name], rel=0.03)


def test_lncc_value_is_that_of_scipy():
    fixed, moving = images()
    f, w = fixed.astype(np.float64), moving.astype(np.float64)

    def mean(image):
        return ndimage.uniform_filter(image, 5, mode="constant")

    a, b = mean(f * f) - mean(f) ** 2, mean(w * w) - mean(w) ** 2
    cov = mean(f * w) - mean(f) * mean(w)
    expected = 1 - (cov**2 / ((a + 1e-5) * (b + 1e-5))).mean()
    zero, force = np.zeros((3, *SHAPE), np.float32), np.zeros((3, *SHAPE), np.float32)
    assert term_of("lncc", fixed, moving).force(zero, force) == pytest.approx(expected, rel=1e-3)


def test_region_gives_the_same_force_inside():
    fixed, moving = images()
    mask = np.zeros(SHAPE, bool)
    mask[4:9, 5:10, 3:11] = True
    fixed, moving = fixed * mask, moving * mask
    zero = np.zeros((3, *SHAPE), np.float32)
    forces = []
    for region in (everywhere(), region_of(mask, margin=4)):
        force = np.zeros((3, *SHAPE), np.float32)
        numba_level.Lncc(fixed, moving, region, radius=2, threads=1).force(zero, force)
        forces.append(force)
    np.testing.assert_allclose(forces[0][:, mask], forces[1][:, mask], atol=1e-5)


def test_slabs_do_not_change_the_force():
    fixed, moving = images()
    zero = np.zeros((3, *SHAPE), np.float32)
    forces = []
    for threads in (1, 2):
        force = np.zeros((3, *SHAPE), np.float32)
        term_of("lncc", fixed, moving, threads).force(zero, force)
        forces.append(force)
    np.testing.assert_array_equal(*forces)


def test_warp_is_linear_interpolation():
    moving = images()[1]
    u = np.stack([smooth_noise(s) * 4 - 2 for s in (5, 6, 7)]).astype(np.float32)
    out = np.zeros(SHAPE, np.float32)
    numba_fields.warp(moving, u, everywhere().rows, out)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"))
    expected = ndimage.map_coordinates(moving, grid + u, order=1, mode="nearest")
    np.testing.assert_allclose(out, expected, atol=2e-3)


def test_composition_with_a_short_update_is_that_with_any():
    """The sum over near neighbors is the trilinear mean, also at the border and for a part of the volume."""
    rng = np.random.default_rng(3)
    short = rng.uniform(-1, 1, (3, *SHAPE)).astype(np.float32)
    short[:, 5, 5, 5], short[:, 6, 6, 6], short[:, 7, 7, 7] = 1, -1, 0
    field = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    ball = np.zeros(SHAPE, bool)
    ball[2:9, 3:14, 0:12] = True
    for region in (everywhere(), region_of(ball, margin=0)):
        any_update, near = np.zeros_like(field), np.zeros_like(field)
        numba_fields.compose(short, field, region.rows, any_update)
        numba_fields.compose_near(short, field, region.rows, region.cuts(2), near)
        # Positions beyond the border stop a thousandth of a voxel before it.
        np.testing.assert_allclose(near, any_update, atol=2e-5)
        assert np.abs(near).max() > 1


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0, 1.5, 2.2, 3.4])
def test_smoothing_is_a_truncated_gaussian(sigma):
    field = np.stack([smooth_noise(s, sigma=0.5) for s in (1, 2, 3)])
    half = taps(sigma)
    region = everywhere()
    out, squares = np.zeros_like(field), np.zeros(SHAPE[0], np.float32)
    numba_fields.smooth(
        field, half, half, half, np.ones(3, np.float32), region.rows, region.planes, region.cuts(2), out, squares
    )
    whole = np.concatenate([half[:0:-1], half])
    expected = field
    for axis in (1, 2, 3):
        expected = ndimage.correlate1d(expected, whole, axis=axis, mode="nearest")
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert squares.sum() == pytest.approx((out.astype(np.float64) ** 2).sum(), rel=1e-4)


def test_upsampling_keeps_an_affine_field():
    def points(shape):
        axes = [(np.arange(n) + 0.5) / n for n in shape]
        return np.stack(np.meshgrid(*axes, indexing="ij"))

    coarse, fine = (6, 8, 10), (12, 16, 20)
    small = (points(coarse) * np.array(coarse)[:, None, None, None] * 0.1).astype(np.float32)
    out = np.zeros((3, *fine), np.float32)
    numba_fields.upsample(small, out)
    expected = points(fine) * np.array(fine)[:, None, None, None] * 0.1
    inner = (slice(None), *(slice(1, -1),) * 3)
    np.testing.assert_allclose(out[inner], expected[inner], atol=1e-4)


def test_determinants_of_an_affine_field_and_their_two_ways():
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SHAPE), indexing="ij")
    u = np.stack([0.1 * z + 0.2 * y, -0.3 * y, 0.05 * x + 0.1 * z]).astype(np.float32)
    np.testing.assert_allclose(corner_determinants(u), 1.1 * 0.7 * 1.05, rtol=1e-4)
    rough = np.stack([smooth_noise(s, sigma=0.6) * 3 for s in (1, 2, 3)])
    from DeepVsClassicRegLib.core.transforms import unfold

    points = np.argwhere(np.ones(SHAPE, bool))
    np.testing.assert_allclose(
        unfold._at_points(rough, points).reshape(SHAPE), corner_determinants(rough), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("lowest", [0.0, 0.1, 0.9])
def test_nodes_below_are_the_same_without_numba(lowest, monkeypatch):
    from DeepVsClassicRegLib.core.transforms import unfold

    rough = np.stack([smooth_noise(s, sigma=1.0) * 6 for s in (1, 2, 3)])
    points, determinants = unfold.nodes_below(rough, lowest)
    assert 0 < len(points) < rough[0].size
    monkeypatch.setattr(unfold, "numba_loaded", lambda: False)
    others, same = unfold.nodes_below(rough, lowest)
    np.testing.assert_array_equal(points, others)
    np.testing.assert_allclose(determinants, same, rtol=1e-3, atol=1e-4)
    assert len(unfold.nodes_below(np.zeros((3, 1, 5, 6), np.float32), 0.5)[0]) == 0


def test_folds_are_smoothed_and_other_nodes_do_not_change():
    u = np.zeros((3, 24, 24, 24), np.float32)
    u[2, 10:14, 10:14, 12:] = -3
    assert corner_determinants(u).min() < 0
    better, repair = unfolded(u.copy(), lowest=0.05)
    assert repair.folded > 0 and repair.left == 0
    assert corner_determinants(better).min() >= 0.05
    np.testing.assert_array_equal(better[:, :4], u[:, :4])


def test_convergence_uses_the_slope():
    assert not settled([1, 0.9, 0.8], window=6, tolerance=1e-3)
    assert not settled(list(np.linspace(1, 0.8, 10)), window=6, tolerance=1e-3)
    assert settled([0.5 + 1e-5 * (-1) ** k for k in range(8)], window=6, tolerance=1e-3)


@pytest.mark.parametrize(
    "kernels", ["engines.instance.numba_fields", "engines.instance.numba_similarities", "transforms.unfold_kernels"]
)
def test_kernels_are_never_cached_beside_their_source(kernels, tmp_path):
    code = f"""if True:
        import importlib, numba
        kernels = importlib.import_module("DeepVsClassicRegLib.core.{kernels}")
        for function in vars(kernels).values():
            if isinstance(function, numba.core.dispatcher.Dispatcher):
                print(function._cache.cache_path)"""
    root = Path(numba_fields.__file__).parents[4]
    variables = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    variables |= {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    variables |= {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    folders = done.stdout.split()
    assert folders
    assert all(Path(folder).is_relative_to(tmp_path) for folder in folders)


def test_a_home_that_cannot_be_written_to_does_not_stop_the_kernels(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(numba_setup.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = numba_setup.use_user_cache()
    assert folder.is_dir()
    assert folder.parent == tmp_path


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_slabs_share_the_voxels_evenly(threads):
    z, y, x = np.indices((40, 30, 30))
    region = region_of((y - 15) ** 2 + (x - 15) ** 2 < z * 3.0, margin=1)  # a cone: most voxels at one end
    cuts = region.cuts(threads)
    assert cuts[0] == 0 and cuts[-1] == 40 and len(cuts) == threads + 1 and (np.diff(cuts) >= 0).all()
    found = (region.rows[..., 1] - region.rows[..., 0]).sum(axis=1)
    shares = np.add.reduceat(found, cuts[:-1])
    assert shares.sum() == region.voxels
    assert np.abs(shares - region.voxels / threads).max() <= found.max()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 41])
def test_every_plane_is_visited_once(count):
    planes = [numba_fields.spread(place, count) for place in range(numba_fields.places(count))]
    assert sorted(plane for plane in planes if plane < count) == list(range(count))
