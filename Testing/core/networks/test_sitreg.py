"""The symmetric pyramid: exchanging the images inverts the map, equal images stay put, updates are bounded."""

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.networks.flow import compose, identity_grid, jacobian_determinant  # noqa: E402
from DeepVsClassicRegLib.core.networks.parts import VelocityPart  # noqa: E402
from DeepVsClassicRegLib.core.networks.sitreg import SITReg, SITRegSettings  # noqa: E402

SHAPES = {2: (32, 40), 3: (17, 24, 20)}


def smooth_images(shape):
    coarse = torch.rand(2, 1, *[max(2, size // 6) for size in shape])
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    return torch.nn.functional.interpolate(coarse, size=shape, mode=mode, align_corners=True).split(1)


@pytest.fixture(params=[2, 3])
def asked(request):
    """A network that moves points by voxels, and two images."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = SITReg().network(SITRegSettings(widths=(8, 8, 8)), dimensions=request.param).eval()
        with torch.no_grad():
            for head in network.heads:
                head.layer.weight.normal_(0.0, 0.05)
        yield network, *smooth_images(SHAPES[request.param])


def test_exchanged_images_exchange_the_maps(asked):
    network, fixed, moving = asked
    with torch.no_grad():
        there, back = network(fixed, moving), network(moving, fixed)
    assert there.displacement.abs().max() > 1
    assert torch.allclose(there.backward.displacement, back.displacement, atol=1e-5)
    assert torch.allclose(back.backward.displacement, there.displacement, atol=1e-5)


def inner_error(first, second, margin=4):
    inside = (slice(None), slice(None), *[slice(margin, -margin)] * (first.ndim - 2))
    return compose(first, second)[inside].norm(dim=1)


def test_both_directions_invert_each_other(asked):
    """What is left comes from sampling the rough fields of a random network between voxels."""
    network, fixed, moving = asked
    with torch.no_grad():
        for head in network.heads:
            head.layer.weight.mul_(0.2)
        found = network(fixed, moving)
    u, inverse = found.displacement, found.backward.displacement
    for first, second in ((u, inverse), (inverse, u)):
        error = inner_error(first, second)
        assert error.mean() < 0.05 * u.norm(dim=1).mean()
        assert error.max() < 0.2
    assert jacobian_determinant(u).min() > 0 and jacobian_determinant(inverse).min() > 0


def test_smooth_fields_of_several_voxels_invert_but_for_their_sampling(monkeypatch):
    """Waves of 48 voxels on three levels, 9.6 voxels altogether, on a grid with a node every 2 voxels.

    Linear sampling between nodes misses a wave by at most 2 ** 2 / 8 * amplitude * (2 pi / 48) ** 2 per axis.
    """
    shape = (48, 56)
    network = SITReg().network(SITRegSettings(widths=(4, 4, 4)), dimensions=2).eval()

    def waves(_images, _count):
        found = []
        y, x = identity_grid([n // 2 for n in shape], torch.zeros(()))[0] * 4 * torch.pi / 48
        for turn, size in ((2.4, 1.0), (1.2, 0.8), (0.6, 0.6)):
            found.append(size * torch.stack([torch.sin(x + turn), torch.cos(y - turn)])[None])
        return found

    monkeypatch.setattr(network, "_velocities", waves)
    with torch.no_grad():
        found = network(torch.zeros(1, 1, *shape), torch.zeros(1, 1, *shape))
    assert found.displacement.norm(dim=1).max() > 7
    error = inner_error(found.displacement, found.backward.displacement, margin=12)
    missed = 2**2 / 8 * 9.6 * (2 * torch.pi / 48) ** 2 * 2**0.5
    assert error.max() < 2 * missed and error.mean() < 0.01 * found.displacement.norm(dim=1).max()


def test_the_parts_of_the_inverse_are_the_parts_backwards(asked):
    network, fixed, moving = asked
    with torch.no_grad():
        found = network(fixed, moving)
    assert [part.stride for part in found.parts] == [2] * 5
    for part, other in zip(found.parts, reversed(found.backward.parts), strict=True):
        assert isinstance(part, VelocityPart) and part.steps == other.steps
        assert torch.equal(part.velocity, -other.velocity)


def test_equal_images_stay_put(asked):
    network, fixed, _ = asked
    with torch.no_grad():
        assert network(fixed, fixed).displacement.abs().max() == 0


def test_each_level_is_bounded(asked):
    network, fixed, moving = asked
    with torch.no_grad():
        for head in network.heads:
            head.layer.weight.mul_(1e6)
        found = network(fixed, moving)
    bounds = [8.0, 4.0, 4.0, 4.0, 8.0]  # voxels of the finest grid; the finest level moves both images
    for part, bound in zip(found.parts, bounds, strict=True):
        assert 0.9 * bound < part.velocity.abs().max() <= bound
