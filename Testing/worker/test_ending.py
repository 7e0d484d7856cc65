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
from DeepVsClassicRegLib.worker.environment import worker_environment

LATEST_S = 3.5  # 2 s by contract, and some for a busy machine


def until_stage(client):
    for event in client.events():
        if event.kind == "progress":
            return event
    raise AssertionError(f"ended early: {client.outcome}")


def family(client) -> list[psutil.Process]:
    process = psutil.Process(client.pid)
    return [process, *process.children(recursive=True)]


def gone(processes: list[psutil.Process], timeout_s: float = LATEST_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes if _there(p)):
            return True
        time.sleep(0.05)
    return False


def _there(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status())
    return False


@pytest.mark.parametrize("what", ["polite", "stuck", "children", "ignoring_children", "leaves_scratch"])
def test_cancel_within_two_seconds(make_client, what):
    with make_client(what) as client:
        until_stage(client)
        everybody = family(client)
        assert len(everybody) >= 2
        began = time.monotonic()
        client.cancel(kill_after_s=60)
        outcome = client.wait(30)
        took = time.monotonic() - began
    assert (outcome.state, outcome.code, outcome.exit_code) == ("cancelled", 3, 3)
    assert took < LATEST_S
    assert gone(everybody)
    assert {path.name for path in client.session.folder.iterdir()} == {"job.json"}


def test_cancel_before_the_work_began(make_client):
    with make_client("polite") as client:
        client.cancel()
        assert client.wait(10).state == "cancelled"


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


def test_a_worker_that_hears_nothing_is_killed(make_client):
    """A stopped (SIGSTOP) worker cannot obey; its parent ends the tree by force."""
    with make_client("children") as client:
        until_stage(client)
        everybody = family(client)
        os.kill(client.pid, signal.SIGSTOP)
        client.cancel(kill_after_s=0.3)
        outcome = client.wait(10)
    assert outcome.state == "cancelled" and gone(everybody)
    assert {path.name for path in client.session.folder.iterdir()} == {"job.json"}


@pytest.mark.parametrize("what", ["polite", "stuck", "children"])
@pytest.mark.parametrize("victim", ["outer", "inner"])
def test_kill_9_of_the_worker(make_client, what, victim):
    with make_client(what) as client:
        until_stage(client)
        everybody = family(client)
        os.kill(everybody[0].pid if victim == "outer" else everybody[1].pid, signal.SIGKILL)
        outcome = client.wait(10)
    assert outcome.state == "failed" and outcome.code == 1 and outcome.message and outcome.hint
    assert gone(everybody)
    assert {path.name for path in client.session.folder.iterdir()} == {"job.json"}


def test_terminate_is_a_cancel(make_client):
    with make_client("polite") as client:
        until_stage(client)
        os.kill(client.pid, signal.SIGTERM)
        assert client.wait(10).exit_code == 3


PARENT = """
import sys
from pathlib import Path
from DeepVsClassicRegLib.worker.client import WorkerClient
with WorkerClient(Path(sys.argv[1])) as client:
    for event in client.events():
        if event.kind == "progress":
            print("ready", client.pid, flush=True)
"""


@pytest.mark.parametrize("what", ["polite", "stuck", "ignoring_children"])
@pytest.mark.parametrize("ephemeral", [True, False])
def test_kill_9_of_the_parent(make_client, fakes, what, ephemeral):
    folder: Path = make_client(what, ephemeral=ephemeral).session.folder
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)],
        env=worker_environment(base=fakes),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    ) as parent:
        assert parent.stdout.readline().startswith("ready")
        everybody = psutil.Process(parent.pid).children(recursive=True)
        assert len(everybody) >= 2
        parent.kill()
    assert gone(everybody)
    assert not folder.exists() if ephemeral else {path.name for path in folder.iterdir()} == {"job.json"}


def test_kill_9_of_parent_and_worker(make_client, fakes):
    """The inner process is alone then; the end of its input tells it."""
    folder: Path = make_client("children", ephemeral=True).session.folder
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)],
        env=worker_environment(base=fakes),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    ) as parent:
        worker = int(parent.stdout.readline().split()[1])
        everybody = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        os.kill(worker, signal.SIGKILL)
    assert gone(everybody)
    assert not folder.exists()
