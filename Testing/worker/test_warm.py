"""Warm workers: several jobs in one process, with the guarantees of a process per job."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time

import psutil
import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.worker import warm
from DeepVsClassicRegLib.worker.client import WorkerClient
from DeepVsClassicRegLib.worker.idle import WarmWorkers

LATEST_S = 300.0


@pytest.fixture
def workers(fakes):
    """Warm workers that know the kind of work 'fake'."""
    made = WarmWorkers(fakes)
    yield made
    made.end()


@pytest.fixture
def run(tmp_path, workers):
    """Return a function that starts a kind of fake work in a warm worker; no worker outlives the test."""
    clients = []

    def start(what: str, *, threads: int = 1, **changes) -> WorkerClient:
        folder = tmp_path / f"job {len(clients)}"
        folder.mkdir()
        Job(task="fake", inputs={}, options={"what": what}, compute=Compute(threads=threads), **changes).write(folder)
        clients.append(WorkerClient(folder, workers=workers))
        return clients[-1].start()

    yield start
    for client in clients:
        client.kill()


def ended(client):
    for _ in client.events():
        pass
    return client.wait(LATEST_S)


def until_stage(client):
    return next(event for event in client.events() if event.kind == "progress")


def computing(client) -> int:
    """Return the id of the computing process."""
    return client.session.groups[1]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + LATEST_S
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_jobs_share_the_processes(run):
    first = run("good")
    assert ended(first).ok
    second = run("good")
    outcome = ended(second)
    assert outcome.ok and second.session.groups == first.session.groups
    assert outcome.result["cwd"] == str(second.session.folder / "tmp")
    assert sorted(path.name for path in second.session.folder.iterdir()) == ["job.json", "result.json"]


def test_the_log_belongs_to_its_job(run):
    first = run("chatty")
    assert len(ended(first).log) == 5000
    second = run("good")
    assert ended(second).log == () and computing(second) == computing(first)


def test_a_user_error_ends_the_worker(run):
    first = run("user_error")
    outcome = ended(first)
    assert (outcome.state, outcome.code, outcome.message) == ("rejected", 2, "The fixed volume is upside down.")
    assert gone(first.pid) and gone(computing(first))


@pytest.mark.parametrize("what", ["bug", "crash", "leaving"])
def test_a_failure_ends_the_worker(run, what):
    first = run(what)
    outcome = ended(first)
    assert outcome.state == "failed" and outcome.code == 1 and outcome.message
    assert what != "bug" or any("ZeroDivisionError" in line for line in outcome.log)
    second = run("good")
    assert ended(second).ok and second.pid != first.pid and gone(computing(first)) and gone(first.pid)


def test_a_job_that_started_a_program_ends_its_worker(run):
    first = run("noisy")
    assert ended(first).ok
    second = run("good")
    assert ended(second).ok and computing(second) != computing(first) and gone(computing(first))


def test_other_threads_need_another_process(run):
    first = run("good", threads=1)
    assert ended(first).result["threads"] == "1"
    second = run("good", threads=2)
    assert ended(second).result["threads"] == "2"
    assert second.pid == first.pid and gone(computing(first))


@pytest.mark.parametrize("what", ["polite", "stuck", "children", "ignoring_children"])
def test_a_cancel_ends_the_worker(run, what):
    assert ended(run("good")).ok
    client = run(what)
    until_stage(client)
    family = psutil.Process(computing(client)).children(recursive=True)
    client.cancel(kill_after_s=LATEST_S)
    outcome = client.wait(LATEST_S)
    assert (outcome.state, outcome.code) == ("cancelled", 3)
    assert gone(computing(client)) and all(gone(child.pid) for child in family)
    assert [path.name for path in client.session.folder.iterdir()] == ["job.json"]
    after = run("good")
    assert ended(after).ok and gone(client.pid)


@pytest.mark.parametrize("what", ["polite", "stuck"])
@pytest.mark.parametrize("victim", [0, 1])
def test_kill_9(run, what, victim):
    client = run(what)
    until_stage(client)
    os.kill(client.session.groups[victim], signal.SIGKILL)
    outcome = client.wait(LATEST_S)
    assert outcome.state == "failed" and outcome.message and outcome.hint
    assert gone(computing(client))
    assert ended(run("good")).ok


@pytest.mark.parametrize("what", ["good", "polite", "stuck", "children"])
def test_no_orphan_when_the_parent_is_killed(tmp_path, fakes, what):
    """The parent is killed while its warm worker is idle or running a job."""
    folder = tmp_path / "job"
    folder.mkdir()
    Job(task="fake", inputs={}, options={"what": what}, compute=Compute(threads=1), ephemeral=True).write(folder)
    code = """
import sys, time
from pathlib import Path
from DeepVsClassicRegLib.worker.client import WorkerClient
from DeepVsClassicRegLib.worker.idle import WarmWorkers
client = WorkerClient(Path(sys.argv[1]), workers=WarmWorkers()).start()
for event in client.events():
    if event.kind == "progress":
        break
if sys.argv[2] == "good":
    client.wait(300)
print(*client.session.groups, flush=True)
time.sleep(1200)
"""
    environment = {**fakes, "PYTHONPATH": os.pathsep.join([fakes["PYTHONPATH"], *sys.path])}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), what], stdout=subprocess.PIPE, env=environment, text=True
    )
    groups = [int(word) for word in parent.stdout.readline().split()]
    assert len(groups) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert all(gone(pid) for pid in groups)
    if what != "good":
        assert not folder.exists()


def test_an_idle_worker_ends_with_its_input(run, workers):
    client = run("good")
    ended(client)
    process = workers.take()
    assert process.pid == client.pid and process.poll() is None
    process.stdin.close()
    assert process.wait(LATEST_S) == 0 and gone(computing(client))
    process.stdout.close()
    process.stderr.close()


def test_an_idle_worker_ends_after_some_time(monkeypatch, tmp_path):
    monkeypatch.setattr(warm, "IDLE_S", 0.01)
    with (tmp_path / "events").open("wb") as events:
        warm.Keeper(events, queue.SimpleQueue()).serve()
