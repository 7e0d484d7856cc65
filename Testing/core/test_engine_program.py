"""Running back ends as programs: lines, exit status, cancel, and no orphan when the parent dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from DeepVsClassicRegLib.core.engines.external.program import PACKAGE_ROOT, run_program, scratch_folder
from DeepVsClassicRegLib.core.errors import Cancelled, EngineFailed
from DeepVsClassicRegLib.core.progress import Progress

SLEEPER = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(600)"


def run(code, folder, *, progress=None, on_line=lambda _line: None):
    return run_program(
        [sys.executable, "-c", code], folder=folder, progress=progress or Progress(), on_line=on_line, threads=1
    )


def test_lines_of_both_streams_and_status_come_back(tmp_path):
    lines = []
    code = "import sys; print('höher', flush=True); sys.stderr.write('oops\\n'); sys.exit(3)"
    output = run(code, tmp_path, on_line=lines.append)
    assert output.status == 3
    assert set(lines) == {"höher", "oops"}
    assert output.said("OOPS")


def test_threads_are_bounded_by_the_environment(tmp_path):
    lines = []
    run("import os; print(os.environ['OMP_NUM_THREADS'])", tmp_path, on_line=lines.append)
    assert lines == ["1"]


def test_cancel_kills_the_program(tmp_path):
    seen = []
    with pytest.raises(Cancelled):
        run(SLEEPER, tmp_path, progress=Progress(cancelled=lambda: bool(seen)), on_line=seen.append)
    assert not psutil.pid_exists(int(seen[0]))


def test_an_error_of_the_listener_ends_the_program(tmp_path):
    pids = []

    def listener(line):
        pids.append(int(line))
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        run(SLEEPER, tmp_path, on_line=listener)
    assert not psutil.pid_exists(pids[0])


def test_a_program_that_is_not_there_is_a_readable_error(tmp_path):
    with pytest.raises(EngineFailed, match="could not be started"):
        run_program([tmp_path / "nothing"], folder=tmp_path, progress=Progress(), on_line=lambda _line: None, threads=1)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is a POSIX matter")
def test_no_orphan_when_the_parent_is_killed(tmp_path):
    code = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from DeepVsClassicRegLib.core.engines.external.program import run_program
        from DeepVsClassicRegLib.core.progress import Progress
        run_program([sys.executable, "-c", {SLEEPER!r}], folder=Path({str(tmp_path)!r}), progress=Progress(),
                    on_line=lambda line: print(line, flush=True), threads=1)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 120
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid)


def test_scratch_folder_is_gone_after_the_block():
    with scratch_folder("test") as folder:
        (folder / "file").write_text("x")
    assert not folder.exists()
