"""Training folders: their state on the disk, names, installation, and the Python interface that fills them."""

from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
import sys

import DeepVsClassicRegLib as dvc
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import Cancelled, FileError, RegistrationError, SettingsError
from DeepVsClassicRegLib.core.networks.model_store import get_model
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.train import run_training, usual_options
from DeepVsClassicRegLib.core.training import folders
from DeepVsClassicRegLib.core.training.manifest import read_manifest
from DeepVsClassicRegLib.core.training.options import TrainingOptions, config_of
from DeepVsClassicRegLib.core.training.preprocessing import auto_grid
from DeepVsClassicRegLib.worker.processes import worker_environment
from training_cases import SIDE, SPACING_MM, TINY, TINY_TRAIN, write_cases

ONE = {"device": "cpu", "threads": 1}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an empty folder for the user's trainings and models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("DeepVsClassicRegLib.core.files.sys.platform", "linux")
    monkeypatch.delenv("DVCREG_MODELS", raising=False)
    return folders.user_trainings_folder()


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Return a folder of five labeled cases."""
    return write_cases(tmp_path_factory.mktemp("cases"))


def tiny(data, **changes):
    """Return the config of a training of seconds."""
    train = {**TINY_TRAIN, "steps": 6, **changes.pop("train", {})}
    content = {**TINY, "data": str(data), "supervision": "labels", "train": train, **changes}
    return config_of(TrainingOptions.from_json(content))


def stopped_after(steps):
    """Return a progress that is canceled after so many steps."""
    seen = []
    return Progress(lambda update: seen.append(update.iteration), lambda: bool(seen) and seen[-1] == steps)


def test_a_training_becomes_a_model_of_the_user(home, cases):
    options = {**TINY, "train": TINY_TRAIN}
    with pytest.raises(Cancelled, match="paused at step 3"):
        dvc.train(cases, supervision="labels", steps=8, name="balls", options=options, progress=stopped_after(3), **ONE)
    paused = folders.find_trainings()[0]
    assert (paused.name, paused.state, paused.step, paused.resumable) == ("balls", "paused", 3, True)
    assert paused.fraction == pytest.approx(3 / 8)
    with pytest.raises(RegistrationError, match="already a training 'balls'"):
        folders.check_name("balls")
    assert folders.free_name("balls") == "balls-2"
    model = dvc.resume_training(paused.folder, **ONE)
    assert model.folder.parent == home.parent / "Models"
    assert get_model("balls").card.supervised_labels == {"1": "label 1"}
    finished = folders.read_training(paused.folder)
    assert (finished.state, finished.step, finished.installed) == ("finished", 8, "balls")
    assert finished.dice > finished.dice_before
    with pytest.raises(Cancelled):
        options = {"train": TINY_TRAIN, "validation": 1}
        dvc.finetune("balls", cases, steps=5, name="tuned", options=options, progress=stopped_after(1), **ONE)
    tuned = folders.read_training(home / "tuned").config
    assert (tuned.start["name"], tuned.supervision, tuned.method) == ("balls", "labels", "voxelmorph")
    assert tuned.data["size"] == [SIDE] * 3
    folders.remove_training(paused.folder)
    assert get_model("balls").card.name == "balls"
    assert [entry.name for entry in folders.find_trainings()] == ["tuned"]


def test_what_is_not_possible_is_reported_before_anything_is_written(home, cases, tmp_path):
    few = write_cases(tmp_path / "few", count=3)
    with pytest.raises(FileError, match="leaves no pair for training: 3 cases"):
        dvc.train(few, steps=1, name="few", **ONE)
    with pytest.raises(SettingsError, match="needs a length"):
        dvc.train(cases, name="endless", **ONE)
    with pytest.raises(SettingsError, match="no option 'depth'"):
        dvc.train(cases, steps=1, options={"depth": 3}, **ONE)
    for name in ("../up", "", ".hidden", "a:b"):
        with pytest.raises(RegistrationError, match="cannot be the name"):
            folders.check_name(name)
    assert not home.exists()


def test_labels_are_needed_for_supervision_with_labels(home, tmp_path):
    data = write_cases(tmp_path / "half", unlabeled=4)
    with pytest.raises(SettingsError, match="segmentation of every training case"):
        run_training(tiny(data), tmp_path / "out", compute=Compute(**ONE))
    failed = folders.read_training(tmp_path / "out")
    assert (failed.state, failed.resumable) == ("failed", True)
    assert "segmentation of every training case" in failed.message and "images only" in failed.hint


def test_a_full_disk_is_reported_and_the_training_resumes(home, cases, tmp_path, monkeypatch):
    from DeepVsClassicRegLib.core.training import curves

    config, out = tiny(cases), tmp_path / "out"
    run_training(config, out, compute=Compute(**ONE), progress=stopped_after(2))
    add = curves.Curve.add

    def full(self, row):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(curves.Curve, "add", full)
    with pytest.raises(FileError, match="disk is full"):
        run_training(config, out, compute=Compute(**ONE))
    assert folders.read_training(out).message.startswith("The disk is full")
    monkeypatch.setattr(curves.Curve, "add", add)
    assert run_training(config, out, compute=Compute(**ONE)).step == 6
    assert folders.read_training(out).state == "finished"


def test_a_killed_training_is_interrupted_and_a_running_one_is_locked(home, cases, tmp_path):
    config, out = tiny(cases), tmp_path / "out"
    out.mkdir()
    config.write(out)
    folders.write_state(out, folders.RUNNING)
    code = (
        "import sys, pathlib; from DeepVsClassicRegLib.core.training.folders import locked\n"
        f"with locked(pathlib.Path({str(out)!r})):\n print('held', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": worker_environment()}
    holder = subprocess.Popen([sys.executable, "-c", code], **pipes)
    assert holder.stdout.readline() == "held\n"
    assert folders.read_training(out).state == "running"
    with pytest.raises(RegistrationError, match="Another process is training"):
        run_training(config, out, compute=Compute(**ONE))
    holder.kill()
    holder.communicate()
    killed = folders.read_training(out)
    assert (killed.state, killed.step, killed.resumable) == ("interrupted", 0, True)


def test_nothing_better_than_the_start_is_not_installed(home, cases, tmp_path):
    config = tiny(cases, train={"learning_rate": 1e-9, "steps": 1})
    run_training(config, tmp_path / "out", compute=Compute(**ONE))
    with pytest.raises(RegistrationError, match="nothing better than its initial weights"):
        folders.install(tmp_path / "out")
    with pytest.raises(RegistrationError, match="no weights yet"):
        folders.install(tmp_path)


def test_a_cancel_during_the_first_validation_can_be_resumed(home, cases, tmp_path):
    config, out = tiny(cases, train={"steps": 5}), tmp_path / "out"
    outcome = run_training(config, out, compute=Compute(**ONE), training=Progress(cancelled=lambda: True))
    assert (outcome.finished, outcome.step, outcome.best) == (False, 0, {})
    assert folders.read_training(out).state == "paused"
    assert run_training(config, out, compute=Compute(**ONE)).finished
    assert [row.split(",")[0] for row in (out / "validation.csv").read_text().splitlines()[1:]] == ["0", "5"]


def test_the_automatic_grid_holds_the_volumes(cases):
    manifest = read_manifest(cases, validation=1)
    assert auto_grid(manifest) == ((SIDE,) * 3, SPACING_MM)
    size, spacing_mm = auto_grid(manifest, multiple=4, most_voxels=8**3)
    assert size == (8, 8, 8)
    assert 8 * spacing_mm >= SIDE * SPACING_MM


def test_the_usual_choices_are_valid(cases):
    for supervision in ("labels", "none"):
        config = config_of(TrainingOptions.from_json({**usual_options(supervision), "data": str(cases), "train": {}}))
        assert config.supervision == supervision
        assert config.data["linear"] == "first"
        assert config.data["augmentation"]


def test_a_folder_of_another_version_is_skipped(home, cases):
    config = tiny(cases)
    for name in ("good", "bad"):
        (home / name).mkdir(parents=True)
        dataclasses.replace(config, card={"name": name}).write(home / name)
    (home / "bad" / "training.json").write_text(json.dumps({"method": "voxelmorph"}))
    (home / "good" / "state.json").write_text("{")
    assert [entry.name for entry in folders.find_trainings()] == ["good"]
    with pytest.raises(RegistrationError, match="is not in"):
        folders.remove_training(cases)
