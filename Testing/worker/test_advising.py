"""Questions the worker answers without writing a file: what to use, and how well a transform fits."""

from __future__ import annotations

import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import RegistrationError, SettingsError
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.files import write_transform
from DeepVsClassicRegLib.worker import advising
from DeepVsClassicRegLib.worker.client import WorkerClient

PHANTOM = make_phantom("head", size=16)


@pytest.fixture
def folder(tmp_path):
    """Return a job folder with the phantom and its true transform in it."""
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        write_volume(getattr(PHANTOM.pair, name), tmp_path / f"{name}.nrrd")
    write_transform(PHANTOM.truth, tmp_path / "initial.h5", grid=PHANTOM.pair.fixed.grid)
    return tmp_path


def job(task, *, initial=False, **changes) -> Job:
    names = ["fixed", "moving", "fixed_labels", "moving_labels"]
    inputs = {name: f"{name}.nrrd" for name in names} | ({"initial": "initial.h5"} if initial else {})
    return Job(task=task, inputs=inputs, outputs={}, compute=Compute(threads=1), **changes)


def test_a_transform_is_measured(folder):
    job("evaluate", initial=True, label_names={"2": "Left white matter"}).write(folder)
    outcome = WorkerClient(folder).run()
    assert outcome.ok, outcome
    measures = outcome.result["measures"]
    assert measures["after"]["dice_mean"] > measures["before"]["dice_mean"] + 0.05
    assert outcome.files == {}
    assert not (folder / "out").exists()


def test_without_a_transform_there_is_nothing_to_measure(folder):
    with pytest.raises(RegistrationError, match="no transform"):
        advising.evaluate(job("evaluate"), folder, Progress())


def test_options_reach_the_recommendation(folder):
    answer = advising.recommend(
        job("recommend", options={"training_labels": 7, "time_budget_s": None, "align": False}), folder, Progress()
    )
    advice = answer["advice"]
    assert advice["engine"] and answer["files"] == {}
    assert any("7 segmented cases" in reason["text"] for reason in advice["reasons"])


def test_an_unknown_option_is_reported(folder):
    with pytest.raises(SettingsError, match="training_label"):
        advising.recommend(job("recommend", options={"training_label": 3}), folder, Progress())
