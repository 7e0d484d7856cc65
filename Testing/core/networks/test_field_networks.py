"""What is particular to LKU-Net, ICNet, TransMorph, vector-field attention and Dual-PRNet, by hand-checked cases."""

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.errors import SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.losses.sampling import warp  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, LossContext  # noqa: E402
from DeepVsClassicRegLib.core.networks.dual_prnet import DualPRNet, DualPRNetSettings  # noqa: E402
from DeepVsClassicRegLib.core.networks.flow import compose, upsample_field  # noqa: E402
from DeepVsClassicRegLib.core.networks.icnet import ICNet, ICNetSettings, standardized  # noqa: E402
from DeepVsClassicRegLib.core.networks.lku_net import LKUNet, LKUNetSettings  # noqa: E402
from DeepVsClassicRegLib.core.networks.transmorph import (  # noqa: E402
    SwinBlock,
    TransMorph,
    TransMorphSettings,
    allowed,
    joined_windows,
    relative_positions,
    windows,
)
from DeepVsClassicRegLib.core.networks.vfa import VFA, VectorFieldAttention, VFASettings  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


def test_windows_hold_neighbors_and_are_joined_again():
    tokens = torch.arange(4 * 6.0).view(1, 4, 6, 1)
    cut = windows(tokens, [2, 3])
    assert cut.shape == (1, 4, 6, 1)
    assert cut[0, 1, :, 0].tolist() == [3, 4, 5, 9, 10, 11]
    assert torch.equal(joined_windows(cut, [2, 3], tokens.shape), tokens)
    volume = torch.rand(2, 4, 6, 8, 5)
    assert torch.equal(joined_windows(windows(volume, [2, 3, 4]), [2, 3, 4], volume.shape), volume)


def test_shifted_windows_keep_both_ends_and_the_padding_apart():
    cpu = torch.device("cpu")
    # Eight tokens in windows of four, rolled by two: the last window holds 6, 7, 0, 1.
    mask = allowed([8], [4], [2], cpu)
    assert (mask[0] == 0).all()
    far = mask[1] < 0
    assert far.tolist() == [[False, False, True, True]] * 2 + [[True, True, False, False]] * 2
    # Seven tokens padded to eight: the eighth is seen by itself alone.
    padded = allowed([7], [4], [0], cpu)
    assert (padded[0] == 0).all() and (padded[1] < 0).sum() == 6 and (padded[1, :3, :3] == 0).all()


def test_equal_offsets_share_a_bias():
    place = relative_positions([2, 3], 4, torch.device("cpu"))
    assert place.shape == (6, 6) and len(place.unique()) == 3 * 5
    assert place[0, 1] == place[1, 2] == place[3, 4] and place[0, 1] != place[1, 0]


def test_attention_covers_its_window_and_shifted_attention_the_next():
    tokens = torch.randn(1, 8, 8, 4)
    other = tokens.clone()
    other[0, 3, 3] = torch.randn(4)
    reach = {}
    for shifted in (False, True):
        block = SwinBlock(2, 4, 2, 4, shifted=shifted)
        with torch.no_grad():
            changed = (block(tokens) - block(other)).abs().amax(-1)[0] > 0
        reach[shifted] = changed
    assert reach[False][:4, :4].all() and reach[False].sum() == 16
    assert reach[True][2:6, 2:6].all() and reach[True].sum() == 16


def test_heads_that_do_not_fit_are_reported():
    with pytest.raises(SettingsError, match="heads"):
        TransMorph().network(TransMorphSettings(channels=24, heads=(5, 5, 5)))
    with pytest.raises(SettingsError, match="level"):
        TransMorph().network(TransMorphSettings(depths=(2, 2)))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_attention_to_one_neighbor_is_the_way_to_it(dimensions):
    """Features that are all different: the best match of a shifted image is the shift."""
    shape = (6,) * dimensions
    features = torch.randn(1, 400, *shape)
    moving = torch.roll(features, [1, -1], [2, 3])
    with torch.no_grad():
        found = VectorFieldAttention(dimensions)(features, moving)
    inner = found[(0, slice(None), *[slice(1, -1)] * dimensions)].flatten(1)
    known = torch.tensor([1.0, -1.0, 0.0][:dimensions])
    assert (inner - known[:, None]).abs().max() < 1e-3


def test_even_attention_does_not_move():
    found = VectorFieldAttention(2)(torch.zeros(1, 3, 5, 5), torch.randn(1, 3, 5, 5))
    assert found.abs().max() < 1e-6


@pytest.mark.parametrize("symmetric", [True, False])
def test_symmetric_attention_keeps_equal_images_and_inverts_when_they_are_exchanged(symmetric):
    network = VFA().network(VFASettings(channels=2, features=4, levels=2, symmetric=symmetric), dimensions=2).eval()
    fixed, moving = torch.rand(1, 1, 24, 32), torch.rand(1, 1, 24, 32)
    with torch.no_grad():
        for leave in network.extract.exits:
            leave.weight.normal_(0, 1.0)
        there, back = network(fixed, moving), network(moving, fixed)
        still = network(fixed, fixed).displacement
    assert there.displacement.abs().max() > 0.5
    assert bool(still.abs().max() < 1e-5) == symmetric
    if symmetric:
        assert torch.allclose(there.backward.displacement, back.displacement, atol=1e-5)
        missed = compose(there.displacement, back.displacement)[..., 3:-3, 3:-3]
        assert missed.abs().mean() < 0.2 * there.displacement.abs().mean()
    else:
        assert there.backward is None


def test_icnet_is_indifferent_to_brightness_and_contrast():
    image = torch.rand(2, 1, 16, 17)
    assert torch.allclose(standardized(3 * image + 7), standardized(image), atol=1e-4)
    assert torch.allclose(standardized(image).square().mean((1, 2, 3)), torch.ones(2), atol=1e-4)
    assert torch.isfinite(standardized(torch.zeros(1, 1, 16, 16))).all()


def test_icnet_exchanged_images_exchange_the_maps_and_bounds_them():
    settings = ICNetSettings(channels=2, range_flow=2.0)
    network = ICNet().network(settings, dimensions=2).eval()
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.normal_(0, 5.0)
        fixed, moving = torch.rand(1, 1, 16, 20), torch.rand(1, 1, 16, 20)
        there, back = network(fixed, moving), network(moving, fixed)
    assert torch.allclose(there.backward.displacement, back.displacement, atol=1e-4)
    assert 1.9 < there.displacement.abs().max() <= 2.0


def test_icnet_punishes_inconsistency_and_folds():
    settings = ICNetSettings()
    image = torch.rand(1, 1, 16, 16)
    network = ICNet().network(settings, dimensions=2)
    shift = torch.ones(1, 2, 16, 16)

    def terms(there, back):
        prediction = network(image, image)
        prediction = type(prediction)(there, backward=type(prediction)(back))
        return ICNet().loss(LossContext(network, prediction, Batch(image, image), settings))

    assert float(terms(shift, -shift)["inverse"]) == pytest.approx(0.0, abs=1e-6)
    assert float(terms(shift, shift)["inverse"]) == pytest.approx(0.05 * 8.0, rel=1e-5)
    fold = torch.zeros(1, 2, 16, 16)
    fold[:, 0, 8:] = -3.0  # one of 15 steps along the axis overtakes by 2: 2 ** 3 / 15
    assert float(terms(fold, 0 * fold)["antifold"]) == pytest.approx(1e5 * 8 / 15, rel=1e-5)


def test_lku_net_stays_within_half_the_image_and_integrates_on_request():
    for squarings in (0, 7):
        network = LKUNet().network(LKUNetSettings(channels=2, squarings=squarings), dimensions=2).eval()
        with torch.no_grad():
            network.head.layer.bias.fill_(1e6)
            found = network(torch.rand(1, 1, 17, 33), torch.rand(1, 1, 17, 33))
        field = found.features["field"]
        assert torch.allclose(field[0, :, 0, 0], torch.tensor([8.0, 16.0]), rtol=1e-3)
        assert (found.velocity is None) == (squarings == 0)


def test_dual_prnet_composes_its_levels():
    network = DualPRNet().network(DualPRNetSettings(encoder=(2, 4, 4), channels=3), dimensions=2).eval()
    with torch.no_grad():
        for head in network.heads:
            for parameter in head.parameters():
                parameter.normal_(0, 0.3)
        found = network(torch.rand(1, 1, 16, 20), torch.rand(1, 1, 16, 20))
    u = found.levels[0].residual
    for level in found.levels[1:]:
        u = compose(level.residual, upsample_field(u, 2, level.residual.shape[2:]))
    assert [level.stride for level in found.levels] == [4, 2, 1]
    assert torch.allclose(u, found.displacement, atol=1e-5)
    image = torch.rand(1, 1, 16, 20)
    before = upsample_field(found.levels[1].displacement, 2, (16, 20))
    twice = warp(warp(image, before), found.levels[2].residual)
    assert (twice - warp(image, found.displacement)).abs().mean() < 0.1
