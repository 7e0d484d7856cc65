"""Misaligned pairs: the error they state is the one that was made."""

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.errors import SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch  # noqa: E402
from DeepVsClassicRegLib.core.networks.flow import identity_grid, warp  # noqa: E402
from DeepVsClassicRegLib.core.settings import from_json  # noqa: E402
from DeepVsClassicRegLib.core.training.config import DataSettings  # noqa: E402
from DeepVsClassicRegLib.core.training.misalignment import (  # noqa: E402
    MisalignmentSettings,
    drawn_error,
    misaligned,
    posed,
)
from DeepVsClassicRegLib.core.training.source_factory import make_source  # noqa: E402
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws  # noqa: E402

SHAPE = (24, 20, 22)


def ramp(shape):
    """An image whose intensity tells the position along the last axis."""
    return identity_grid(shape, torch.zeros(()))[:, -1:]


def draws(number=1):
    return Draws("test", number)


def only(kind, **changes):
    shares = {name: float(name == kind) for name in ("rigid", "affine", "spline")}
    return MisalignmentSettings(aligned=0.0, **{**shares, **changes})


def test_the_stated_error_is_where_the_image_was_sampled():
    """On ramps along all axes, the distance of what is seen from what belongs there is the error."""
    position = identity_grid(SHAPE, torch.zeros(()))
    settings = only("rigid", translation_mm=4.0, rotation_deg=3.0)
    found, moved = [], []
    for axis in range(3):
        image = position[:, axis : axis + 1]
        pair = misaligned(draws(), image, image, torch.zeros(1, 3, *SHAPE), settings, 2.0)
        moved.append(pair.moving - image)
        found.append(pair.error)
    inner = (..., slice(5, -5), slice(5, -5), slice(5, -5))
    assert torch.equal(found[0], found[1])
    assert torch.allclose(torch.cat(moved, 1).norm(dim=1, keepdim=True)[inner], found[0][inner], atol=1e-3)
    assert float(found[0].max()) > 0.5


def test_a_known_displacement_is_the_truth():
    """A registration that is right shows the fixed image, whatever the images' displacement is."""
    shift = torch.tensor([2.0, -1.0, 3.0]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    moving = torch.rand(1, 1, *SHAPE)
    fixed = warp(moving, shift)
    right = misaligned(draws(), fixed, moving, shift, MisalignmentSettings(aligned=1.0, jitter_mm=0.0), 2.0)
    assert torch.allclose(right.moving, fixed, atol=1e-5) and float(right.error.max()) == 0
    assert torch.equal(right.fixed, fixed)


def test_aligned_images_are_sampled_equally():
    """Both go through an interpolation: the sharpness of one must not tell that it is aligned."""
    image = torch.rand(1, 1, *SHAPE)
    pair = misaligned(draws(), image, image, None, MisalignmentSettings(aligned=1.0, jitter_mm=0.0), 2.0)
    assert torch.allclose(pair.fixed, pair.moving, atol=1e-5)
    assert not torch.allclose(pair.fixed, image, atol=1e-2)


@pytest.mark.parametrize("kind", ["rigid", "affine", "spline"])
@pytest.mark.parametrize("shape", [(32, 28), SHAPE])
def test_kinds_of_errors(kind, shape):
    settings = only(kind, local=0.0)
    for number in range(4):
        error = drawn_error(draws(number), shape, settings, 2.0)
        assert error.shape == (len(shape), *shape) and torch.isfinite(error).all()
        curved = error.diff(n=2, dim=-1).abs().max() > 1e-4
        assert bool(curved) == (kind == "spline")
        if kind == "rigid":
            jacobian = torch.stack(
                [error.diff(dim=axis)[(..., *[0] * len(shape))] for axis in range(1, len(shape) + 1)]
            )
            turn = torch.eye(len(shape)) + jacobian
            assert torch.allclose(turn @ turn.T, torch.eye(len(shape)), atol=1e-3)


def test_splines_come_alone_and_with_linear_errors():
    """Far from a local B-spline error nothing is wrong, unless a linear error came with it."""
    settings = MisalignmentSettings(aligned=0.0, rigid=0.5, affine=0.0, spline=0.5, local=1.0)
    least = [float(drawn_error(draws(number), (64, 64), settings, 2.0).norm(dim=0).min()) for number in range(40)]
    assert any(value < 1e-3 for value in least) and any(value > 0.5 for value in least)


def test_shares_that_are_all_zero_are_reported():
    with pytest.raises(SettingsError, match="fractions"):
        MisalignmentSettings(rigid=0.0, affine=0.0, spline=0.0)


def made(**changes):
    data = DataSettings("shapes", (32, 32), 2.0, batch=2, validation=2, misalignment={"poses": 3}, **changes)
    return make_source(data, seed=5, supervision="error")


def test_a_batch_does_not_depend_on_previous_batches():
    first, second = made(), made()
    second.sample(7)
    for one, other in ((first.sample(3), second.sample(3)), (first.validation()[1], second.validation()[1])):
        assert torch.equal(one.fixed, other.fixed) and torch.equal(one.moving, other.moving)
        assert torch.equal(one.error, other.error)
    assert first.sample(0).fixed.shape == (6, 1, 32, 32) and len(first.validation()) == 2
    assert not torch.equal(first.sample(0).error[0], first.sample(0).error[1])
    assert first.describe()["misalignment"]["poses"] == 3


def test_only_the_error_is_shown_to_the_objective():
    batch = Batch(ramp(SHAPE), ramp(SHAPE), displacement=torch.zeros(1, 3, *SHAPE), error=torch.zeros(1, 1, *SHAPE))
    assert batch.shown("error").displacement is None and batch.shown("error").error is not None
    assert batch.shown("displacement").error is None and batch.shown("none").error is None


def test_settings_are_checked():
    with pytest.raises(SettingsError, match="poses"):
        from_json(MisalignmentSettings, {"poses": 0})


def smooth_image():
    x = identity_grid(SHAPE, torch.zeros(()))
    middle = torch.tensor([(count - 1) / 2 for count in SHAPE]).view(1, 3, 1, 1, 1)
    near = [(x - middle - torch.tensor(offset).view(1, 3, 1, 1, 1)).square().sum(1, keepdim=True) for offset in
            ((2.0, 1.0, 0.0), (-3.0, 2.0, 4.0))]  # fmt: skip
    return torch.exp(-near[0] / 40) + 0.5 * torch.exp(-near[1] / 20), x, middle


@pytest.mark.parametrize("known", [True, False])
def test_a_pose_leads_from_the_fixed_to_the_moved_image(known):
    image, x, middle = smooth_image()
    still = torch.zeros(1, 3, *SHAPE) if known else None
    settings = MisalignmentSettings(aligned=0.0, rotation_deg=15.0, translation_mm=4.0)
    pair = posed(draws(3), image, image, still, settings, 2.0)
    assert pair.error is None and (pair.moving - pair.fixed).abs().max() > 0.1
    matrix, shift = pair.pose[0, :, :-1], pair.pose[0, :, -1].view(1, 3, 1, 1, 1)
    assert torch.allclose(matrix @ matrix.T, torch.eye(3), atol=1e-5)
    there = torch.einsum("ij,njzyx->nizyx", matrix, x - middle) + shift + middle
    inner = (..., slice(6, -6), slice(5, -5), slice(5, -5))
    assert (warp(pair.moving, there - x) - pair.fixed)[inner].abs().max() < 0.03


def test_only_the_rigid_part_of_a_deformation_is_undone():
    image, x, middle = smooth_image()
    shift = torch.tensor([1.5, -2.0, 1.0]).view(1, 3, 1, 1, 1)
    stretch = 0.05 * (x - middle)
    settings = MisalignmentSettings(aligned=1.0, jitter_mm=0.0)
    pair = posed(draws(), torch.ones_like(image), image, (shift + stretch).expand(1, 3, *SHAPE), settings, 2.0)
    assert torch.allclose(pair.pose[0], torch.eye(3, 4), atol=1e-6)
    assert torch.allclose(pair.moving, warp(image, shift.expand(1, 3, *SHAPE)), atol=2e-2)
    assert not torch.allclose(pair.moving, warp(image, (shift + stretch).expand(1, 3, *SHAPE)), atol=5e-2)


def test_planes_have_no_known_pose():
    data = DataSettings("shapes", (32, 32), 2.0, validation=1)
    with pytest.raises(SettingsError, match="volumes only"):
        make_source(data, seed=1, supervision="pose").sample(0)


def test_poses_near_alignment_can_be_more_frequent():
    def angles(near):
        settings = MisalignmentSettings(aligned=0.0, near=near)
        image = torch.ones(1, 1, 16, 16, 16)
        poses = [posed(draws(n), image, image, None, settings, 1.0).pose[0, :, -1].norm() for n in range(40)]
        return torch.stack(poses)

    assert float((angles(1.0) < 3.5).double().mean()) == 1.0  # a fifth of 10 mm along three axes
    assert float((angles(0.0) < 3.5).double().mean()) < 0.7
