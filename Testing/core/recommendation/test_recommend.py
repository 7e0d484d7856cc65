"""The front door: facts gathered from a real pair, stable keys, honest doubts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import GeometryError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.recommend import recommend
from DeepVsClassicRegLib.core.recommendation.domain import domain_statistics

KEYS = {
    "engine", "preset", "runner_up", "reasons", "mutual_information", "predicted_dice", "seconds", "domain", "limits",
    "sure", "headline", "plot",
}  # fmt: skip


@pytest.fixture(scope="module")
def pair():
    return make_phantom("head", size=32).pair


@pytest.fixture(scope="module")
def advice(pair):
    return recommend(pair, threads=1)


def test_single_slices_have_no_recommendation(pair):
    def flat(volume):
        grid = Grid((*volume.grid.size[:2], 1), volume.grid.spacing_mm)
        return Volume(volume.array[16:17], grid)

    with pytest.raises(GeometryError, match="no recommendation for single slices") as caught:
        recommend(pair.replace(fixed=flat(pair.fixed), moving=flat(pair.moving)), threads=1)
    assert "Select an engine" in caught.value.hint


def test_the_json_has_the_stable_keys(advice):
    plain = json.loads(json.dumps(advice.to_json()))
    assert set(plain) == KEYS
    assert all(set(band) == {"low", "mean", "high"} for band in plain["predicted_dice"].values())
    assert {"nats", "entropy", "foreground", "labels", "rough"} <= set(plain["mutual_information"])
    assert all(set(reason) == {"rule", "text", "source"} for reason in plain["reasons"])
    assert plain["limits"] and plain["runner_up"] != plain["engine"]


def test_the_recommended_engine_can_be_run(advice):
    from DeepVsClassicRegLib.core.engines.catalogue import available_engines
    from DeepVsClassicRegLib.core.settings import presets

    assert advice.engine in available_engines() and advice.preset in presets(advice.engine)
    assert advice.entry in (advice.engine, f"{advice.engine}:{advice.preset}")


def test_without_segmentation_nothing_is_predicted(pair):
    found = recommend(pair.without_annotations(), threads=1, align=False)
    assert found.predicted_dice == {} and found.mutual_information["rough"] is True
    assert "no-segmentation" in {reason.rule for reason in found.reasons}


def test_noise_against_anatomy_is_not_trusted(pair):
    random = np.random.default_rng(0)
    noise = Volume(random.normal(size=pair.fixed.array.shape), pair.fixed.grid, "noise")
    found = recommend(pair.replace(moving=noise, moving_labels=None), threads=1)
    assert not found.sure and found.headline.startswith("No clear recommendation")
    assert found.predicted_dice == {}


def test_the_dice_of_a_model_in_its_domain_is_that_of_its_own_validation(pair, tmp_path):
    pytest.importorskip("torch")
    write_specialist(tmp_path / "own", pair, validation={"dice": 0.9, "dice_sd": 0.05})
    found = recommend(pair, threads=1, align=False, models=(tmp_path,))
    assert found.entry == "network"
    band = found.predicted_dice["network"]
    assert (band.low, band.mean, band.high) == pytest.approx((0.836, 0.9, 0.964))
    assert any("had a Dice of 0.90 (80 %: 0.84 to 0.96)" in reason.text for reason in found.reasons)
    write_specialist(tmp_path / "own", pair, validation={"dice": 0.9})  # cards of earlier versions have no spread
    found = recommend(pair, threads=1, align=False, models=(tmp_path,))
    assert found.entry == "network" and found.predicted_dice.get("network") != pytest.approx(0.9)
    assert not any("had a Dice" in reason.text for reason in found.reasons)


def write_specialist(folder, pair, **card):
    from testing_models import write_shift

    labels = {str(label): pair.fixed_labels.names.get(label, str(label)) for label in pair.fixed_labels.labels}
    domain = domain_statistics([pair.fixed, pair.moving], name="heads").to_json()
    about = {"name": "own", "anatomy": "brain", "contrasts": "T1", "domain": domain, "supervised_labels": labels}
    write_shift(folder, (0.0, 0.0, 0.0), **about, **card)


def test_training_labels_reach_the_rules(pair):
    found = recommend(pair, threads=1, align=False, training_labels=500, representative=True)
    assert "train-supervised" in {reason.rule for reason in found.reasons}
