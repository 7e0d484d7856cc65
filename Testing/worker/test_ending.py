"""Cancelling and killing real worker processes: no orphan, no half result, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from DeepVsClassicRegLib.worker.processes import worker_environment
from DeepVsClassicRegLib.worker.protocol import GRACE_S

# The contract is 2 s. A busy machine may take longer to end processes, but nothing here ends by itself before 1200 s.
LATEST_S = 300.0


def until_stage(client):
    for event in client.events():
        if event.kind == "progress":
            return event
    raise AssertionError(f"ended early: {client.outcome}")


def family(client) -> list[psutil.Process]:
    process = psutil.Process(client.pid)
    return [process, *process.children(recursive=True)]


def becomes(condition) -> bool:
    """Wait for a state; False when it does not come."""
    deadline = time.monotonic() + LATEST_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def gone(processes: list[psutil.Process]) -> bool:
    return becomes(lambda: not any(_there(process) for process in processes))


def holds_only(folder: Path, *names: str) -> bool:
    return becomes(lambda: {path.name for path in folder.iterdir()} == set(names))


def _there(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("what", ["polite", "stuck", "children", "ignoring_children", "leaves_scratch"])
def test_a_cancel_does_not_wait_for_the_work(make_client, what):
    assert GRACE_S <= 2
    with make_client(what) as client:
        until_stage(client)
        everybody = family(client)
        assert len(everybody) >= 2
        client.cancel(kill_after_s=LATEST_S)
        outcome = client.wait(LATEST_S)
    assert (outcome.state, outcome.code, outcome.exit_code) == ("cancelled", 3, 3)
    assert gone(everybody)
    assert holds_only(client.session.folder, "job.json")


def test_cancel_before_the_work_began(make_client):
    with make_client("polite") as client:
        client.cancel()
        assert client.wait(LATEST_S).state == "cancelled"


def test_cancel_after_the_end_changes_nothing(make_client):
    client = make_client("good")
    assert client.run().ok
    client.cancel()
    client.kill()
    assert client.outcome.ok


def test_leaving_the_block_ends_the_worker(make_client):
    with contextlib.suppress(KeyboardInterrupt), make_client("polite") as client:
        until_stage(client)
        everybody = family(client)
        raise KeyboardInterrupt
    assert client.outcome.state == "cancelled" and gone(everybody)


def test_a_worker_that_does_not_react_is_killed(make_client):
    """A stopped (SIGSTOP) worker cannot obey; its parent ends the tree by force."""
    with make_client("children") as client:
        until_stage(client)
        everybody = family(client)
        os.kill(client.pid, signal.SIGSTOP)
        client.cancel(kill_after_s=0.3)
        outcome = client.wait(LATEST_S)
    assert outcome.state == "cancelled" and gone(everybody)
    assert holds_only(client.session.folder, "job.json")


@pytest.mark.parametrize("what", ["polite", "stuck", "children"])
@pytest.mark.parametrize("victim", ["outer", "inner"])
def test_kill_9_of_the_worker(make_client, what, victim):
    with make_client(what) as client:
        until_stage(client)
        everybody = family(client)
        os.kill(everybody[0].pid if victim == "outer" else everybody[1].pid, signal.SIGKILL)
        outcome = client.wait(LATEST_S)
    assert outcome.state == "failed" and outcome.code == 1 and outcome.message and outcome.hint
    assert gone(everybody)
    assert holds_only(client.session.folder, "job.json")


def test_terminate_is_a_cancel(make_client):
    with make_client("polite") as client:
        until_stage(client)
        os.kill(client.pid, signal.SIGTERM)
        assert client.wait(LATEST_S).exit_code == 3


PARENT = """
import sys
from pathlib import Path
from DeepVsClassicRegLib.worker.client import WorkerClient
with WorkerClient(Path(sys.argv[1])) as client:
    for event in client.events():
        if event.kind == "progress":
            print("ready", client.pid, flush=True)
"""


def started_parent(folder: Path, fakes: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process that lets a worker do the job of a folder and prints 'ready' and the worker's id."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)],
        env=worker_environment(base=fakes),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("what", ["polite", "stuck", "ignoring_children"])
@pytest.mark.parametrize("ephemeral", [True, False])
def test_kill_9_of_the_parent(make_client, fakes, what, ephemeral):
    folder: Path = make_client(what, ephemeral=ephemeral).session.folder
    with started_parent(folder, fakes) as parent:
        assert parent.stdout.readline().startswith("ready")
        everybody = psutil.Process(parent.pid).children(recursive=True)
        assert len(everybody) >= 2
        parent.kill()
    assert gone(everybody)
    assert becomes(lambda: not folder.exists()) if ephemeral else holds_only(folder, "job.json")


def test_an_orphan_whose_job_is_half_removed_still_clears_up(make_client, fakes):
    """The computing process may be ended while it removes the folder, after the job and before the rest."""
    folder: Path = make_client("stuck", ephemeral=True).session.folder
    with started_parent(folder, fakes) as parent:
        assert parent.stdout.readline().startswith("ready")
        everybody = psutil.Process(parent.pid).children(recursive=True)
        (folder / "job.json").unlink()
        parent.kill()
    assert gone(everybody)
    assert becomes(lambda: not folder.exists())


@pytest.mark.parametrize("what", ["children", "polite", "polite_with_children"])
def test_kill_9_of_parent_and_worker(make_client, fakes, what):
    """The inner process is alone then; the end of its input tells it."""
    folder: Path = make_client(what, ephemeral=True).session.folder
    with started_parent(folder, fakes) as parent:
        worker = int(parent.stdout.readline().split()[1])
        everybody = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        os.kill(worker, signal.SIGKILL)
    assert gone(everybody)
    assert becomes(lambda: not folder.exists())
