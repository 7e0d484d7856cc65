"""The loop learns, is deterministic, goes on exactly where it stopped, and leaves a model that can be loaded."""

from __future__ import annotations

import copy
import csv
import itertools
import math
import time
from functools import partial

import pytest
import torch
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError, SettingsError
from DeepVsClassicRegLib.core.networks.model_store import load_model
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.training.checkpoint import CHECKPOINT_FILE
from DeepVsClassicRegLib.core.training.config import CONFIG_FILE, TrainSettings, read_config
from DeepVsClassicRegLib.core.training.estimate import estimate
from DeepVsClassicRegLib.core.training.loop import train
from DeepVsClassicRegLib.core.training.stages import learning_rate_factor
from DeepVsClassicRegLib.core.training.workarounds import narrow_in_full_precision
from safetensors.torch import load_file
from training_disks import Blobs, config_of, counters_of

ONE = Compute(device="cpu", threads=1)


def run(folder, *, source=None, stop_at=None, **config):
    """Train disks, and stop (as Ctrl-C does) after so many steps."""
    steps = []
    progress = Progress(listener=lambda update: steps.append(update.iteration), cancelled=lambda: stop_at in steps)
    return train(config_of(**config), source or Blobs(), folder, compute=ONE, progress=progress)


def weights(folder):
    """Return all tensors of a checkpoint: weights, their average, the optimizer's moments."""
    return load_file(folder / CHECKPOINT_FILE)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rows(path):
    with path.open() as file:
        return [{name: row[name] for name in row if name != "hours"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("supervision", ["none", "labels"])
def test_it_learns(tmp_path, supervision):
    outcome = run(tmp_path, supervision=supervision, steps=120, validate_every=60)
    assert outcome.finished
    assert outcome.step == 120
    assert outcome.best["dice_before"] < 0.85
    assert outcome.best["dice"] > outcome.best["dice_before"] + 0.08
    assert outcome.best["folds_percent"] == 0
    curve = rows(tmp_path / "curves.csv")
    assert float(curve[-1]["loss"]) < 0.5 * float(curve[0]["loss"])
    assert {"image", "smoothness"} < set(curve[0])
    assert ("labels" in curve[0]) == (supervision == "labels")
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_stopped_and_resumed_is_as_if_never_stopped(tmp_path):
    options = {"steps": 24, "average": 0.9, "schedule": "cosine", "warmup": 3}
    run(tmp_path / "whole", **options)
    for stop in (7, 13):
        outcome = run(tmp_path / "parts", stop_at=stop, **options)
        assert not outcome.finished
        assert outcome.step == stop == counters_of(tmp_path / "parts")["step"]
    outcome = run(tmp_path / "parts", **options)
    assert outcome.finished
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    assert rows(tmp_path / "whole" / "validation.csv") == rows(tmp_path / "parts" / "validation.csv")
    models = [load_model(tmp_path / name / "model") for name in ("whole", "parts")]
    assert models[0][0].sha256 == models[1][0].sha256


def test_the_seed_decides(tmp_path):
    run(tmp_path / "a", steps=4)
    run(tmp_path / "b", steps=4)
    run(tmp_path / "c", steps=4, seed=1)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_sampling_method_resumes_exactly(tmp_path):
    def once(folder, stop_at=None):
        config = config_of(steps=10, validate_every=10)
        settings = {"encoder": [6, 6], "decoder": [6, 6, 6]}
        config = type(config)(**{**vars(config), "method": "voxelmorph-diff", "method_settings": settings})
        steps = []
        progress = Progress(lambda update: steps.append(update.iteration), lambda: stop_at in steps)
        train(config, Blobs(), folder, compute=ONE, progress=progress)

    once(tmp_path / "whole")
    once(tmp_path / "parts", stop_at=3)
    torch.rand(5)  # what others draw meanwhile does not matter
    once(tmp_path / "parts")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_curves_of_steps_after_the_last_checkpoint_are_dropped(tmp_path):
    run(tmp_path, steps=10)
    with (tmp_path / "curves.csv").open("a") as file:
        file.write("15,0,0.005,9,9,9,9\n20,0,0.0")
    run(tmp_path, steps=20)
    steps = [int(row["step"]) for row in rows(tmp_path / "curves.csv")]
    assert steps == [5, 10, 15, 20]
    assert float(rows(tmp_path / "curves.csv")[2]["loss"]) < 1


def test_the_card_is_complete(tmp_path):
    run(tmp_path, supervision="labels", steps=10, half=True)
    card, module = load_model(tmp_path / "model")
    assert (card.name, card.method, card.licence) == ("disks", "voxelmorph", "CC0-1.0")
    assert (card.size, card.dimensions, card.spacing_mm) == ((24, 24, 1), 2, 1.0)
    assert card.supervised_labels == {"1": "disk"}
    assert "10.1109" in card.citation
    assert card.domain["count"] == 3
    assert card.validation["dice"] > 0.5
    assert card.training["supervision"] == "labels"
    assert card.training["data"] == {"kind": "disks"}
    assert card.training["settings"]["steps"] == card.training["steps_altogether"] == 10
    assert card.training["command"] == "dvcreg train"
    assert {"torch", "DeepVsClassicReg"} <= set(card.training["versions"])
    assert not module.training
    stored = load_file(tmp_path / "model" / "weights.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}


def test_the_best_weights_are_kept_not_the_last(tmp_path):
    run(tmp_path, steps=30)
    kept = load_model(tmp_path / "model")[0].sha256
    former = counters_of(tmp_path)["best"]
    run(tmp_path, steps=60, source=_WorseLater())
    assert counters_of(tmp_path)["step"] == 60
    assert counters_of(tmp_path)["best"] == former
    assert load_model(tmp_path / "model")[0].sha256 == kept
    assert float(rows(tmp_path / "validation.csv")[-1]["loss"]) > former["loss"]


class _WorseLater(Blobs):
    """Teaches the opposite shift."""

    def sample(self, step):
        batch = super().sample(step)
        return type(batch)(batch.moving, batch.fixed, batch.moving_labels, batch.fixed_labels)


def test_without_validation_pairs_the_last_weights_are_kept(tmp_path):
    run(tmp_path, steps=10, source=Blobs(validation=0))
    card, module = load_model(tmp_path / "model")
    assert card.validation == {"step": 10}
    last = weights(tmp_path)
    assert all(torch.equal(tensor, last[f"weights/{name}"]) for name, tensor in module.state_dict().items())


def test_global_state_does_not_change(tmp_path):
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    before = torch.random.get_rng_state()
    run(tmp_path, steps=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_a_single_bad_batch_is_skipped_and_many_end_the_training(tmp_path):
    run(tmp_path / "good", steps=10)
    with pytest.raises(RegistrationError, match="diverged"):
        run(tmp_path / "bad", steps=60, source=Blobs(broken_from=10))
    saved = counters_of(tmp_path / "bad")
    assert 10 <= saved["step"] < 30
    good, bad = weights(tmp_path / "good"), weights(tmp_path / "bad")
    assert all(torch.equal(good[name], bad[name]) for name in good if name.startswith("weights/"))


def test_mixed_precision_learns_too(tmp_path):
    outcome = run(tmp_path, steps=120, validate_every=60, precision="mixed")
    assert outcome.best["dice"] > outcome.best["dice_before"] + 0.08


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6])
def test_gradients_of_mixed_precision_are_right_on_narrow_images(width):
    # Without the remedy torch 2.13 gives gradients of up to 1e34 at width 2.
    convolve = torch.nn.Conv3d(16, 16, 3, padding=1, bias=False)
    careful = copy.deepcopy(convolve)
    narrow_in_full_precision(careful)
    generator = torch.Generator().manual_seed(width)
    image, slope = torch.randn(2, 2, 16, width, width, width, generator=generator)
    for _ in range(5):
        torch.full((1 << 20,), 1e30)  # what the memory held
        careful.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answer = careful(image)
        (answer.float() * slope).sum().backward()
        convolve.zero_grad()
        (convolve(image) * slope).sum().backward()
        error = (careful.weight.grad - convolve.weight.grad).norm() / convolve.weight.grad.norm()
        assert float(error) < 0.02


def test_finetuning_starts_from_the_model(tmp_path):
    first = run(tmp_path / "first", steps=40, validate_every=40)
    start = {"name": "disks", "sha256": "", "folder": str(tmp_path / "first" / "model")}
    config = config_of(steps=10)
    outcome = train(type(config)(**{**vars(config), "start": start}), Blobs(), tmp_path / "tuned", compute=ONE)
    again = rows(tmp_path / "tuned" / "validation.csv")[0]
    assert float(again["dice"]) == pytest.approx(first.best["dice"], abs=1e-5)
    assert outcome.best["dice"] >= first.best["dice"] - 1e-9
    assert load_model(tmp_path / "tuned" / "model")[0].training["start"]["name"] == "disks"


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(tmp_path, steps=2)
    with pytest.raises(FileError, match="another network"):
        run(tmp_path, steps=4, settings={"encoder": (4, 4)})


def test_a_broken_checkpoint_is_refused(tmp_path):
    run(tmp_path, steps=2)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"\x80\x04 no safetensors")
    with pytest.raises(FileError, match="Could not read"):
        run(tmp_path, steps=4)


def test_estimate_measures_and_writes_nothing(tmp_path):
    found = estimate(config_of(), Blobs(), compute=ONE)
    assert found.parameters > 100
    assert 0 < found.seconds_per_sample < found.seconds_per_step
    assert found.memory_mb > 50
    assert found.validation_pairs == 3
    assert found.hours_for(found.steps_in(1.0, 10), 10) == pytest.approx(1.0, rel=0.01)
    assert not list(tmp_path.iterdir())


def test_learning_rate():
    factor = partial(learning_rate_factor, TrainSettings(steps=100, schedule="cosine", warmup=9))
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == pytest.approx(1.0)
    middle = 9 + 91 / 2
    assert factor(middle) == pytest.approx(0.01 + 0.99 / 2)
    assert factor(100) == pytest.approx(0.01)
    constant = partial(learning_rate_factor, TrainSettings())
    assert constant(0) == constant(10**6) == 1
    assert math.isclose(learning_rate_factor(TrainSettings(warmup=3), 1), 0.5)
    with pytest.raises(SettingsError, match="length of the training run"):
        TrainSettings(schedule="cosine")


def test_learning_rate_where_the_hours_limit_the_training():
    factor = partial(learning_rate_factor, TrainSettings(hours=2, schedule="cosine"))
    assert factor(1000, part=0.0) == pytest.approx(1.0)
    assert factor(1000, part=0.5) == pytest.approx(0.01 + 0.99 / 2)
    assert factor(1000, part=1.0) == pytest.approx(0.01)


def test_hours_can_be_those_of_the_processor(tmp_path, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(time, "process_time", lambda: float(next(seconds)))
    outcome = run(tmp_path, steps=0, hours=3.5 / 3600, clock="cpu", schedule="cosine", log_every=1)
    assert outcome.finished and outcome.step == 4  # one of these seconds for every step
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "curves.csv")]
    assert rates[-1] < 0.05 * rates[0]


def test_the_config_survives_the_file(tmp_path):
    config = config_of(steps=7, average=0.5)
    config.write(tmp_path)
    assert read_config(tmp_path) == config
    (tmp_path / CONFIG_FILE).write_text('{"method": 3}')
    with pytest.raises(FileError, match="not a training plan"):
        read_config(tmp_path)
    with pytest.raises(FileError, match="contains no training run"):
        read_config(tmp_path / "nowhere")
