"""One pair of a cohort: complete or failed with a reason, within its limits, and computed by one worker at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path

import psutil
import pytest
from DeepVsClassicRegLib.core.cohort.manifest import CohortPair
from DeepVsClassicRegLib.core.cohort.records import PairRecord, PairTask, finished_record
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom
from DeepVsClassicRegLib.core.settings import Choice
from DeepVsClassicRegLib.worker.cohort import RunOptions
from DeepVsClassicRegLib.worker.cohort_pair import run_pair, used_memory_mb

FAKES = Path(__file__).parents[1] / "cli" / "fakes"


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> CohortPair:
    files = write_phantom(make_phantom("head", size=20), tmp_path_factory.mktemp("phantom"))
    roles = ("fixed", "moving", "fixed_labels", "moving_labels")
    return CohortPair("p", {role: str(files[role]) for role in roles}, subject="S1", info={"age": "7"})


@pytest.fixture
def task(pair, tmp_path, monkeypatch) -> PairTask:
    """Return a task with an engine that is stuck in native code."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    return PairTask(pair, Choice("stuck"), str(tmp_path / "pairs" / "p" / "stuck"), compute=Compute(threads=1))


def children() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def files_in(task: PairTask) -> set[str]:
    return {path.name for path in Path(task.folder).iterdir()} - {".lock"}


def test_a_finished_pair_has_all_files_and_is_not_repeated(task, monkeypatch):
    outputs = RunOptions(pages=False).files()
    task = dataclasses.replace(task, choice=Choice("linear", "rigid"), outputs=outputs)
    record = run_pair(task)
    assert record.ok, record.message
    assert files_in(task) == {*record.files, "record.json"}
    assert {"report.json", "transform.h5", "warped_seg.nii.gz", "thumbnail.jpg"} <= set(record.files)
    assert finished_record(task) == record == PairRecord.read(Path(task.folder))
    report = json.loads((Path(task.folder) / "report.json").read_text(encoding="utf-8"))
    assert record.after["dice_mean"] == report["measures"]["after"]["dice_mean"] > record.before["dice_mean"]
    assert (record.subject, record.info, record.verdict) == ("S1", {"age": "7"}, report["verdict"]["level"])
    monkeypatch.setattr("DeepVsClassicRegLib.worker.cohort_pair._computed", None)
    assert run_pair(task) == record

    (Path(task.folder) / "report.json").unlink()
    assert finished_record(task) is None, "a result without its report is not complete"


def test_time_limit(task):
    record = run_pair(dataclasses.replace(task, timeout_s=3))
    assert record.status == "failed" and "the limit is 3 s" in record.message and "--timeout" in record.hint
    assert files_in(task) == {"record.json"} and not children()


def test_memory_limit(task):
    record = run_pair(dataclasses.replace(task, memory_mb=10))
    assert record.status == "failed" and "the limit is 10 MB" in record.message
    assert files_in(task) == {"record.json"} and not children()
    assert used_memory_mb(os.getpid()) > 10 and used_memory_mb(None) == 0


def test_a_failed_engine_removes_an_earlier_result(task):
    folder = Path(task.folder)
    folder.mkdir(parents=True)
    (folder / "report.json").write_text('{"engine": "x", "measures": {}}', encoding="utf-8")
    (folder / "warped.nii.gz").touch()
    (folder / ".dvcreg-left").mkdir()
    record = run_pair(dataclasses.replace(task, choice=Choice("broken")))
    assert (record.message, record.hint) == ("The back end gave up.", "Try another engine.")
    assert files_in(task) == {"record.json"}


def test_the_stop_file_ends_a_pair_without_a_record(task, tmp_path):
    stop = tmp_path / "stop"
    ended = []
    thread = threading.Thread(target=lambda: ended.append(run_pair(dataclasses.replace(task, stop_file=str(stop)))))
    thread.start()
    stop.touch()
    thread.join(timeout=300)
    assert ended[0].status == "canceled" and files_in(task) == set() and not children()


def test_a_locked_pair_is_left_to_its_owner(task, tmp_path):
    from filelock import FileLock

    stop = tmp_path / "stop"
    Path(task.folder).mkdir(parents=True)
    with FileLock(Path(task.folder) / ".lock"):
        stop.touch()
        assert run_pair(dataclasses.replace(task, stop_file=str(stop))).status == "canceled"
    assert files_in(task) == set()


def test_a_folder_that_cannot_be_written(task, tmp_path):
    (tmp_path / "pairs").write_text("a file", encoding="utf-8")
    record = run_pair(task)
    assert record.status == "failed" and "Could not write in" in record.message


def test_a_missing_input(task):
    gone = CohortPair("p", {**task.pair.inputs, "fixed": "/missing.nii.gz"})
    assert "/missing.nii.gz" in run_pair(dataclasses.replace(task, pair=gone)).message
