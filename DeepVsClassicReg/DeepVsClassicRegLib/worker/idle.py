"""The warm workers of this process that wait for their next job."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping

from ..core.device import Compute
from .processes import WINDOWS, worker_command, worker_environment
from .protocol import KILL_AFTER_S


def start_worker(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker with pipes in its own session, so that Ctrl-C in the terminal reaches this process only."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=dict(environment),
        start_new_session=not WINDOWS,
        creationflags=0x200 if WINDOWS else 0,
    )


class WarmWorkers:
    """Warm workers: a job takes an idle one or starts one, and gives it back at its end.

    They end with this process, because their standard input ends, and by themselves when they were idle for some time.

    Parameters
    ----------
    environment : mapping, optional
        Base of their environment; default: that of this process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def take(self) -> subprocess.Popen[bytes]:
        """Return an idle worker, or start one.

        Raises
        ------
        OSError
            When it cannot be started.
        """
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.poll() is None:
                    return process
                close(process)
        return start_worker(worker_command(), worker_environment(Compute(), base=self._environment))

    def give_back(self, process: subprocess.Popen[bytes]) -> None:
        """Keep a worker whose job has ended for the next one."""
        with self._lock:
            self._idle.append(process)

    def end(self) -> None:
        """End all idle workers."""
        with self._lock:
            ended, self._idle = self._idle, []
        for process in ended:
            close(process)
            try:
                process.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def close(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes of a worker, which ends it when it is idle."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
