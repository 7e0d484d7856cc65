"""What is particular to LocalNet and GlobalNet, by hand-checked cases, and that contrast does not matter."""

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.networks import catalogue, flow  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, Level, LossContext, Prediction  # noqa: E402
from DeepVsClassicRegLib.core.networks.localnet import (  # noqa: E402
    LocalNet,
    LocalNetSettings,
    LocalNetwork,
    with_one_label,
)
from DeepVsClassicRegLib.core.networks.parts import AffinePart, DisplacementPart  # noqa: E402

SHAPE = (16, 20)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


def square(start):
    label = torch.zeros(SHAPE)
    label[start : start + 4, 8:12] = 1
    return label


def labeled(fixed, moving):
    """A pair of empty images with these labels."""
    image = torch.zeros(1, 1, *SHAPE)
    return Batch(image, image, torch.stack(fixed)[None], torch.stack(moving)[None])


def test_one_label_of_those_in_both_images_is_drawn():
    empty = torch.zeros(SHAPE)
    common, other = square(3), square(9)
    pairs = labeled([common, common, empty, other], [common, empty, common, common])
    firsts = []
    for _ in range(40):
        one = with_one_label(pairs)
        assert one.fixed_labels.shape == one.moving_labels.shape == (1, 1, *SHAPE)
        assert torch.equal(one.moving_labels[0, 0], common)
        firsts.append(bool(torch.equal(one.fixed_labels[0, 0], common)))
        assert firsts[-1] or torch.equal(one.fixed_labels[0, 0], other)
    assert 5 < sum(firsts) < 35  # both were drawn
    assert with_one_label(labeled([empty, common], [common, empty])).fixed_labels.shape == (1, 1, *SHAPE)


def test_training_uses_one_label_and_evaluation_all_without_intensities():
    method, settings = LocalNet(), LocalNetSettings(channels=2)
    pairs = labeled([square(3), square(3)], [square(3), square(9)])
    network, u = method.network(settings, dimensions=2), torch.zeros(1, 2, *SHAPE)

    def overlap(batch, training):
        terms = method.loss(LossContext(network.train(training), Prediction(u), batch, settings, "labels"))
        assert set(terms) == {"labels"}
        return float(terms["labels"])

    found = {round(overlap(pairs, True), 6) for _ in range(20)}
    assert len(found) == 2 and min(found) == pytest.approx(0.0, abs=1e-5)
    assert overlap(pairs, False) == pytest.approx(max(found) / 2, abs=1e-5)
    changed = Batch(torch.rand(1, 1, *SHAPE), torch.rand(1, 1, *SHAPE), pairs.fixed_labels, pairs.moving_labels)
    assert overlap(changed, False) == overlap(pairs, False)


def test_bending_is_that_of_what_the_dense_network_adds():
    method, settings = LocalNet(), LocalNetSettings(channels=2)
    pairs, nothing = labeled([square(3)], [square(3)]), torch.zeros(1, 2, *SHAPE)
    bent = nothing.clone()
    bent[:, 0] = 0.1 * torch.arange(SHAPE[0]).view(-1, 1).square()  # second difference 0.2 in one of two components
    prediction = Prediction(nothing, levels=(Level(7 * bent, 7 * bent, 1), Level(bent, nothing, 1)))
    terms = method.loss(LossContext(method.network(settings, dimensions=2), prediction, pairs, settings, "labels"))
    assert float(terms["smoothness"]) == pytest.approx(0.5 * 0.2**2 / 2, rel=1e-4)


@pytest.mark.parametrize("shape", [(16, 21), (16, 17, 18)])
def test_the_displacements_of_five_resolutions_are_added(shape):
    network = LocalNetwork(len(shape), 2).eval()
    with torch.no_grad():
        for number, head in enumerate(network.heads):
            head.layer.weight.zero_()
            head.layer.bias.fill_(10.0**-number)
        image = torch.rand(1, 1, *shape)
        u = network(image, image).displacement
    assert u.shape == (1, len(shape), *shape)
    assert torch.allclose(u, torch.full_like(u, 1.1111))


def test_the_affine_network_has_the_first_stage_alone():
    network = LocalNet().network(LocalNetSettings(channels=4), dimensions=2).eval()
    image = torch.rand(1, 1, *SHAPE)
    network.set_stage("affine")
    assert [type(part) for part in network(image, image).parts] == [AffinePart]
    network.set_stage("whole")
    # A fixed point goes through the dense map first: the dense network sees the affinely warped moving image.
    assert [type(part) for part in network(image, image).parts] == [DisplacementPart, AffinePart]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["localnet", "globalnet"])
def test_it_aligns_images_of_opposite_contrast(name):
    """Half of the mean error of shifts it has not seen is gone, although bright is dark in the moving image."""
    method = catalogue.get_method(name)
    settings = method.info.settings(channels=8)
    network, supervision = method.network(settings, dimensions=2).train(), method.info.supervision[0]
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    unseen, shift = disks(32, seed=1)
    before = error(network, unseen, shift)
    for step in range(200):
        pairs, _ = disks(8, seed=100 + step)
        terms = method.loss(LossContext(network, network(pairs.fixed, pairs.moving), pairs, settings, supervision))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    assert before == pytest.approx(float(shift.norm(dim=1).mean()), abs=0.05)
    assert error(network, unseen, shift) < 0.5 * before


def disks(count, *, seed):
    """Pairs of 32 x 32 pixels, a bright disk in the fixed and a dark one in the moving image, and the shifts."""
    generator = torch.Generator().manual_seed(seed)
    x = flow.identity_grid((32, 32), torch.zeros(()))
    middle = 16 + 4 * (2 * torch.rand((count, 2, 1, 1), generator=generator) - 1)
    shift = 3 * (2 * torch.rand((count, 2, 1, 1), generator=generator) - 1)

    def disk(center):
        return torch.sigmoid(2 * (6 - (x - center).norm(dim=1, keepdim=True)))

    fixed, moving = disk(middle), disk(middle + shift)
    return Batch(fixed, 1 - 0.7 * moving, fixed, moving), shift


def error(network, pairs, shift):
    """Return the mean distance to the known shift inside the disk, pixels."""
    network.eval()
    with torch.no_grad():
        u = network(pairs.fixed, pairs.moving).displacement
    network.train()
    distance = (u - shift).norm(dim=1, keepdim=True)
    return float((distance * pairs.fixed_labels).sum() / pairs.fixed_labels.sum())
