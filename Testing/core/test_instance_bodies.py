"""Rigid bodies move rigidly, excluded regions keep their volume, and nothing folds around them."""

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.catalogue import get_engine
from DeepVsClassicRegLib.core.engines.instance import backend as backends
from DeepVsClassicRegLib.core.engines.registration import register
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.resample import warp_labels
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import make_settings
from DeepVsClassicRegLib.core.transforms.jacobian import jacobian_determinant
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform, fit_affine

pytest.importorskip("numba")
ENGINE = get_engine("instance")
GRID = Grid((36, 34, 32), (2.0, 2.0, 2.4), (-30.0, 5.0, 20.0), (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0))
POINTS = GRID.points()
MIDDLE = np.array(GRID.center_mm)
# A start that is not rigid: the body must undo it.
START = Transform((Affine.about(np.diag([1.08, 0.95, 1.04]), MIDDLE, [1.0, -2.0, 1.5]),))


def bent(points):
    """A smooth invertible map of some millimeters."""
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    return points + np.stack([4 * np.sin(y / 14), 3 * np.cos(z / 15), 3.5 * np.sin(x / 13)], axis=-1)


def blobs(points):
    rng = np.random.default_rng(4)
    centers = MIDDLE + rng.uniform(-36, 36, (90, 3))
    parts = [h * np.exp(-((points - c) ** 2).sum(-1) / 6.0**2) for c, h in zip(centers, rng.random(90), strict=True)]
    return (100 * np.sum(parts, axis=0)).astype(np.float32)


def ball(center, radius):
    return np.linalg.norm(POINTS - (MIDDLE + center), axis=-1) < radius


@pytest.fixture(scope="module")
def pair():
    return Pair(Volume(blobs(bent(POINTS)), GRID), Volume(blobs(POINTS), GRID), initial=START)


@pytest.fixture(scope="module")
def two_bodies():
    return LabelMap(ball([-14, 0, 0], 9) + 2 * ball([13, 3, 2], 8), GRID)


def run(pair, **changes):
    settings = make_settings(
        ENGINE.info.settings, "instance", "default", {"iterations": (20, 15), "similarity": "mse", **changes}
    )
    return ENGINE.run(pair, settings, Progress(), Compute(threads=1, device="cpu")).transform


def gradient(transform):
    """Return the derivatives of the map along the axes of the grid, (Z, Y, X, 3, 3), orthonormal for a rotation."""
    moved = POINTS + transform.displacement_on(GRID).array_mm
    slopes = [np.gradient(moved, s, axis=a) for a, s in zip((2, 1, 0), GRID.spacing_mm, strict=True)]
    return np.stack(slopes, axis=-1)


def strain_inside(transform, labels):
    """Return the largest difference of J'J from the identity inside the bodies."""
    jacobian = gradient(transform)[labels.mask()]
    return float(np.abs(np.swapaxes(jacobian, -1, -2) @ jacobian - np.eye(3)).max())


@pytest.mark.parametrize("torch", [False, True])
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_bodies_move_rigidly_without_folds(pair, two_bodies, side, torch, monkeypatch):
    if torch:
        pytest.importorskip("torch")
        monkeypatch.setattr(backends, "numba_found", lambda: False)
    found = run(pair.replace(**{f"{side}_rigid": two_bodies}))
    labels = two_bodies if side == "fixed" else warp_labels(two_bodies, GRID, found)
    assert strain_inside(run(pair), labels) > 0.2
    assert strain_inside(found, labels) < 0.01
    assert jacobian_determinant(found, GRID).array.min() > 0
    # Each body has its own motion, near the one that the images show.
    for number in (1, 2):
        at = POINTS[labels.array == number]
        wanted, got = fit_affine(at, bent(at)), fit_affine(at, found.apply(at))
        assert np.linalg.norm(got.apply(at) - wanted.apply(at), axis=-1).mean() < 1.0


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_an_excluded_region_keeps_its_volume(pair, side):
    region = LabelMap(ball([0, 0, 0], 11).astype(np.int32), GRID)
    excluded = pair.replace(**{f"{side}_excluded": region})

    def change(transform):
        inside = (region if side == "fixed" else warp_labels(region, GRID, transform)).mask()
        return abs(float(jacobian_determinant(transform, GRID).array[inside].mean()) - 1)

    assert change(run(excluded)) > 0.03
    kept = run(excluded, excluded="volume")
    assert change(kept) < 0.02
    assert jacobian_determinant(kept, GRID).array.min() > 0
    rigid = run(excluded, excluded="rigid")
    inside = region if side == "fixed" else warp_labels(region, GRID, rigid)
    assert strain_inside(rigid, inside) < 0.01


def test_content_of_an_excluded_region_has_no_effect(pair):
    inside = ball([0, 0, 0], 10)
    rng = np.random.default_rng(0)
    bright = np.where(inside, 300 + 50 * rng.random(GRID.shape), pair.fixed.array).astype(np.float32)
    lesion = LabelMap(inside.astype(np.int32), GRID)
    other = pair.replace(fixed=Volume(bright, GRID))

    def field(given, **more):
        settings = {"iterations": (20, 15), "similarity": "lncc"}
        result = register(given.replace(**more), "instance", settings=settings, threads=1, device="cpu")
        return result.transform.displacement_on(GRID).array_mm

    left_out = np.abs(field(pair, fixed_excluded=lesion) - field(other, fixed_excluded=lesion)).max()
    assert left_out < 0.01 < 0.5 < np.abs(field(pair) - field(other)).max()


def test_both_directions_keep_no_bodies(pair, two_bodies):
    with pytest.raises(RegistrationError, match="one direction only"):
        run(pair.replace(fixed_rigid=two_bodies), symmetric=True)


def test_engines_that_deform_bodies_report_it(pair, two_bodies):
    result = register(
        pair.replace(fixed_rigid=two_bodies), "sitk-demons", threads=1, settings={"iterations": (2, 2, 2)}
    )
    assert any("deforms the rigid bodies" in note for note in result.diagnostics.notes)
