"""The linear alignment finds the pose whatever the headers say, and admits it when it does not."""

from functools import cache

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.linear.engine import LinearEngine
from DeepVsClassicRegLib.core.engines.linear.settings import LinearSettings
from DeepVsClassicRegLib.core.errors import Cancelled, RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.phantom.phantom import cube, make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import make_settings, presets
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform
from testing_grids import rotation


def turn(degrees, axis=(0.3, 1.0, -0.5)):
    from DeepVsClassicRegLib.core.engines.linear.optimize import rotation_matrix

    unit = np.array(axis) / np.linalg.norm(axis)
    return rotation_matrix(np.radians(degrees) * unit)


@cache
def phantom(degrees=12.0, shift=10.0, scale=1.06, size=32, contrasts=("t1", "t1")):
    truth = Affine.about(turn(degrees) * scale, np.zeros(3), (shift, -0.6 * shift, 0.4 * shift))
    return make_phantom("head", size=size, affine=truth, amplitude_mm=0.5, contrasts=contrasts, noise=0.01)


def align(pair, *, seed=0, progress=None, **changes):
    settings = make_settings(LinearSettings, "linear", changes={"samples": 12000, **changes})
    return LinearEngine().run(pair, settings, progress or Progress(), Compute(device="cpu", threads=1, seed=seed))


def error_mm(made, result, motion=None):
    """Mean landmark error; `motion` is what was done to the moving volume's header."""
    target = made.pair.moving_points
    found = result.transform.apply(made.pair.fixed_points)
    return float(np.linalg.norm(found - (target if motion is None else motion.apply(target)), axis=1).mean())


def with_motion(volume, motion):
    """Return the volume with its header moved."""
    grid = volume.grid
    moved = Grid(
        grid.size,
        grid.spacing_mm,
        tuple(motion.apply(np.array(grid.origin_mm))),
        tuple((motion.matrix @ grid.axes).ravel()),
    )
    return type(volume)(volume.array, moved)


def images(pair, **changes):
    return Pair(pair.fixed, pair.moving).replace(**changes)


def test_affine_map_is_found_and_trusted():
    made = phantom()
    result = align(images(made.pair))
    assert error_mm(made, result) < 1.5  # a quarter of a voxel
    assert result.diagnostics.confidence > 0.8
    assert not result.diagnostics.notes
    assert result.diagnostics.stop_condition == "affine alignment converged"


def test_other_contrast_is_no_obstacle():
    made = phantom(contrasts=("t1", "t2"))
    assert error_mm(made, align(images(made.pair))) < 2.0


@pytest.mark.parametrize(("degrees", "shift"), [(0, 300.0), (35, 120.0), (-40, 0.0)])
def test_wrong_headers_do_not_matter(degrees, shift):
    made = phantom()
    motion = Affine(turn(degrees, (1, 0.2, 0.4)), np.array([shift, 0.5 * shift, -shift]))
    moving = with_motion(made.pair.moving, motion)
    assert error_mm(made, align(images(made.pair, moving=moving)), motion) < 1.5


def test_a_flipped_header_is_found_by_trying_all_orientations_and_reported():
    made = phantom()
    motion = Affine.about(turn(125, (1, 0.9, 0.2)), np.zeros(3), (20, 0, 0))
    moving = with_motion(made.pair.moving, motion)
    result = align(images(made.pair, moving=moving))
    assert error_mm(made, result, motion) < 1.5
    assert result.diagnostics.confidence > 0.6


def test_grids_of_every_kind_give_the_same_map():
    size, spacing = (26, 32, 22), (7.4, 6.0, 8.7)
    truth = phantom().warp.affine
    axes = rotation(4, left_handed=True)
    middle = axes @ ((np.array(size) - 1) / 2 * np.array(spacing))
    oblique = Grid(size, spacing, tuple(-middle), tuple(axes.ravel()))
    made = make_phantom("head", size=32, affine=truth, amplitude_mm=0.5, moving_grid=oblique, noise=0.01)
    assert error_mm(made, align(images(made.pair))) < 2.0


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_a_slab_is_located(side):
    made = phantom(size=32)
    volume = getattr(made.pair, side)
    slab = Volume(volume.array[9:20], volume.grid.cropped((0, 0, 9), (32, 32, 11)))
    motion = Affine.shift((0, 0, 60.0))
    pair = images(made.pair, **{side: slab})
    pair = pair.replace(moving=with_motion(pair.moving, motion))
    result = align(pair)
    inside = slab.grid.contains(made.pair.fixed_points if side == "fixed" else made.pair.moving_points)
    found = result.transform.apply(made.pair.fixed_points)[inside]
    apart = np.linalg.norm(found - motion.apply(made.pair.moving_points)[inside], axis=1)
    assert inside.sum() > 5
    assert apart.mean() < 3.0


def test_impossible_pair_is_admitted_and_left_at_a_plain_start():
    fixed = phantom().pair.fixed
    grid = cube(32, 192.0)
    noise = np.random.default_rng(0).normal(size=grid.shape)
    pair = Pair(fixed, Volume(noise, grid))
    result = align(pair)
    assert result.diagnostics.confidence < 0.2
    assert "probably failed" in " ".join(result.diagnostics.notes)
    assert np.allclose(result.transform.affine.matrix, np.eye(3))
    free = align(pair, fall_back=False)
    assert free.diagnostics.confidence < 0.2
    assert "converged" in free.diagnostics.stop_condition


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_the_kind_bounds_the_freedom(kind):
    result = align(images(phantom().pair), kind=kind)
    scales = np.linalg.svd(result.transform.affine.matrix, compute_uv=False)
    assert np.linalg.det(result.transform.affine.matrix) > 0
    if kind == "rigid":
        assert result.transform.affine.is_rigid
    elif kind == "similarity":
        assert np.ptp(scales) < 1e-9
        assert scales[0] == pytest.approx(1.06, abs=0.015)
    else:
        assert np.ptp(scales) > 1e-4


def test_implausible_stretch_is_rejected_and_reported():
    result = align(images(phantom().pair), largest_scale=1.01)
    assert result.transform.affine.is_rigid
    assert "more than the 1.01 allowed" in " ".join(result.diagnostics.notes)


def test_given_start_is_the_only_one():
    made = phantom()
    near = made.warp.affine.then(Affine.shift((6.0, -5.0, 4.0)))
    result = align(images(made.pair, initial=Transform((near,))))
    assert error_mm(made, result) < 1.5
    far = Affine.about(turn(180, (0, 0, 1)), np.zeros(3))
    assert error_mm(made, align(images(made.pair, initial=Transform((far,))))) > 20


def test_starts_that_cannot_be_used_are_refused():
    made = phantom()
    field = DisplacementField(np.zeros((*made.pair.fixed.grid.shape, 3)), made.pair.fixed.grid)
    with pytest.raises(RegistrationError, match="deformable"):
        align(images(made.pair, initial=Transform((field,))))
    with pytest.raises(RegistrationError, match="mirrors"):
        align(images(made.pair, initial=Transform((Affine(np.diag([-1.0, 1, 1]), np.zeros(3)),))))
    with pytest.raises(RegistrationError, match="no landmarks"):
        align(images(made.pair), use_landmarks=True)


def test_landmarks_start_only_when_asked():
    made = phantom()
    wrong = images(made.pair, fixed_points=made.pair.fixed_points, moving_points=made.pair.fixed_points[::-1])
    assert error_mm(made, align(wrong)) < 1.5
    right = images(made.pair, fixed_points=made.pair.fixed_points, moving_points=made.pair.moving_points)
    result = align(right, use_landmarks=True, iterations=3)
    assert error_mm(made, result) < 3.0
    assert "Landmarks were used" in result.diagnostics.notes[0]


def test_masks_hide_what_must_not_be_matched():
    made = phantom()
    fixed, moving = (getattr(made.pair, side).array.copy() for side in ("fixed", "moving"))
    # The same large bright blocks at wrong relative places, as implants or table parts would be.
    top = float(fixed.max())
    for array, start in ((fixed, 2), (moving, 9)):
        for corner in (0, 26):
            array[corner : corner + 6, start : start + 18, 2:30] = 2 * top
    hidden = {
        "fixed": Volume(fixed, made.pair.fixed.grid),
        "moving": Volume(moving, made.pair.moving.grid),
        "fixed_mask": LabelMap(fixed < 1.5 * top, made.pair.fixed.grid),
        "moving_mask": LabelMap(moving < 1.5 * top, made.pair.moving.grid),
    }
    with_masks = error_mm(made, align(Pair(**hidden)))
    without = error_mm(made, align(Pair(hidden["fixed"], hidden["moving"])))
    assert with_masks < 3.0
    assert without > 2 * with_masks


def test_same_seed_same_map_and_inputs_stay():
    pair = images(phantom().pair)
    before = pair.moving.array.copy()
    one, two = (align(pair, seed=5).transform.affine.homogeneous for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(before, pair.moving.array)


def test_cancel_is_heard_everywhere():
    class After:
        def __init__(self, count):
            self.left = count

        def __call__(self):
            self.left -= 1
            return self.left < 0

    for count in (0, 5, 40, 120):
        with pytest.raises(Cancelled):
            align(images(phantom().pair), progress=Progress(cancelled=After(count)))


def test_presets_are_usable():
    found = presets("linear")
    assert {"default", "rigid", "similarity", "affine", "fast"} <= set(found)
    made = phantom()
    settings = make_settings(LinearSettings, "linear", "fast")
    result = LinearEngine().run(images(made.pair), settings, Progress(), Compute(threads=1))
    assert error_mm(made, result) < 2.0
