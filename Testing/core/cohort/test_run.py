"""Runs of a cohort: nothing is done twice, a failure stops nothing, lost workers and schedulers are survived."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import cohort_fakes as fakes
import DeepVsClassicRegLib as dvc
import pytest
from DeepVsClassicRegLib.core.cohort.cluster import ClusterOptions, connected, dashboard_link, reconnect
from DeepVsClassicRegLib.core.cohort.records import PairRecord, read_run
from DeepVsClassicRegLib.core.cohort.run import Counts, duration
from DeepVsClassicRegLib.core.errors import Cancelled, FileError, RegistrationError, SettingsError
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.worker.cohort import RunOptions, memory_mb
from distributed import Future
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

PAIRS = ["p0", "p1", "p2", "p3"]


def test_resume_computes_only_what_is_missing_or_changed(make_list, cluster, calls, tmp_path):
    manifest, out = make_list(4), tmp_path / "out"
    first = dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.nothing)
    assert (first.total, first.done, first.reused, first.failed) == (4, 4, 0, 0)
    assert calls() == PAIRS

    again = dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.nothing)
    assert (again.done, again.reused) == (0, 4) and calls() == []

    (tmp_path / "moving1.nii.gz").write_bytes((tmp_path / "moving1.nii.gz").read_bytes() + b"\0")
    (out / "pairs" / "p2" / "linear" / "report.json").unlink()
    dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.nothing)
    assert calls() == ["p1", "p2"]

    changed = RunOptions(seed=1)
    dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.nothing, options=changed)
    assert calls() == PAIRS


def test_inputs_recognized_by_content_may_be_touched(make_list, cluster, calls, tmp_path):
    manifest, options = make_list(2), RunOptions(content=True)
    for _ in range(2):
        dvc.cohort.run(manifest, "linear", tmp_path / "out", cluster=cluster, execute=fakes.nothing, options=options)
        os.utime(tmp_path / "moving1.nii.gz", (1, 1))
    assert calls() == ["p0", "p1"]


def test_failures_stop_nothing_and_are_repeated(make_list, cluster, calls, tmp_path):
    manifest, out = make_list(4), tmp_path / "out"
    done = dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.failing)
    assert (done.done, done.failed) == (2, 2) and calls() == ["p0", "p3"]
    found = {failure.pair: (failure.message, failure.hint) for failure in done.failures}
    assert found["p1"] == ("The engine gave up.", "Try another one.")
    assert found["p2"][0] == "ZeroDivisionError: a bug"
    # A bug that never reached the worker's record is written by the client.
    assert PairRecord.read(out / "pairs" / "p2" / "linear").message == "ZeroDivisionError: a bug"

    again = dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.nothing)
    assert (again.done, again.reused, again.failed) == (2, 2, 0) and calls() == ["p1", "p2"]


def test_only_some_pairs_and_two_engines(make_list, cluster, calls, tmp_path):
    out = tmp_path / "out"
    done = dvc.cohort.run(
        make_list(3), ["linear", "sitk-demons"], out, cluster=cluster, execute=fakes.nothing, pairs=["p2"]
    )
    assert done.total == 2 and calls() == ["p2", "p2"]
    assert sorted(path.name for path in (out / "pairs" / "p2").iterdir()) == ["linear", "sitk-demons"]
    assert len(read_run(out)[1]) == 6


def test_problems_are_reported_before_anything_runs(make_list, cluster, calls, tmp_path):
    manifest = make_list(2)
    (tmp_path / "moving0.nii.gz").unlink()
    with pytest.raises(FileError, match=r"1 problem; nothing was computed.\n  line 2: moving: There is no file"):
        dvc.cohort.run(manifest, "linear", tmp_path / "out", cluster=cluster, execute=fakes.nothing)
    with pytest.raises(SettingsError, match="linaer"):
        dvc.cohort.run(make_list(2), "linaer", tmp_path / "out", cluster=cluster, execute=fakes.nothing)
    assert calls() == [] and not (tmp_path / "out").exists()


def test_cancel_keeps_what_is_done(make_list, cluster, calls, tmp_path):
    out, manifest = tmp_path / "out", make_list(12)
    progress = Progress(cancelled=lambda: len(list(out.glob("pairs/*/*/report.json"))) >= 3)
    with pytest.raises(Cancelled):
        dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.nothing, progress=progress, window=2)
    first = calls()
    assert len(first) >= 3 and (out / "cohort.csv").is_file()
    assert len(list(out.glob(".stop-*"))) == 1
    dvc.cohort.run(manifest, "linear", out, cluster=cluster, execute=fakes.nothing)
    assert sorted([*first, *calls()]) == sorted(f"p{n}" for n in range(12))
    assert not list(out.glob(".stop-*"))


def test_a_full_disk_ends_the_run_with_one_message(make_list, cluster, calls, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(100, 100, 1000))
    with pytest.raises(FileError, match=r"is full \(0.0 MB free\).*continues"):
        dvc.cohort.run(make_list(4), "linear", tmp_path / "out", cluster=cluster, execute=fakes.failing, window=1)
    monkeypatch.undo()
    done = dvc.cohort.run(tmp_path / "pairs.csv", "linear", tmp_path / "out", cluster=cluster, execute=fakes.nothing)
    assert done.failed == 0 and sorted(calls()) == PAIRS


def test_results_are_no_inputs(cluster, tmp_path):
    with pytest.raises(FileError, match="There is no manifest"):
        dvc.cohort.run(tmp_path / "none.csv", "linear", tmp_path / "out", cluster=cluster)
    with pytest.raises(FileError, match="cohort"):
        dvc.cohort.page(tmp_path)


def test_options_are_checked():
    assert memory_mb("4GB") == 4000 and memory_mb("512 MB") == 512 and memory_mb("") == 0
    for make in (
        lambda: memory_mb("much"),
        lambda: RunOptions(outputs="some"),
        lambda: RunOptions(timeout_s=-1),
        lambda: ClusterOptions(workers=0),
        lambda: ClusterOptions(threads=-1),
        lambda: ClusterOptions(scheduler="slrum"),
    ):
        with pytest.raises(SettingsError):
            make()
    assert "html" not in RunOptions(pages=False).files() and RunOptions().files()["thumbnail"] == "thumbnail.jpg"
    assert set(RunOptions(outputs="report").files()) == {"report", "thumbnail"}


def test_progress_in_words():
    counts = Counts(10, reused=2, done=3, failed=1, started=time.monotonic() - 60)
    assert counts.text() == "6 of 10 registrations, 1 failed, 4 a minute, 60 s left"
    assert duration(100_000) == "27 h 47 min"


def test_the_dashboard_is_where_its_link_points():
    import urllib.request

    with connected(ClusterOptions()) as client:
        link = dashboard_link(client, ClusterOptions())
        assert link.startswith("http://127.0.0.1:")
        assert urllib.request.urlopen(link, timeout=60).status == 200


def test_without_an_answer():
    with pytest.raises(RegistrationError, match="No scheduler answers"):
        reconnect(ClusterOptions(scheduler="tcp://127.0.0.1:9"), timeout_s=0.2)


# Scheduler and workers in processes of their own, as on several computers: files are shared by the folder.


@contextlib.contextmanager
def dask(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *map(str, arguments[1:])],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def scheduler(port: int):
    return dask("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")


def worker(port: int, folder: Path):
    return dask(
        "dask_worker",
        f"tcp://127.0.0.1:{port}",
        *("--nthreads", 1, "--memory-limit", 0, "--no-dashboard", "--local-directory", folder),
    )


def free_port() -> int:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.slow
def test_a_worker_killed_is_survived(make_list, calls, tmp_path):
    port = free_port()
    options = ClusterOptions(scheduler=f"tcp://127.0.0.1:{port}")
    with scheduler(port), worker(port, tmp_path / "w1"), worker(port, tmp_path / "w2"):
        done = dvc.cohort.run(make_list(6), "linear", tmp_path / "out", cluster=options, execute=fakes.dying_once)
    assert (tmp_path / "died").exists()
    assert (done.done, done.failed) == (6, 0) and calls() == [f"p{n}" for n in range(6)]


@pytest.mark.slow
def test_a_pair_that_kills_every_worker_fails_alone(make_list, calls, tmp_path):
    port = free_port()
    options = ClusterOptions(scheduler=f"tcp://127.0.0.1:{port}")
    with scheduler(port), worker(port, tmp_path / "w1"), worker(port, tmp_path / "w2"):
        done = dvc.cohort.run(make_list(4), "linear", tmp_path / "out", cluster=options, execute=fakes.always_dying)
    assert [failure.pair for failure in done.failures] == ["p1"]
    assert "workers ended while they computed this pair" in done.failures[0].message
    assert calls() == ["p0", "p2", "p3"]


def test_a_scheduler_lost_while_it_sends_a_record_is_survived(make_list, cluster, calls, tmp_path, monkeypatch):
    whole, lost = Future.result, []

    def result(future, timeout=None):
        if len(lost) < 2:
            lost.append(future.key)
            raise CommClosedError("Connection reset by peer") if len(lost) == 1 else FutureCancelledError("p", "gone")
        return whole(future, timeout)

    monkeypatch.setattr(Future, "result", result)
    done = dvc.cohort.run(make_list(4), "linear", tmp_path / "out", cluster=cluster, execute=fakes.slow)
    assert (done.done, done.failed) == (4, 0) and len(lost) == 2
    assert sorted(calls()) == PAIRS, "a pair was lost or computed twice"


@pytest.mark.slow
def test_a_restarted_scheduler_is_survived(make_list, calls, tmp_path):
    port = free_port()
    options = ClusterOptions(scheduler=f"tcp://127.0.0.1:{port}")
    out, manifest, ended = tmp_path / "out", make_list(30), []

    def call() -> None:
        ended.append(dvc.cohort.run(manifest, "linear", out, cluster=options, execute=fakes.slow, window=8))

    thread = threading.Thread(target=call)
    with scheduler(port) as first, worker(port, tmp_path / "w1"):
        thread.start()
        while len(list(out.glob("pairs/*/*/report.json"))) < 5:
            assert thread.is_alive()
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
    with scheduler(port), worker(port, tmp_path / "w2"):
        thread.join(timeout=300)
    assert not thread.is_alive()
    assert ended[0].done == 30 and ended[0].failed == 0
    computed = calls()
    assert computed == sorted(f"p{n}" for n in range(30)), "a pair was lost or computed twice"
