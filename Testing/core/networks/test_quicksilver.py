"""Geodesic shooting by hand-checked flows, LDDMM by optimization, and what Quicksilver makes of its patches."""

import math

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.losses.sampling import warp  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, LossContext  # noqa: E402
from DeepVsClassicRegLib.core.networks.flow import compose, identity_grid, jacobian_determinant  # noqa: E402
from DeepVsClassicRegLib.core.networks.lddmm import Fluid, shoot, solve_momentum  # noqa: E402
from DeepVsClassicRegLib.core.networks.quicksilver import (  # noqa: E402
    PATCH,
    Quicksilver,
    QuicksilverSettings,
    drawn_places,
    joined_patches,
    padded,
    patches_of,
)
from DeepVsClassicRegLib.core.training.stages import begin_stage  # noqa: E402

SHAPE = (24, 28)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        yield


def disk(y, x, radius=5.0, shape=SHAPE):
    where = identity_grid(shape, torch.zeros(())) - torch.tensor([y, x]).view(1, 2, 1, 1)
    return torch.sigmoid(2 * (radius - where.norm(dim=1, keepdim=True)))


def network(**settings):
    return Quicksilver().network(QuicksilverSettings(**{"channels": 3, **settings}), dimensions=2)


@pytest.mark.parametrize("along", [True, False])
def test_the_operator_multiplies_waves(along):
    """A wave along its own direction is stiffer by beta than one across."""
    angle = 2 * math.pi * 3 / 24
    wave = torch.sin(angle * torch.arange(24.0))[:, None].expand(SHAPE)
    field = torch.stack([wave, 0 * wave] if along else [0 * wave, wave])[None]
    fluid = Fluid(alpha=2.0, beta=3.0, gamma=0.5)
    factor = 2.0 * (2 - 2 * math.cos(angle)) + 0.5 + (3.0 * math.sin(angle) ** 2 if along else 0.0)
    assert torch.allclose(fluid.momentum(field), factor**2 * field, atol=1e-4)
    assert torch.allclose(fluid.velocity(fluid.momentum(field)), field, atol=1e-5)
    twice = fluid.power(fluid.power(field, 0.5), 0.5)
    assert torch.allclose(twice, fluid.momentum(field), atol=1e-4)


def test_a_coarser_grid_has_the_same_operator():
    """On smooth fields: half the resolution, half the voxels of displacement, the same momentum per voxel halved."""
    x = 2 * math.pi * torch.arange(64.0) / 64
    fine = torch.sin(x)[None, None].expand(1, 1, -1)
    fluid = Fluid(alpha=4.0, beta=0.0)
    coarse = fluid.coarser().velocity(fine[..., ::2] / 2)
    assert torch.allclose(coarse, fluid.velocity(fine)[..., ::2] / 2, rtol=0.01, atol=1e-3)


def test_constant_momentum_is_a_shift():
    momentum = torch.tensor([2.0, -1.5]).view(1, 2, 1, 1).expand(1, 2, *SHAPE).clone()
    end = shoot(momentum, Fluid(), steps=3)
    assert torch.allclose(end.displacement, -momentum, atol=1e-4)
    assert torch.allclose(end.inverse, momentum, atol=1e-4)
    assert shoot(momentum, Fluid(), steps=1, inverse=False).inverse is None


def test_geodesics_are_smooth_invertible_and_need_few_steps():
    velocity = torch.zeros(1, 2, 40, 40)
    y, x = identity_grid((40, 40), velocity)[0] - 20
    bump = torch.exp(-(y**2 + x**2) / (2 * 7.0**2))
    velocity[0, 0], velocity[0, 1] = 3.0 * bump, -2.0 * bump * x / 7
    fluid = Fluid(4.0, 4.0)
    momentum = fluid.momentum(velocity)
    ends = [shoot(momentum, fluid, steps=steps) for steps in (6, 24)]
    assert ends[1].displacement.norm(dim=1).max() > 2.5
    assert (ends[0].displacement - ends[1].displacement).norm(dim=1).max() < 0.1
    for end in ends:
        assert jacobian_determinant(end.displacement).min() > 0.2
        assert compose(end.displacement, end.inverse)[..., 6:-6, 6:-6].norm(dim=1).max() < 0.1
    # Back along the geodesic: the momentum at the end, turned round, leads to the inverse map.
    assert (velocity + ends[1].displacement).norm(dim=1).max() < 2.0


def test_optimization_finds_the_momentum_of_each_pair():
    """Pairs do not influence each other, no map comes near a fold, and the same answer is found twice."""
    fixed = torch.cat([disk(11, 13), disk(12, 14, 4.0)])
    moving = torch.cat([disk(13, 15), disk(12, 14, 6.0)])
    fluid = Fluid(4.0, 4.0)
    found = solve_momentum(fixed, moving, fluid, iterations=(15, 8))
    u = shoot(found, fluid).displacement
    before, after = ((image - fixed).square().mean((1, 2, 3)) for image in (moving, warp(moving, u)))
    assert (after < 0.1 * before).all()
    assert jacobian_determinant(u).min() > 0.1
    alone = solve_momentum(fixed[1:], moving[1:], fluid, iterations=(15, 8))
    assert torch.allclose(found[1:], alone, atol=1e-3 * float(alone.abs().max()))


@pytest.mark.parametrize("shape", [(15, 16), (29, 31), (16, 20, 44)])
def test_patches_are_joined_again(shape):
    image = torch.rand(2, 3, *shape)
    patches = patches_of(padded(image))
    assert patches.shape[2:] == (3, *[PATCH] * len(shape))
    assert torch.allclose(joined_patches(patches, shape), image, atol=1e-6)


def test_patches_that_show_something_are_drawn_first():
    patches = torch.zeros(2, 9, 1, 15, 15)
    patches[0, [2, 5, 7], 0, 3, 3] = 1.0
    patches[1, :4] = 1.0
    places = drawn_places(patches, 4)
    assert {2, 5, 7} <= set(places[0].tolist()) and len(set(places[0].tolist())) == 4
    assert set(places[1].tolist()) == {0, 1, 2, 3}
    assert drawn_places(patches, 50).shape == (2, 9)


@pytest.mark.parametrize("error", ["squared", "absolute"])
def test_the_objective_is_the_error_of_the_drawn_patches(error):
    """In the second stage what the first network found counts as known."""
    method, settings = Quicksilver(), QuicksilverSettings(channels=3, patches=2, error=error)
    net, known = network(patches=2).train(), torch.rand(1, 2, *SHAPE)
    batch = Batch(disk(11, 13), disk(12, 14), momentum=known)
    for stage in method.stages(settings):
        begin_stage(net, stage)
        with torch.no_grad():
            for decoder in net.prediction.axes:
                decoder[-1].weight.zero_()
                decoder[-1].bias.fill_(0.25)
        found = net(batch.fixed, batch.moving)
        loss = method.loss(LossContext(net, found, batch, settings, "momentum", stage))["momentum"]
        places, loss = found.features["places"], loss.detach()
        wanted = patches_of(padded(known))[torch.zeros_like(places), places]
        first = patches_of(padded(torch.full_like(known, 0.25)))[torch.zeros_like(places), places]
        assert places.shape == (1, 2)
        left = wanted - 0.25 if stage.name == "prediction" else wanted - first - found.features["patches"].detach()
        expected = left.square().mean() if error == "squared" else left.abs().mean()
        assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def test_the_correction_sees_the_fixed_image_brought_back():
    net = network().eval()  # gamma is 1: of a constant momentum all powers of the operator are the same
    momentum = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, *SHAPE).clone()
    fixed = disk(12, 14)
    back = net.brought_back(fixed, momentum)
    assert torch.allclose(back[..., 4:-4, 4:-4], disk(10, 15)[..., 4:-4, 4:-4], atol=1e-3)


def test_samples_leave_the_generator_and_the_network_alone():
    net = network(dropout=0.5).eval()
    with torch.no_grad():
        for decoder in net.prediction.axes:
            decoder[-1].weight.normal_(0.0, 0.02)
        found = net(disk(11, 13), disk(12, 14))
    before = torch.random.get_rng_state()
    one, again, other = (found.distribution.sample(seed) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not any(part.training for part in net.modules())
    assert torch.equal(net(disk(11, 13), disk(12, 14)).displacement, found.displacement)
