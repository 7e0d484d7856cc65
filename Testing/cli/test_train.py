"""Training from the command line: killed and resumed, stopped politely, what cannot be changed, fine-tuning."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from DeepVsClassicRegLib.core.networks.base import LossContext
from DeepVsClassicRegLib.core.networks.catalogue import get_method
from DeepVsClassicRegLib.core.networks.model_store import load_model
from DeepVsClassicRegLib.core.training.config import read_config
from DeepVsClassicRegLib.core.training.options import data_settings
from DeepVsClassicRegLib.core.training.rng import kept_random
from DeepVsClassicRegLib.core.training.source_factory import make_source
from DeepVsClassicRegLib.core.training.state import method_settings, new_state
from DeepVsClassicRegLib.worker.processes import worker_environment
from safetensors.torch import load_file

SMALL = ("--set", "encoder=4,4", "--set", "decoder=4,4", "--set", "similarity=mse")
SHAPES = ("--data", "shapes", "--size", "24,24", "--spacing", "4", "--validation", "2", "--synth", "shapes_high=8")
ONE = ("--threads", "1", "--device", "cpu", "--quiet")
TRAIN = ("train", "--method", "voxelmorph", *SMALL, *SHAPES, *ONE, "--learning-rate", "0.003", "--average", "0.9")


def tensors(folder):
    """Return weights, averages and the optimizer's moments of a checkpoint."""
    return load_file(folder / "checkpoint.safetensors")


def wait_for_rows(process, path, count):
    """Wait until a training has written so many rows of its curve, and is still at it."""
    deadline = time.monotonic() + 300
    while not path.exists() or len(path.read_text().splitlines()) <= count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a training that was never disturbed."""
    from DeepVsClassicRegLib.cli.main import main

    out = tmp_path_factory.mktemp("trained") / "whole"
    assert main([*TRAIN, "--steps", "60", "--validate-every", "20", "--log-every", "2", "--out", str(out)]) == 0
    return out


def test_killed_and_resumed_gives_the_same_weights(trained, program, call, tmp_path):
    out = tmp_path / "killed"
    limits = ("--steps", 60, "--validate-every", 20, "--log-every", 2, "--checkpoint-minutes", 0, "--out", out)
    process = program(*TRAIN, *limits)
    wait_for_rows(process, out / "curves.csv", 12)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert call("train", "--resume", *ONE, "--out", out)[0] == 0
    assert "starts at step 0 " in (out / "train.log").read_text()
    resumed_at = int((out / "train.log").read_text().split("starts at step ")[-1].split()[0])
    assert 20 <= resumed_at < 60
    whole, killed = tensors(trained), tensors(out)
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert load_model(out / "model")[0].sha256 == load_model(trained / "model")[0].sha256
    curves = [(folder / "curves.csv").read_text().splitlines() for folder in (trained, out)]
    without_hours = [[[line.split(",")[0], *line.split(",")[2:]] for line in curve] for curve in curves]
    assert without_hours[0] == without_hours[1]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no polite SIGTERM on Windows")
def test_sigterm_writes_a_checkpoint_and_leaves(program, call, tmp_path):
    process = program(*TRAIN, "--log-every", 1, "--out", tmp_path)
    wait_for_rows(process, tmp_path / "curves.csv", 2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 3, err
    assert (out, err) == ("", "")  # quiet
    assert "stopped at step" in (tmp_path / "train.log").read_text()
    assert not list(tmp_path.glob(".*.part"))
    code, out, _err = call("train", "--resume", "--steps", 1, "--threads", 1, "--out", tmp_path, "--json")
    assert code == 0
    assert json.loads(out)["step"] >= 2  # nothing was left to do


def test_what_is_left_can_be_used(trained):
    names = {path.name for path in trained.iterdir()}
    files = {"training.json", "checkpoint.safetensors", "curves.csv", "validation.csv", "curves.png", "train.log"}
    files |= {"state.json", "training.lock"}
    assert names == {*files, "model"}
    card, module = load_model(trained / "model")
    assert card.training["command"].startswith("dvcreg train --method voxelmorph ")
    assert (card.contrasts, card.anatomy, card.licence) == ("any", "any", "Apache-2.0")
    assert card.settings["encoder"] == [4, 4]
    prediction = module(torch.rand(1, 1, 32, 40), torch.rand(1, 1, 32, 40))
    assert prediction.displacement.shape == (1, 2, 32, 40)


def test_a_training_is_not_overwritten_or_changed(trained, call):
    code, _out, err = call(*TRAIN, "--out", trained)
    assert (code, "--resume" in err) == (2, True)
    for change, name in (
        (("--batch", 2), "batch"),
        (("--set", "radius=2"), "method_settings"),
        (("--seed", 4), "seed"),
    ):
        code, _out, err = call("train", "--resume", *change, "--out", trained)
        assert code == 2
        assert f"cannot change {name}." in err
    assert call("train", "--resume", *ONE, "--title", "New title", "--out", trained)[0] == 0
    assert load_model(trained / "model")[0].title == "New title"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "shapes"), "needs --method and --data"),
        (("--method", "voxelmorf", "--data", "shapes"), "no method 'voxelmorf'"),
        (("--method", "synthmorph", "--data", "shapes", "--supervision", "none"), "cannot be trained with"),
        (("--method", "voxelmorph", "--data", "shapes", "--set", "depth=3"), "no setting 'depth'"),
        (("--method", "voxelmorph", "--data", "shapes", "--synth", "depth=3"), "no setting 'depth'"),
        (("--method", "voxelmorph", "--data", "shapes", "--size", "a,b"), "--size needs"),
        (("--method", "voxelmorph", "--data", "shapes", "--schedule", "cosine"), "length of the training"),
        (("--method", "voxelmorph", "--data", "nowhere.csv", "--size", "32"), "no dataset"),
    ],
)
def test_what_cannot_be_trained(call, tmp_path, options, message):
    code, out, err = call("train", *options, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_dry_run_writes_nothing(call, tmp_path):
    code, out, _err = call(*TRAIN, "--dry-run", "--hours", 1, "--steps", 100, "--json", "--out", tmp_path / "out")
    assert code == 0
    found = json.loads(out)
    assert found["steps_in_the_hours"] > 1000
    assert found["hours_for_the_steps"] > 0
    assert found["memory_mb"] > 50
    assert not (tmp_path / "out").exists()


def test_finetuning(trained, call, tmp_path):
    out = tmp_path / "tuned"
    model = trained / "model"
    code, _out, err = call("finetune", "--model", model, "--data", "shapes", "--steps", 3, *ONE, "--out", out)
    assert code == 0, err
    card, _module = load_model(out / "model")
    assert card.training["start"]["sha256"] == load_model(model)[0].sha256
    assert card.training["supervision"] == "labels"
    assert (card.size, card.spacing_mm) == ((24, 24, 1), 4.0)
    assert call("finetune", "--resume", "--steps", 4, *ONE, "--out", out)[0] == 0
    assert call("finetune", "--data", "shapes", "--out", tmp_path / "new")[0] == 2
    code, _out, err = call("finetune", "--model", "nobody", "--data", "shapes", "--out", tmp_path / "new")
    assert (code, "no model 'nobody'" in err) == (2, True)


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path):
    """Two processes make the updates of one that averages the objective of both pairs."""
    steps = 6
    options = [*TRAIN, "--steps", steps, "--validate-every", steps, "--clip", 0, "--out", tmp_path]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    command = [*launch, "-m", "DeepVsClassicRegLib.cli.main", *options]
    variables = {**worker_environment(), "OMP_NUM_THREADS": "1"}
    subprocess.run([str(word) for word in command], check=True, env=variables, timeout=500)
    shared = tensors(tmp_path)
    with kept_random(torch.device("cpu")):
        alone = averaged_by_hand(read_config(tmp_path), steps).state_dict()
    assert all(torch.allclose(shared[f"weights/{name}"], alone[name], rtol=1e-4, atol=1e-5) for name in alone)
    curve = (tmp_path / "curves.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["step", str(steps)]  # one process writes


def averaged_by_hand(config, steps):
    """Return the network after updates with the mean objective of two batches each."""
    source = make_source(data_settings(config), seed=config.train.seed)
    state, method = new_state(config, 2, torch.device("cpu")), get_method(config.method)
    settings = method_settings(method, config)
    before = {name: tensor.clone() for name, tensor in state.module.state_dict().items()}
    for step in range(steps):
        total = 0.0
        for batch in (source.sample(2 * step), source.sample(2 * step + 1)):
            prediction = state.module(batch.fixed, batch.moving)
            terms = method.loss(LossContext(state.module, prediction, batch, settings, config.supervision))
            total = total + sum(terms.values()) / 2
        state.optimizer.zero_grad()
        total.backward()
        state.optimizer.step()
    after = state.module.state_dict()
    assert max(float((after[name] - before[name]).abs().max()) for name in after) > 0.005
    return state.module
