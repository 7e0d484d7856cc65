"""Runs an external program: passes on its output lines, and kills it on cancel."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...device import thread_variables
from ...errors import EngineFailed
from ...progress import Progress

POLL_SECONDS = 0.2
TAIL_LINES = 200
KILLED = 137  # 128 + SIGKILL: usually by the system, when memory runs out
PACKAGE_ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Output:
    """The exit status of a program and its last output lines."""

    status: int
    tail: tuple[str, ...]

    def said(self, text: str) -> bool:
        """Return whether one of the last lines contains this text (ignoring case)."""
        return any(text.lower() in line.lower() for line in self.tail)

    def last_words(self) -> str:
        """Return the last three non-empty lines as one string."""
        return " / ".join([line.strip() for line in self.tail if line.strip()][-3:])


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Create a private temporary folder (below TMPDIR) that is removed after the block."""
    with tempfile.TemporaryDirectory(prefix=f"dvcreg-{name}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def run_program(
    command: Sequence[str | os.PathLike[str]],
    *,
    folder: Path,
    progress: Progress,
    on_line: Callable[[str], None],
    threads: int,
    environment: dict[str, str] | None = None,
) -> Output:
    """Run a program in a folder and pass its lines (stdout and stderr) to a listener.

    Parameters
    ----------
    command : sequence of str or path
        Program and arguments; no shell is involved.
    folder : path
        Working directory.
    progress : Progress
        Checked for a cancel five times per second; on cancel the program is killed.
    on_line : callable
        Called in this thread with every line; an exception also kills the program.
    threads : int
        Thread limit, passed to the program in the usual environment variables.
    environment : dict, optional
        Further environment variables.

    Raises
    ------
    Cancelled
        When the user canceled.
    EngineFailed
        When the program cannot be started.
    """
    process = _start(command, folder, {**_bounded(threads), **(environment or {})})
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read_lines, args=(process, lines), daemon=True)
    reader.start()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        while (line := _next_line(lines, progress)) is not None:
            tail.append(line)
            on_line(line)
        status = process.wait()
    finally:
        _end(process)
        reader.join()
        _close(process)
    if status == 127:
        raise EngineFailed(f"{Path(command[0]).name} could not be started: {' '.join(tail)}", hint="Check the path.")
    return Output(status, tuple(tail))


def python_child(module: str, *arguments: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    """Return the command that runs a module, by its full name, in another Python process."""
    return [sys.executable, "-u", "-m", module, *arguments]


def _start(
    command: Sequence[str | os.PathLike[str]], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    supervised = [*python_child(f"{__package__}.supervisor"), *command]
    try:
        return subprocess.Popen(
            [os.fspath(part) for part in supervised],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise EngineFailed(f"No process could be started: {error}", hint="Close other programs, try again.") from error


def _bounded(threads: int) -> dict[str, str]:
    paths = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**thread_variables(threads), "PYTHONPATH": os.pathsep.join(paths)}


def _read_lines(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line.decode("utf-8", errors="replace").rstrip("\r\n"))
    lines.put(None)


def _next_line(lines: queue.SimpleQueue[str | None], progress: Progress) -> str | None:
    while True:
        progress.check()
        try:
            return lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the program's standard input and wait; its supervisor then kills what is still running."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the reading end of the program's output."""
    if process.stdout is not None:
        process.stdout.close()
