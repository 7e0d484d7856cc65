"""ISTN: maps of structures, both variants by hand, the refinement on a pair, what the user gets to see."""

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.errors import Cancelled, SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.losses.sampling import warp  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, LossContext, Prediction  # noqa: E402
from DeepVsClassicRegLib.core.networks.istn import ISTN, ISTNSettings, structure_map  # noqa: E402
from DeepVsClassicRegLib.core.networks.parts import AffinePart, SplinePart  # noqa: E402

SHAPE = (24, 20)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


def square(row, column, shape=SHAPE):
    image = torch.zeros(1, 1, *shape)
    image[..., row : row + 8, column : column + 8] = 1.0
    return image


def network(**settings):
    return ISTN().network(ISTNSettings(**settings), dimensions=2).eval()


def terms(net, prediction, batch, supervision="labels", **settings):
    return ISTN().loss(LossContext(net, prediction, batch, ISTNSettings(**settings), supervision))


def test_structures_have_their_own_brightness():
    labels = torch.zeros(1, 4, 3, 3)
    labels[0, 0, 0, 0] = labels[0, 3, 2, 2] = 1.0
    labels[0, 1, 1, 1] = 0.5
    drawn = structure_map(labels)
    assert drawn.shape == (1, 1, 3, 3)
    assert (drawn[0, 0, 0, 0], drawn[0, 0, 2, 2], drawn[0, 0, 1, 1], drawn.sum()) == (0.25, 1.0, 0.25, 1.5)


@pytest.mark.parametrize("variant", ["explicit", "implicit"])
def test_perfect_maps_and_labels_cost_nothing(variant):
    """A shift by two pixels; wrong maps cost their squared error, in the implicit variant through the transform."""
    fixed, moving = square(6, 6), square(8, 6)
    u = torch.zeros(1, 2, *SHAPE)
    u[:, 0] = 2.0
    batch = Batch(fixed, moving, fixed, moving)
    right = Prediction(u, features={"fixed map": fixed, "moving map": moving})
    found = terms(network(variant=variant), right, batch, variant=variant)
    assert set(found) == {"maps", "labels"} and all(float(term) < 1e-12 for term in found.values())
    swapped = Prediction(u, features={"fixed map": moving, "moving map": fixed})
    wrong = terms(network(variant=variant), swapped, batch, variant=variant)["maps"]
    apart = (fixed - moving).square().mean() + (
        (moving - fixed) if variant == "explicit" else (warp(fixed, u) - fixed)
    ).square().mean()
    assert float(wrong) == pytest.approx(float(apart), rel=1e-5) and apart > 0


def test_maps_are_shown_once_they_have_learned_from_labels():
    net, pair = network(), Batch(square(6, 6), square(8, 6), square(6, 6), square(8, 6))
    assert not net(pair.fixed, pair.moving).extras
    terms(net, net(pair.fixed, pair.moving), pair, "none")
    assert not bool(net.draws_structures)
    terms(net, net(pair.fixed, pair.moving), pair)
    extras = net(pair.fixed, pair.moving).extras
    assert set(extras) == {"structures_fixed", "structures_warped"}
    assert extras["structures_warped"].values.shape == pair.fixed.shape
    again = network()
    again.load_state_dict(net.state_dict())
    assert bool(again.draws_structures)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("transform", ["spline", "affine"])
def test_the_refinement_aligns_the_pair_and_keeps_the_weights(learned, transform):
    """Maps that have learned are compared, else the images; here the fixed map is upside down."""
    net = network(transform=transform, refinement_rate=0.01)
    net.draws_structures.fill_(learned)
    net.image.forward = lambda image: image if learned else image.flip(2)
    fixed, moving = square(6, 6), square(7, 7)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        first = net(fixed, moving).displacement
    found = net.adapted(fixed, moving, 60, lambda: None)
    error = [float((warp(moving, u) - fixed).square().mean()) for u in (first, found.displacement)]
    assert error[1] < 0.4 * error[0]
    assert not found.displacement.requires_grad
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert isinstance(found.parts[0], SplinePart if transform == "spline" else AffinePart)


def test_the_refinement_can_be_cancelled():
    def cancelled():
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        network().adapted(square(6, 6), square(8, 6), 5, cancelled)


def test_control_points_stay_within_their_bound():
    net = network(reach=0.1)
    with torch.no_grad():
        net.spatial.head.layer.bias.fill_(1e6)
        found = net(square(6, 6), square(8, 6))
    assert torch.allclose(found.displacement[0, :, 0, 0], torch.tensor([1.15, 0.95]), rtol=1e-3)


def test_three_levels():
    with pytest.raises(SettingsError, match="3 levels"):
        ISTNSettings(spatial_channels=(8, 16))
