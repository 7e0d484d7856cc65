"""The program interrupted, killed, and on a full disk."""

from __future__ import annotations

import signal
import time

import psutil
import pytest


def alive(processes) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def until_stuck(process) -> list[psutil.Process]:
    """Wait until the engine is stuck in native code and return the program's children."""
    for line in process.stderr:
        if "Stuck" in line:
            return psutil.Process(process.pid).children(recursive=True)
    raise AssertionError("ended early")


def becomes(condition):
    """Wait for a state; the engine 'stuck' would keep it away for 1200 s."""
    deadline = time.monotonic() + 300
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_ending_by_signal(program, pair, tmp_path, how):
    out = tmp_path / "out"
    process = program("register", *pair, "-e", "stuck", "--out", out)
    children = until_stuck(process)
    assert len(children) >= 2
    process.send_signal(how)
    _, err = process.communicate(timeout=300)
    if how is signal.SIGINT:
        assert process.returncode == 3 and "Canceled" in err and "Traceback" not in err
        assert not out.exists()
    assert becomes(lambda: not alive(children))
    assert becomes(lambda: not out.exists() or list(out.iterdir()) == [])


def test_ending_a_comparison(program, pair, tmp_path):
    process = program("compare", *pair, "--engines", "stuck,broken", "--out", tmp_path / "out")
    until_stuck(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 3
    assert not (tmp_path / "out" / "comparison.json").exists()


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_full_disk(program, pair, tmp_path, size):
    """No file may grow beyond so many bytes; ITK's NIfTI writer would not even notice."""
    out = tmp_path / "out"
    arguments = ["-e", "sitk-demons", "--set", "iterations=2,2,2", "--threads", "1", "--out", out]
    process = program("register", *pair, *arguments, FAKE_DISK_BYTES=str(size))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2 and "Could not" in err and "free space" in err
    assert not out.exists()
