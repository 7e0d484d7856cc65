"""Tools for tests that drive the event loop: waiting for a condition, measuring how long the GUI was blocked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer_standin import ownership
from slicer_standin.pythonqt import QtCore


def wait_until(condition: Callable[[], Any], timeout_s: float = 180.0) -> Any:
    """Run the event loop until `condition()` is true and return its value.

    Raises
    ------
    TimeoutError
        The condition was still false after `timeout_s` seconds.
    """
    loop = QtCore.QEventLoop()
    tick = QtCore.QTimer()
    tick.timeout.connect(loop.quit)
    tick.start(5)
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"condition still false after {timeout_s} s")
        loop.exec()
        ownership.run_deferred_deletes()


class LoopWatch:
    """Measures the longest time during which the event loop did not turn, in CPU seconds of this thread.

    CPU time, not wall time: on a busy machine the process may simply not be scheduled. Blocking calls that
    sleep are caught by `longest_wall_s`.

    >>> with LoopWatch() as watch:  # doctest: +SKIP
    ...     wait_until(lambda: logic.finished)
    >>> assert watch.longest_s < 0.05
    """

    def __init__(self, interval_ms: int = 5) -> None:
        self.longest_s = 0.0
        self.longest_wall_s = 0.0
        self.ticks = 0
        self._timer = QtCore.QTimer()
        self._timer.setInterval(interval_ms)
        self._timer.timeout.connect(self._tick)

    def __enter__(self) -> LoopWatch:
        self._cpu, self._wall = time.thread_time(), time.monotonic()
        self._timer.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._timer.stop()
        self._tick()

    def _tick(self) -> None:
        cpu, wall = time.thread_time(), time.monotonic()
        self.longest_s = max(self.longest_s, cpu - self._cpu)
        self.longest_wall_s = max(self.longest_wall_s, wall - self._wall)
        self._cpu, self._wall = cpu, wall
        self.ticks += 1


def leftovers() -> tuple[list[str], list[str]]:
    """Return the command lines of living child processes and the entries of Slicer's temporary folder.

    A test calls it before and after; the two results must be equal.
    """
    import psutil
    import slicer

    commands = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                commands.append(" ".join(child.cmdline()))
        except psutil.NoSuchProcess:
            continue
    return sorted(commands), sorted(path.name for path in Path(slicer.app.temporaryPath).iterdir())
