"""The real work, as the panel asks for it: volumes of its own inside the job folder, NRRD out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.errors import Cancelled
from DeepVsClassicRegLib.core.evaluation.report import read_report
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.transforms.files import write_transform
from DeepVsClassicRegLib.core.transforms.transform import Transform
from DeepVsClassicRegLib.worker.client import WorkerClient
from DeepVsClassicRegLib.worker.job_folder import new_job_folder
from DeepVsClassicRegLib.worker.registering import memory_note, register

PHANTOM = make_phantom("head", size=16)
SETTINGS = {"iterations": [4, 4, 2]}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a job folder with the phantom's volumes in it."""
    place = new_job_folder(tmp_path)
    pair = PHANTOM.pair
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        write_volume(getattr(pair, name), place / f"{name}.nrrd")
    write_transform(Transform((PHANTOM.warp.affine,)), place / "initial.tfm")
    return place


def job(**changes) -> Job:
    inputs = {name: f"{name}.nrrd" for name in ("fixed", "moving", "fixed_labels", "moving_labels")}
    return Job(
        **{
            "inputs": {**inputs, "initial": "initial.tfm"},
            "engine": "sitk-demons",
            "settings": SETTINGS,
            "compute": Compute(threads=1),
            "outputs": {"warped": "w.nrrd", "transform": "t.h5", "report": "report.json"},
            **changes,
        }
    )


def test_relative_inputs_and_chosen_outputs(folder):
    job(label_names={"2": "Left white matter"}).write(folder)
    outcome = WorkerClient(folder).run()
    assert outcome.ok, outcome
    assert outcome.files == {
        "transform": folder / "out" / "t.h5",
        "warped": folder / "out" / "w.nrrd",
        "report": folder / "out" / "report.json",
    }
    assert {path.name for path in (folder / "out").iterdir()} == {"t.h5", "w.nrrd", "report.json"}
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}.nrrd")) for name in ("fixed", "moving"))
    warped = sitk.GetArrayFromImage(sitk.ReadImage(str(outcome.files["warped"])))
    transform = sitk.ReadTransform(str(outcome.files["transform"]))
    again = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float(warped.min()))
    assert np.abs(sitk.GetArrayFromImage(again) - warped).max() < 1e-3 * np.ptp(warped)
    report = json.loads(outcome.files["report"].read_text(encoding="utf-8"))
    assert report["measures"]["after"]["dice_mean"] > report["measures"]["before"]["dice_mean"]
    assert not (folder / "tmp").exists()


def test_the_verdict_is_reported_before_the_files_are_written(folder):
    events = []
    job().write(folder)
    outcome = WorkerClient(folder).run(events.append)
    verdict = json.loads(outcome.files["report"].read_text(encoding="utf-8"))["verdict"]
    stages = [event.data["stage"] for event in events if event.kind == "progress"]
    assert stages[-2:] == [f"{verdict['headline']} ({verdict['level']}): writing the files", "Done"]


def test_the_first_result_has_all_but_the_slow_measures(folder, tmp_path):
    """Its report has the verdict; the last one has everything, as without a first result."""
    found, copies = [], tmp_path / "first"

    def listen(update):
        if update.result:
            found.append(json.loads((folder / update.result).read_text(encoding="utf-8")))
            shutil.copytree(folder / "out", copies)

    outputs = {"transform": "t.h5", "warped": "w.nrrd", "report": "report.json", "thumbnail": "small.jpg"}
    content = register(job(options={"first": True}, outputs=outputs), folder, Progress(listener=listen))
    (first,) = found
    early, late = (read_report(place / "report.json") for place in (copies, folder / "out"))
    assert first["files"] == {"transform": "t.h5", "warped": "w.nrrd", "report": "report.json"}
    assert content == {name: value for name, value in first.items() if name not in ("task", "files")} | {
        "files": {**first["files"], "thumbnail": "small.jpg"}
    }
    assert early.missing == ("surface",) and "hd95_mm_mean" not in early.measures.after
    assert late.missing == () and late.measures.after["hd95_mm_mean"] > 0
    assert early.verdict == late.verdict
    assert (copies / "t.h5").read_bytes() == (folder / "out" / "t.h5").read_bytes()


@pytest.mark.parametrize("labels", [True, False])
def test_a_worker_announces_the_first_result(folder, labels):
    """Without segmentations there is nothing slow, and the only result is the last one."""
    inputs = {
        name: f"{name}.nrrd" for name in ("fixed", "moving", "fixed_labels", "moving_labels")[: 4 if labels else 2]
    }
    events = []
    job(inputs=inputs, options={"first": True}).write(folder)
    outcome = WorkerClient(folder).run(events.append)
    announced = [event.data["result"] for event in events if event.kind == "progress" and "result" in event.data]
    assert outcome.ok and announced == (["first.json"] if labels else [])
    assert read_report(outcome.files["report"]).missing == ()


def test_a_cancel_after_the_first_result_keeps_its_files(folder):
    seen = []

    def listen(update):
        seen.append(update.result)

    with pytest.raises(Cancelled):
        register(job(options={"first": True}), folder, Progress(listen, lambda: "first.json" in seen))
    assert read_report(folder / "out" / "report.json").missing == ("surface",)
    assert (folder / "out" / "t.h5").exists()


def test_a_run_that_does_not_fit_into_the_memory_says_so():
    """The larger of both volumes counts; nothing is said when it fits or the system does not tell."""
    small = PHANTOM.pair.moving
    grid = Grid((400, 300, 100))
    pair = PHANTOM.pair.replace(fixed=Volume(np.zeros(grid.shape), grid), fixed_labels=None, moving_labels=None)
    assert "about 2.2 GB of memory, 1.5 GB are available" in memory_note(pair, 1500.0)
    assert memory_note(pair, 2500.0) == memory_note(pair, None) == ""
    assert memory_note(pair.replace(fixed=small, moving=pair.fixed), 1500.0)
    assert not memory_note(pair.replace(fixed=small), 1500.0)


def test_without_measures(folder):
    job(evaluate=False, outputs={"warped_labels": "seg.nrrd", "jacobian": "j.nrrd"}).write(folder)
    outcome = WorkerClient(folder).run()
    assert outcome.ok and set(outcome.files) == {"warped_labels", "jacobian"}
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(outcome.files["jacobian"]))).mean() == pytest.approx(1, abs=0.3)


def test_page_is_left_out_with_a_note_when_it_cannot_be_drawn(folder, tmp_path):
    """In Slicer matplotlib and jinja2 may be missing; a long run must not fail at its end for that."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n", encoding="utf-8")
    job(outputs={"report": "r.json", "html": "r.html"}).write(folder)
    client = WorkerClient(folder, environment={**os.environ, "PYTHONPATH": str(tmp_path)})
    outcome = client.run()
    assert outcome.ok and set(outcome.files) == {"report"}
    assert any("matplotlib" in note for note in client.session.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {"fixed": "fixed.nrrd"}}, "has no moving volume"),
        ({"inputs": {"fixed": "fixed.nrrd", "moving": "gone.nrrd"}}, "No such file"),
        ({"inputs": {"fixed": "fixed.nrrd", "moving": "initial.tfm"}}, "Could not read"),
        ({"engine": "sitk-demon"}, "no engine 'sitk-demon'"),
    ],
)
def test_what_the_user_can_fix(folder, changes, message):
    job(**changes).write(folder)
    outcome = WorkerClient(folder).run()
    assert outcome.state == "rejected" and message in outcome.message and outcome.exit_code == 2
    assert not (folder / "result.json").exists() and not (folder / "tmp").exists()


def test_a_cut_off_nifti_is_no_result(folder, tmp_path):
    """ITK writes NIfTI without noticing that the disk is full."""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
    (tmp_path / "sitecustomize.py").write_text(limit, encoding="utf-8")
    job(outputs={"warped": "w.nii.gz"}).write(folder)
    outcome = WorkerClient(folder, environment={**os.environ, "PYTHONPATH": str(tmp_path)}).run()
    assert not list((folder / "out").iterdir()), "neither the file nor a part of it is left"
    assert outcome.state == "rejected" and "truncated after 3000 bytes" in outcome.message
    assert not (folder / "result.json").exists()
