"""DeepAtlas: estimated structures fill missing labels, each network teaches the other, and both are used alone."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from DeepVsClassicRegLib.core.device import Compute  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.output import result_extras  # noqa: E402
from DeepVsClassicRegLib.core.engines.network.predict import NetworkOutput  # noqa: E402
from DeepVsClassicRegLib.core.engines.segmentation import segment, segmentation_model  # noqa: E402
from DeepVsClassicRegLib.core.errors import RegistrationError  # noqa: E402
from DeepVsClassicRegLib.core.images.grid import Grid  # noqa: E402
from DeepVsClassicRegLib.core.images.io import write_volume  # noqa: E402
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import Batch, LossContext  # noqa: E402
from DeepVsClassicRegLib.core.networks.deepatlas import JOINT, DeepAtlas, DeepAtlasSettings, filled  # noqa: E402
from DeepVsClassicRegLib.core.networks.model_store import load_model  # noqa: E402
from DeepVsClassicRegLib.core.training.loop import train  # noqa: E402
from DeepVsClassicRegLib.core.training.manifest import read_manifest, with_labels  # noqa: E402
from DeepVsClassicRegLib.core.training.stages import begin_stage  # noqa: E402
from DeepVsClassicRegLib.core.transforms.transform import Transform  # noqa: E402
from training_disks import Blobs, config_of  # noqa: E402

SMALL = DeepAtlasSettings(encoder=(8, 8, 8, 8), decoder=(8, 8, 8, 8, 8), structures=(1, 2), widths=(8, 16))
TINY = {"encoder": [8, 16, 16, 16], "decoder": [16, 16, 16, 16, 8], "widths": [8, 16], "pretraining": 0.3}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def pair(*, fixed=True, moving=True):
    labels = torch.zeros(1, 2, 24, 24)
    labels[:, 0, 4:12, 4:18], labels[:, 1, 14:20, 6:16] = 1, 1
    image = labels[:, :1] + 0.5 * labels[:, 1:]
    shifted, known = (torch.roll(entry, 2, -1) for entry in (image, labels))
    return Batch(image, shifted, labels if fixed else None, known if moving else None)


def joint_terms(network, batch):
    stage = DeepAtlas().stages(SMALL)[-1]
    assert stage.name == JOINT
    begin_stage(network, stage)
    return DeepAtlas().loss(LossContext(network, network(batch.fixed, batch.moving), batch, SMALL, "labels", stage))


def test_given_labels_stay_and_missing_ones_are_estimated():
    network, batch = DeepAtlas().network(SMALL, dimensions=2), pair(moving=False)
    scores = network(batch.fixed, batch.moving).features["scores"]
    complete = filled(batch, scores)
    assert complete.fixed_labels is batch.fixed_labels
    assert torch.equal(complete.moving_labels, scores[1:].softmax(1)[:, 1:])


@pytest.mark.parametrize("side", ["fixed", "moving", "none"])
def test_the_overlap_teaches_the_segmentation_where_labels_are_missing(side):
    network = DeepAtlas().network(SMALL, dimensions=2)
    batch = pair(**({} if side == "none" else {side: False}))
    joint_terms(network, batch)["labels"].backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert any(gradients[name] is not None and gradients[name].abs().max() > 0 for name in gradients if "regis" in name)
    taught = any(gradients[name] is not None for name in gradients if name.startswith("segmentation."))
    assert taught == (side != "none")


def test_a_pair_without_labels_is_reported():
    with pytest.raises(RegistrationError, match="labels"):
        joint_terms(DeepAtlas().network(SMALL, dimensions=2), pair(fixed=False, moving=False))


class FewLabels(Blobs):
    """Blobs of which the moving images have no labels while they are trained."""

    def sample(self, step):
        return dataclasses.replace(super().sample(step), moving_labels=None)


def test_a_training_ends_as_one_model_that_registers_and_segments(tmp_path):
    config = dataclasses.replace(
        config_of(supervision="labels", steps=240, validate_every=60, learning_rate=1e-2),
        method="deepatlas",
        method_settings=TINY,
    )
    outcome = train(config, FewLabels(), tmp_path, compute=Compute(device="cpu", threads=1))
    assert outcome.best["segmentation_dice"] > 0.8
    assert outcome.best["dice"] > outcome.best["dice_before"] + 0.05
    card, network = load_model(outcome.model)
    assert card.kind == "field" and tuple(card.settings["structures"]) == tuple(Blobs().labels)
    pairs = Blobs().validation()[0]
    with torch.no_grad():
        extra = network(pairs.fixed, pairs.moving).extras["structures"]
        alone = network.segmented(pairs.fixed).memberships()[:, 1:]
    assert extra.kind == "labels" and torch.allclose(extra.values, alone, atol=1e-5)


def test_training_pairs_have_labels_of_one_image_at_least(tmp_path):
    grid, rng = Grid((16, 16, 16)), np.random.default_rng(0)
    for number in range(6):
        write_volume(Volume(rng.random(grid.shape, np.float32), grid), tmp_path / f"case{number}_t1.nii.gz")
    write_volume(LabelMap(np.ones(grid.shape, np.int32), grid), tmp_path / "case0_seg.nii.gz")
    manifest = read_manifest(tmp_path, validation=1)
    labeled = {place for place, case in enumerate(manifest.cases) if case.labels is not None}
    assert len(labeled) == 1
    kept = with_labels(manifest).training
    if labeled & {place for entry in manifest.training for place in entry}:
        assert kept and all(labeled & set(entry) for entry in kept) and len(kept) < len(manifest.training)
    else:
        assert kept == manifest.training


def test_the_structures_of_the_fixed_image_have_the_values_of_the_data():
    settings = dataclasses.replace(SMALL, structures=(17, 53))
    network, batch = DeepAtlas().network(settings, dimensions=2).eval(), pair()
    with torch.no_grad():
        extra = network(batch.fixed, batch.moving).extras["structures"]
    clear = dataclasses.replace(extra, values=batch.fixed_labels)
    output = NetworkOutput(np.zeros((2, 24, 24), np.float32), extras={"structures": clear})
    found = result_extras(output, Grid((24, 24, 1)), Transform(), lowest=0.0)[0].value
    assert found.array[0, 5, 5] == 17 and found.array[0, 15, 8] == 53 and found.array[0, 0, 0] == 0


@pytest.fixture
def atlas_model(tmp_path):
    from DeepVsClassicRegLib.core.networks.model_store import save_model
    from DeepVsClassicRegLib.core.settings import to_json
    from testing_models import card

    network = DeepAtlas().network(SMALL)
    about = card("deepatlas", settings=to_json(SMALL), supervised_labels={"1": "left", "2": "right"})
    save_model(tmp_path / "atlas", about, network)
    return tmp_path / "atlas"


def test_the_segmentation_is_used_alone(atlas_model):
    image = np.zeros((20, 24, 28), np.float32)
    image[4:16, 4:20, 4:24] = 1
    found = segment(Volume(image, Grid((28, 24, 20), (2.0, 2.0, 2.0))), model=str(atlas_model), threads=1)
    assert found.array.shape == image.shape and set(np.unique(found.array)) <= {0, 1, 2}
    assert "Estimated by a network" in found.notes[0]


def test_a_model_that_only_registers_segments_nothing():
    with pytest.raises(RegistrationError, match="segments no volume"):
        segmentation_model("synthmorph-shapes")
