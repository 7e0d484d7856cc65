"""The coarse-to-fine matching network and SynthMorph's objective, against hand-made cases."""

import itertools

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.losses.overlap import squared_dice  # noqa: E402
from DeepVsClassicRegLib.core.networks import pyramid, synthmorph  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, Level, LossContext, Prediction  # noqa: E402
from DeepVsClassicRegLib.core.networks.flow import identity_grid, warp  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


def small(dimensions=2, **options):
    return pyramid.PyramidNetwork(
        dimensions=dimensions, channels=(4, 6, 8, 8), features=4, width=8, **{"levels": 2, **options}
    )


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("slab", [0, 130, 10**6], ids=["with gradients", "some slabs", "one slab"])
def test_correlation_is_the_mean_product_at_every_offset(dimensions, slab, monkeypatch):
    monkeypatch.setattr(pyramid, "CACHED", slab)
    shape = (5, 6, 7)[:dimensions]
    fixed, moving = torch.randn(2, 2, 3, *shape)
    with torch.set_grad_enabled(not slab):
        found = pyramid.local_correlation(fixed, moving)
    assert found.shape == (2, 3**dimensions, *shape)
    inner = (slice(None), *[slice(1, -1)] * dimensions)
    for channel, offset in enumerate(itertools.product((-1, 0, 1), repeat=dimensions)):
        shifted = torch.roll(moving, [-o for o in offset], dims=list(range(2, 2 + dimensions)))
        expected = (fixed * shifted).mean(1)
        torch.testing.assert_close(found[:, channel][inner], expected[inner])


def test_a_finer_grid_keeps_an_affine_displacement_in_mm():
    # Voxel centers of nested grids: fine voxel i lies at (i - 0.5) / 2 on the coarse one.
    coarse = 0.1 * identity_grid((6, 8), torch.zeros(())) + 0.3
    fine = pyramid.refined(coarse, (12, 16))
    place = (identity_grid((12, 16), torch.zeros(())) - 0.5) / 2
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(fine[inner], 2 * (0.1 * place + 0.3)[inner])


def test_sixteen_bits_move_no_point_by_a_tenth_of_a_voxel(monkeypatch):
    network = small(3).eval()
    fixed, moving = (torch.nn.functional.interpolate(torch.rand(1, 1, 6, 7, 8), size=(24, 28, 32)) for _ in range(2))
    fields = []
    for native in (False, True):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda native=native: {"avx512_bf16": native}, raising=False)
        with torch.no_grad():
            features = network._features(torch.cat([fixed, moving]))
            fields.append((features, network(fixed, moving).displacement))
        assert features.dtype is torch.float32
    assert not torch.equal(fields[0][0], fields[1][0])
    torch.testing.assert_close(fields[1][1], fields[0][1], atol=0.1, rtol=0)


def test_features_do_not_depend_on_brightness():
    extract = pyramid.FeatureUNet(2, (4, 6, 8, 8), 5)
    image = torch.rand(1, 1, 32, 32)
    features = extract(image)
    assert features.shape == (1, 5, 16, 16)
    torch.testing.assert_close(features.mean((2, 3)), torch.zeros(1, 5), atol=1e-5, rtol=0)
    # The border sees the padding with zeros, the inside sees contrast alone.
    torch.testing.assert_close(extract(3 * image), features, atol=2e-3, rtol=0)


def test_training_gives_both_directions_and_evaluation_one():
    network, fixed, moving = small(), *torch.rand(2, 1, 1, 20, 24)
    there = network.train()(fixed, moving)
    back = network(moving, fixed)
    assert there.backward is not None
    torch.testing.assert_close(there.backward.displacement, back.displacement)
    assert network.eval()(fixed, moving).backward is None


def test_equal_images_stay_where_they_are_and_exchanged_ones_move_the_other_way():
    network, fixed, moving = small(levels=1).eval(), *torch.rand(2, 1, 1, 20, 24)
    with torch.no_grad():
        network.match.exit.weight.mul_(1e4)
    assert network(fixed, moving).displacement.abs().max() > 0.1
    assert network(fixed, fixed).displacement.abs().max() < 1e-4
    there, back = network(fixed, moving).levels[0], network(moving, fixed).levels[0]
    torch.testing.assert_close(there.residual, -back.residual)


def test_levels_and_iterations_can_be_changed_after_training():
    network, fixed, moving = small().eval(), *torch.rand(2, 1, 1, 32, 32)
    assert [level.stride for level in network(fixed, moving).levels] == [4, 4, 2]
    network.levels, network.iterations, network.last_iterations = 3, 1, 2
    assert [level.stride for level in network(fixed, moving).levels] == [8, 4, 2, 2]


def test_small_images_get_fewer_levels():
    network = small(levels=5).eval()
    assert [level.stride for level in network(*torch.rand(2, 1, 1, 17, 40)).levels] == [4, 4, 2]


def test_a_unit_moves_no_farther_than_its_reach():
    unit = pyramid.MatchingUnit(2, 4, 8)
    with torch.no_grad():
        unit.exit.weight.mul_(1e9)
    velocity = unit(*torch.randn(2, 1, 4, 8, 8))
    assert 1.4 < velocity.abs().max() <= pyramid.REACH


def test_gradients_of_a_level_do_not_reach_through_the_levels_before():
    prediction = small().train()(*torch.rand(2, 1, 1, 16, 16))
    first, *_, last = prediction.levels
    gradient = torch.autograd.grad(last.displacement.sum(), first.residual, allow_unused=True)[0]
    assert gradient is None


def test_overlap_of_equal_soft_memberships_is_one_and_absent_labels_do_not_count():
    labels = torch.rand(1, 3, 8, 8)
    labels[:, 2] = 0
    assert 1 - float(squared_dice(labels, labels)) == pytest.approx(1, abs=1e-6)
    halves = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    halves[0][..., :2], halves[1][..., 1:3] = 1, 1
    assert 1 - float(squared_dice(*halves)) == pytest.approx(0.5, abs=1e-3)


def test_memberships_at_a_grid_are_means_filled_up_with_background():
    labels = torch.ones(1, 1, 5, 4)
    found = synthmorph.pooled_memberships(labels, 2, (3, 2))
    assert found[0, 0].tolist() == [[1, 1], [1, 1], [0.5, 0.5]]


def test_the_objective_rewards_the_true_displacement():
    labels = torch.zeros(1, 1, 16, 16)
    labels[..., 4:10, 4:10] = 1
    shift = torch.zeros(1, 2, 8, 8)
    shift[:, 0] = 1  # one voxel of the grid, two of the image
    moving = warp(labels, -2 * torch.cat([torch.ones(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)], 1))
    images = torch.zeros(1, 1, 16, 16)
    batch, settings = Batch(images, images, labels, moving), synthmorph.SynthMorphSettings()
    full = torch.zeros(1, 2, 16, 16)

    def terms(u):
        prediction = Prediction(full, levels=(Level(u, u, 2),))
        return synthmorph.SynthMorph().loss(LossContext(None, prediction, batch, settings, "labels"))

    right, still = terms(shift), terms(torch.zeros_like(shift))
    assert float(right["labels"]) < 0.01 < 0.3 < float(still["labels"])
    assert float(right["smoothness"]) == 0
