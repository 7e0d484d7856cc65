"""Segmentation networks: shapes, gradients, sides of a batch, what they learn, and the card of a training."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.device import Compute  # noqa: E402
from DeepVsClassicRegLib.core.errors import RegistrationError, SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, LossContext, SegmentationScores  # noqa: E402
from DeepVsClassicRegLib.core.networks.model_store import load_model  # noqa: E402
from DeepVsClassicRegLib.core.networks.segmenter import (  # noqa: E402
    Segmenter,
    SegmenterSettings,
    structure_dice,
    with_background,
)
from DeepVsClassicRegLib.core.settings import from_json, to_json  # noqa: E402
from DeepVsClassicRegLib.core.training.loop import train  # noqa: E402
from training_disks import Blobs, config_of  # noqa: E402

SMALL = SegmenterSettings(structures=(4, 9), widths=(8, 16))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def context(network, batch, settings=SMALL):
    return LossContext(network, network(batch.fixed, batch.moving), batch, settings, "labels")


def halves(shape, count=2):
    """Noise whose first structure is the upper half, its second one the lower half."""
    labels = torch.zeros(count, 2, *shape)
    middle = shape[0] // 2
    labels[:, 0, :middle], labels[:, 1, middle:] = 1, 1
    return Batch(torch.rand(count, 1, *shape), torch.rand(count, 1, *shape), labels, labels)


@pytest.mark.parametrize("shape", [(33, 22), (17, 16, 21)])
def test_scores_and_gradients(shape):
    network, pairs = Segmenter().network(SMALL, dimensions=len(shape)), halves(shape)
    alone = network(pairs.fixed)
    assert isinstance(alone, SegmentationScores) and alone.values.shape == (2, 3, *shape)
    assert torch.allclose(alone.memberships().sum(1), torch.ones(2, *shape), atol=1e-5)
    sum(Segmenter().loss(context(network, pairs)).values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_both_images_of_a_pair_are_segmented_independently():
    network, pairs = Segmenter().network(SMALL, dimensions=2).eval(), halves((32, 32))
    with torch.no_grad():
        both = network(pairs.fixed, pairs.moving).values
        assert torch.allclose(both[:2], network(pairs.fixed).values, atol=1e-5)
        assert torch.allclose(both[3:], network(pairs.moving[1:]).values, atol=1e-5)


def test_a_voxel_of_the_output_is_that_of_the_input():
    """Voxels of the sub-pixel convolution are in place: a network that copies its input learns it exactly."""
    network = Segmenter().network(SegmenterSettings(structures=(1,), widths=(8,)), dimensions=2)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(200):
        image = (torch.rand(4, 1, 16, 16) > 0.5).float()
        loss = torch.nn.functional.cross_entropy(network(image).values, image[:, 0].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh = (torch.rand(4, 1, 16, 16) > 0.5).float()
    assert (network(fresh).values.argmax(1) == fresh[:, 0].long()).float().mean() > 0.98


def test_images_without_labels_are_left_out_of_the_loss():
    network, pairs = Segmenter().network(SMALL, dimensions=2), halves((32, 32))
    noisy = dataclasses.replace(pairs, moving=pairs.moving + 5, moving_labels=None)
    terms = []
    for batch in (noisy, dataclasses.replace(noisy, moving=pairs.moving)):
        torch.manual_seed(1)
        terms.append(sum(Segmenter().loss(context(network, batch)).values()).item())
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
    with pytest.raises(RegistrationError, match="labels"):
        Segmenter().loss(context(network, dataclasses.replace(noisy, fixed_labels=None)))


def test_a_wrong_number_of_structures_is_reported():
    network = Segmenter().network(SegmenterSettings(structures=(1, 2, 3), widths=(8, 16)), dimensions=2)
    with pytest.raises(RegistrationError, match="2 structures, the network 3"):
        Segmenter().loss(context(network, halves((32, 32))))


def test_settings_take_the_labels_of_the_data():
    method = Segmenter()
    assert method.fitted(SegmenterSettings(), {7: "left", 3: "right"}).structures == (7, 3)
    assert method.fitted(SMALL, {4: "a", 9: "b"}) == SMALL
    assert from_json(SegmenterSettings, to_json(SMALL)) == SMALL
    with pytest.raises(SettingsError, match="structures"):
        method.fitted(SMALL, {9: "b", 4: "a"})
    with pytest.raises(SettingsError, match="no named structures"):
        method.fitted(SegmenterSettings(), {})
    with pytest.raises(SettingsError, match="labels of its structures"):
        method.network(SegmenterSettings())


def test_the_background_has_the_rest():
    shares = torch.tensor([0.25, 0.5]).view(1, 2, 1, 1)
    assert with_background(shares).flatten().tolist() == [0.25, 0.25, 0.5]


def test_dice_by_hand():
    known = torch.zeros(10, 10, dtype=torch.int64)
    known[:, :4] = 1
    known[0, 9] = 2
    found = torch.zeros_like(known)
    found[:, 2:6] = 1
    assert structure_dice(found, known, 2) == {1: pytest.approx(0.5)}


def test_a_training_ends_as_a_model_with_its_structures(tmp_path):
    config = dataclasses.replace(
        config_of(supervision="labels", steps=60, validate_every=30, learning_rate=1e-2),
        method="segmenter",
        method_settings={"widths": [8, 16]},
    )
    outcome = train(config, Blobs(), tmp_path, compute=Compute(device="cpu", threads=1))
    assert outcome.best["dice"] > 0.8
    card, network = load_model(outcome.model)
    assert card.kind == "segmentation" and tuple(card.settings["structures"]) == tuple(Blobs().labels)
    assert set(card.supervised_labels) == {str(label) for label in Blobs().labels}
    assert network.classes == len(Blobs().labels) + 1
