"""Real worker processes that succeed, fail and print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from DeepVsClassicRegLib.worker.client import WorkerClient
from DeepVsClassicRegLib.worker.processes import worker_command, worker_environment


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_result_and_progress(make_client):
    client = make_client("good")
    events = []
    outcome = client.run(events.append)
    assert outcome.ok and outcome.code == 0
    fractions = [event.data["fraction"] for event in events if event.kind == "progress"]
    assert fractions and fractions == sorted(fractions)
    assert events[0].kind == "started" and events[-1].kind == "result"
    assert outcome.result["threads"] == "1"
    assert leftovers(client.session.folder) == {"job.json", "result.json"}


@pytest.mark.parametrize(
    ("what", "state", "code", "message"),
    [
        ("bug", "failed", 1, "ZeroDivisionError"),
        ("system_exit", "failed", 1, "SystemExit"),
        ("crash", "failed", 1, "SIGSEGV"),
        ("leaving", "failed", 1, "without a result"),
        ("user_error", "rejected", 2, "upside down"),
        ("memory", "rejected", 2, "Out of memory"),
        ("fills_disk", "rejected", 2, "File too large"),
    ],
)
def test_failures(make_client, what, state, code, message):
    client = make_client(what)
    outcome = client.run()
    assert (outcome.state, outcome.code) == (state, code)
    assert message in outcome.message and (outcome.hint or what == "leaving")
    assert leftovers(client.session.folder) == {"job.json"}
    assert what != "bug" or any("ZeroDivisionError" in line for line in outcome.log)


def test_other_output_goes_to_the_log_and_hides_no_event(make_client):
    outcome = (client := make_client("noisy")).run()
    assert outcome.ok and client.session.stage == "Stage 49"
    log = "\n".join(outcome.log)
    assert "python noise 49" in log and "c noise" in log and "child noise" in log


def test_a_crash_while_leaving_costs_no_result(make_client):
    assert make_client("bad_teardown").run().ok


def test_long_log_does_not_block(make_client):
    outcome = make_client("chatty").run()
    assert outcome.ok and outcome.log[-1] == "é"


def test_result_is_plain_unicode(make_client):
    assert make_client("strange_result").run().result["text"] == "ünï — 日本"


def test_spaces_and_unicode_in_paths(make_client, tmp_path):
    folder = tmp_path / "ein Ordner mit Ümlaut 日本 'quote' $HOME"
    outcome = make_client("good", folder).run()
    assert outcome.ok and outcome.result["cwd"].startswith(str(folder))


def test_environment(make_client):
    outcome = make_client("environment").run()
    environment = outcome.result["environment"]
    assert outcome.result["flags"] == [1, True]
    assert environment["TMPDIR"] == str(make_client("good").session.folder / "tmp")
    assert {"OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"} <= set(environment)
    assert (environment["OMP_WAIT_POLICY"], environment["KMP_BLOCKTIME"]) == ("passive", "0")
    assert "" not in outcome.result["path"] and str(Path.cwd()) not in outcome.result["path"]


def test_stray_modules_beside_the_user_do_no_harm(tmp_path, make_client, monkeypatch):
    for name in ("json", "numpy", "threading"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert make_client("good").run().ok


def test_environment_is_complete_without_pythonpath():
    environment = worker_environment(base={"PATH": os.environ["PATH"], "PYTHONINSPECT": "1"})
    assert "PYTHONINSPECT" not in environment
    code = "import DeepVsClassicRegLib.worker.session"
    subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=True, cwd="/")


def test_parent_side_loads_no_heavy_package():
    code = (
        "import sys, DeepVsClassicRegLib.worker.client as c, DeepVsClassicRegLib.worker.run\n"
        "heavy = {'numpy', 'SimpleITK', 'torch', 'itk', 'click', 'rich'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], env=worker_environment(), check=True)


def test_a_registration_loads_only_what_it_needs():
    code = (
        "import sys, DeepVsClassicRegLib.worker.registering\n"
        "unused = {'matplotlib', 'torch', 'numba', 'jinja2', 'dask', 'h5py'} & set(sys.modules)\n"
        "rooms = ('cohort', 'recommend', 'recommendation', 'train', 'training', 'stacks', 'motion')\n"
        "unused |= {f'DeepVsClassicRegLib.core.{room}' for room in rooms} & set(sys.modules)\n"
        "sys.exit(str(unused) if unused else 0)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], env=worker_environment(), check=True)


def test_missing_and_broken_job_folders(tmp_path):
    outcome = WorkerClient(tmp_path / "nowhere").run()
    assert outcome.state == "rejected" and "No such job folder" in outcome.message
    outcome = WorkerClient(tmp_path).run()
    assert outcome.state == "rejected" and "Could not read the job" in outcome.message
    (tmp_path / "job.json").write_text('{"format": 1, "inputs": {}, "task": "dance"}', encoding="utf-8")
    outcome = WorkerClient(tmp_path).run()
    assert outcome.state == "rejected" and "no task 'dance'" in outcome.message


def test_no_python_program(tmp_path):
    outcome = WorkerClient(tmp_path, python=str(tmp_path / "no-python")).run()
    assert outcome.state == "failed" and "could not be started" in outcome.message


def test_old_result_is_not_taken_for_the_new_one(make_client):
    client = make_client("user_error")
    (client.session.folder / "result.json").write_text('{"files": {}}', encoding="utf-8")
    assert client.run().state == "rejected"
    assert not (client.session.folder / "result.json").exists()


def test_without_client(make_client, fakes):
    """The bare command, its input left open, keeps the exit codes and writes only events on standard output."""
    folder = make_client("noisy").session.folder
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            worker_command(folder),
            stdin=reading,
            capture_output=True,
            env=worker_environment(base=fakes),
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert done.returncode == 0
    kinds = {json.loads(line)["event"] for line in done.stdout.decode("ascii").splitlines()}
    assert kinds == {"started", "progress", "result"}


def test_client_threads_end(make_client):
    before = threading.active_count()
    make_client("good").run()
    assert threading.active_count() <= before
