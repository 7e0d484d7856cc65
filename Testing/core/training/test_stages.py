"""Trainings of several stages: shares, freezing, turns, exact resume inside each, checkpoints of the first release."""

from __future__ import annotations

import csv
import dataclasses
import json

import pytest
import torch
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.networks.base import Stage
from DeepVsClassicRegLib.core.networks.catalogue import get_method, method_infos
from DeepVsClassicRegLib.core.networks.dlir import DLIR
from DeepVsClassicRegLib.core.networks.model_store import load_model
from DeepVsClassicRegLib.core.networks.voxelmorph import VoxelMorph
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.settings import from_json, to_json
from DeepVsClassicRegLib.core.training import stages
from DeepVsClassicRegLib.core.training.checkpoint import CHECKPOINT_FILE
from DeepVsClassicRegLib.core.training.config import TrainSettings
from DeepVsClassicRegLib.core.training.loop import train
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_disks import Blobs, config_of, counters_of

ONE = Compute(device="cpu", threads=1)
DLIR_SMALL = {"channels": 4, "affine_levels": 2, "spacings": [8, 4]}
LAPIRN_SMALL = {"start_channels": 1, "blocks": 1}


def run(folder, method, settings, *, stop_at=None, supervision="none", source=None, **train_settings):
    base = config_of(supervision=supervision, **{"steps": 12, "validate_every": 50, "log_every": 1, **train_settings})
    config = dataclasses.replace(base, method=method, method_settings=settings)
    steps = []
    progress = Progress(listener=lambda update: steps.append(update.iteration), cancelled=lambda: stop_at in steps)
    return train(config, source or Blobs(), folder, compute=ONE, progress=progress)


def tensors(folder):
    return load_file(folder / CHECKPOINT_FILE)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rows(path):
    with path.open() as file:
        return [{name: row[name] for name in row if name != "hours"} for row in csv.DictReader(file)]


@pytest.mark.parametrize(("method", "settings"), [("dlir", DLIR_SMALL), ("lapirn", LAPIRN_SMALL)])
def test_stopped_in_every_stage_and_resumed_is_as_if_never_stopped(tmp_path, method, settings):
    options = {"average": 0.9, "schedule": "cosine", "warmup": 1}
    run(tmp_path / "whole", method, settings, **options)
    for stop in (2, 4, 7, 8, 11):
        assert not run(tmp_path / "parts", method, settings, stop_at=stop, **options).finished
    assert run(tmp_path / "parts", method, settings, **options).finished
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))
    for name in ("curves.csv", "validation.csv"):
        assert rows(tmp_path / "whole" / name)[-1] == rows(tmp_path / "parts" / name)[-1]
    cards = [load_model(tmp_path / name / "model")[0] for name in ("whole", "parts")]
    assert cards[0].sha256 == cards[1].sha256
    assert (cards[0].kind, cards[0].method) == ("field", method)


def test_each_stage_changes_its_own_weights_only(tmp_path):
    """The affine network first, then each spline; the terms of later stages get columns of their own."""
    former = None
    for stop, part in ((4, 0), (8, 1), (12, 2)):
        run(tmp_path, "dlir", DLIR_SMALL, stop_at=stop)
        now = {name: tensor for name, tensor in tensors(tmp_path).items() if name.startswith("weights/")}
        if former is not None:
            changed = {name.split(".")[1] for name in now if not torch.equal(now[name], former[name])}
            assert changed == {str(part)}
        former = now
    curve = rows(tmp_path / "curves.csv")
    assert [row["stage"] for row in curve] == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    assert [row["smoothness"] != "" for row in curve] == [False] * 4 + [True] * 8


def test_staged_training_learns_the_shift(tmp_path):
    found = run(tmp_path, "dlir", {**DLIR_SMALL, "channels": 8}, supervision="labels", steps=150, validate_every=50)
    assert found.best["dice_before"] < 0.85
    assert found.best["dice"] > found.best["dice_before"] + 0.08
    assert {row["step"] for row in rows(tmp_path / "validation.csv")} == {"0", "50", "100", "150"}


def test_several_stages_need_a_length(tmp_path):
    with pytest.raises(SettingsError, match="3 stages"):
        run(tmp_path, "dlir", DLIR_SMALL, steps=0)


class Alternating(VoxelMorph):
    """Encoder and decoder take turns."""

    def stages(self, settings):
        return (Stage("turns", turns=(("unet.down.",), ("unet.up.", "unet.rest.", "head."))),)


def test_parameters_take_turns_and_keep_their_moments(tmp_path, monkeypatch):
    settings = {"encoder": [4, 4], "decoder": [4, 4, 4], "similarity": "mse"}
    monkeypatch.setattr(VoxelMorph, "stages", Alternating.stages)
    states = []
    for stop in (1, 2, 3):
        run(tmp_path, "voxelmorph", settings, stop_at=stop)
        states.append(tensors(tmp_path))
    for first, second, learned in ((states[0], states[1], "unet.down"), (states[1], states[2], "unet.up")):
        changed = {name for name in first if name.startswith("weights/") and not torch.equal(first[name], second[name])}
        assert changed
        assert not any(learned in name for name in changed) or all("down" in name for name in changed)
    assert any(name.startswith("optimizer/") for name in states[2])


def test_shares_and_learning_rates():
    plan = (Stage("a", share=1), Stage("b", share=3))
    train_settings = TrainSettings(steps=100)
    assert stages.stage_span(plan, 1) == (0.25, 1.0)
    assert not stages.is_over(plan, 0, train_settings, 24, 0.0)
    assert stages.is_over(plan, 0, train_settings, 25, 0.0)
    assert not stages.is_over(plan, 1, train_settings, 100, 0.0)
    assert stages.part_of_stage_done(plan, 1, train_settings, 70, 0.0) == pytest.approx(0.6)
    hours = TrainSettings(hours=2.0)
    assert stages.is_over(plan, 0, hours, 5, 1800.0)
    cosine = TrainSettings(steps=100, schedule="cosine")
    assert stages.learning_rate_factor(cosine, 25, 25, 100) == pytest.approx(1.0)
    assert stages.learning_rate_factor(cosine, 100, 25, 100) == pytest.approx(0.01)


def test_a_stage_that_names_nothing_is_a_bug():
    network = DLIR().network(DLIR.info.settings(), dimensions=2)
    with pytest.raises(ValueError, match="No parameter"):
        stages.begin_stage(network, Stage("spline of 16 voxels", ("nothing.",)))


def test_checkpoints_of_the_first_release_go_on(tmp_path):
    """Those know no stages, and keep the state of a scheduler that is a function of the step now."""
    settings = {"encoder": [4, 4], "decoder": [4, 4, 4], "similarity": "mse"}
    run(tmp_path / "whole", "voxelmorph", settings)
    run(tmp_path / "old", "voxelmorph", settings, stop_at=5)
    path = tmp_path / "old" / CHECKPOINT_FILE
    counters = counters_of(tmp_path / "old")
    for name in ("stage", "stage_step"):
        del counters[name]
    counters |= {"learning_rate": 0.005, "scheduler": {"last_epoch": 5, "lr_lambdas": [None]}}
    with safe_open(path, framework="pt") as file:
        content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(content, path, metadata={"training": json.dumps(counters)})
    assert run(tmp_path / "old", "voxelmorph", settings).finished
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "old"))


class Taught(Blobs):
    """Disks whose displacement is known, and a momentum."""

    def _pair(self, key):
        pair = super()._pair(key)
        known = torch.zeros(1, 2, *pair.fixed.shape[2:])
        known[:, 1] = 2.0
        return dataclasses.replace(pair, displacement=known, momentum=-known)


@pytest.mark.slow
@pytest.mark.parametrize("name", [info.name for info in method_infos() if info.kind == "field"])
def test_every_method_resumes_exactly_in_every_stage(tmp_path, name):
    info = get_method(name).info
    known = {field.name for field in dataclasses.fields(info.settings)}
    small = {"channels": 4, "start_channels": 1, "blocks": 1, "patches": 2, "shooting_steps": 2}
    if isinstance(info.settings().__dict__.get("channels"), tuple) or name == "transmorph":
        small.pop("channels")
    settings = to_json(from_json(info.settings, {key: value for key, value in small.items() if key in known}))
    options = {"supervision": info.supervision[0], "source": Taught(validation=1), "steps": 8}
    run(tmp_path / "whole", name, settings, **options)
    for stop in range(1, 8, 2):
        assert not run(tmp_path / "parts", name, settings, stop_at=stop, **options).finished
    assert run(tmp_path / "parts", name, settings, **options).finished
    assert same(tensors(tmp_path / "whole"), tensors(tmp_path / "parts"))
