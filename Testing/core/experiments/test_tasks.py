"""Tasks of work: resumed, distinguished by their arguments, and not stopped by one that fails or crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from DeepVsClassicRegLib.core.errors import Cancelled
from DeepVsClassicRegLib.core.experiments.tasks import Task, TaskLog, failures_of, rows_of, run_tasks
from DeepVsClassicRegLib.core.progress import Progress

WORK = "DeepVsClassicRegLib.core.experiments.dataset:drawn_pairs"


def task(name: str, count: int = 3, **changes) -> Task:
    return Task(name, changes.pop("work", WORK), {"count": count, "most": 0, "seed": 0, **changes}, "group")


def count_lines(folder) -> int:
    return len((folder / "units.jsonl").read_text(encoding="utf-8").splitlines())


def test_finished_units_are_not_done_again(tmp_path):
    first = run_tasks([task("a"), task("b")], tmp_path, workers=0)
    assert [entry.status for entry in first] == ["done", "done"] and count_lines(tmp_path) == 2
    again = run_tasks([task("a"), task("b"), task("c")], tmp_path, workers=0)
    assert count_lines(tmp_path) == 3 and [entry.task for entry in again] == ["a", "b", "c"]


def test_other_arguments_are_done_again(tmp_path):
    run_tasks([task("a")], tmp_path, workers=0)
    run_tasks([task("a", count=2)], tmp_path, workers=0)
    assert len(TaskLog(tmp_path).read()["a"].rows) == 2 and count_lines(tmp_path) == 2


def test_an_error_is_reported_and_tried_again(tmp_path):
    wanted = [task("good"), Task("bad", "mi_dice:measure_image", {"where": {"image": "/nowhere.nii", "labels": "x"}})]
    finished = run_tasks(wanted, tmp_path, workers=0)
    (failed,) = failures_of(finished)
    assert failed.task == "bad" and failed.status == "failed" and "nowhere" in failed.reason
    run_tasks(wanted, tmp_path, workers=0)
    assert count_lines(tmp_path) == 3


def test_a_line_cut_off_by_a_power_cut(tmp_path):
    run_tasks([task("a"), task("b")], tmp_path, workers=0)
    path = tmp_path / "units.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert set(TaskLog(tmp_path).read()) == {"a"}
    run_tasks([task("a"), task("b")], tmp_path, workers=0)
    assert set(TaskLog(tmp_path).read()) == {"a", "b"}


def test_cancel_keeps_what_is_finished(tmp_path):
    seen = []
    with pytest.raises(Cancelled):
        run_tasks(
            [task("a"), task("b")], tmp_path, workers=0, progress=Progress(seen.append, cancelled=lambda: bool(seen))
        )
    assert set(TaskLog(tmp_path).read()) == {"a"}


def test_a_crash_of_one_process_is_not_fatal(tmp_path, monkeypatch):
    package = tmp_path / "crashers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "work.py").write_text(
        "import os\ndef die():\n    os._exit(9)\ndef live():\n    return [{'pid': os.getpid()}]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    wanted = [Task(name, f"crashers.work:{what}") for name, what in (("a", "live"), ("b", "die"), ("c", "live"))]
    finished = run_tasks(wanted, tmp_path, workers=2)
    assert [entry.status for entry in finished] == ["done", "crashed", "done"]
    assert finished[0].rows[0]["pid"] != os.getpid()


def test_rows_by_group(tmp_path):
    finished = run_tasks([Task("a", "dataset:drawn_pairs", {"count": 2, "most": 0, "seed": 0})], tmp_path, workers=0)
    assert json.loads((tmp_path / "units.jsonl").read_text())["rows"] == [[0, 1], [1, 0]]
    assert rows_of(finished, "other") == []


REST = """
import pathlib, time
def rest():
    pathlib.Path(__file__).parents[1].joinpath("resting").touch()
    time.sleep(1200)
    return []
"""


@pytest.mark.slow
def test_no_process_outlives_its_parent(tmp_path):
    psutil = pytest.importorskip("psutil")
    (tmp_path / "crashers").mkdir()
    (tmp_path / "crashers" / "__init__.py").write_text("")
    (tmp_path / "crashers" / "work.py").write_text(REST)
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from DeepVsClassicRegLib.core.experiments.tasks import Task, run_tasks\n"
        "if __name__ == '__main__':\n"
        "    run_tasks([Task('a', 'crashers.work:rest')], Path(sys.argv[1]), workers=1)\n"
    )
    (tmp_path / "program.py").write_text(program)
    root = Path(__file__).parents[3] / "DeepVsClassicReg"
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    watched = psutil.Process(parent.pid)
    deadline = time.monotonic() + 300
    while not (tmp_path / "resting").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    children = watched.children(recursive=True)
    parent.kill()
    parent.wait()
    assert children and not psutil.wait_procs(children, timeout=300)[1]
