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
