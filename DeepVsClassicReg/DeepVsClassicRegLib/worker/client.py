"""Runs a worker from Python without Qt: starts it, receives its events, cancels it, returns the outcome."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from ..core.device import Compute
from .idle import WarmWorkers, close, start_worker
from .job_folder import clean_up, task_of
from .processes import worker_command, worker_environment
from .protocol import Event, patience_s, run_request
from .session import JobOutcome, Session

CHUNK = 1 << 16
DRAIN_S = 2.0
ALIVE_S = 0.5  # a worker that was killed is noticed after this time


class WorkerClient:
    """One run of a worker process on a job folder.

    Parameters
    ----------
    folder : path
        The job folder, with its job.json; see `job.Job.write`.
    python : str, optional
        The Python program to use.
    environment : mapping, optional
        Base of the worker's environment; default: the environment of this process.
    workers : WarmWorkers, optional
        Run the job in one of these instead of a process of its own, and keep it for the next job.

    Examples
    --------
    >>> def run(folder):
    ...     with WorkerClient(folder) as client:
    ...         for event in client.events():
    ...             if event.kind == "progress" and event.data["fraction"] > 0.5:
    ...                 client.cancel()
    ...         return client.outcome
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        workers: WarmWorkers | None = None,
    ) -> None:
        self.session = Session(folder)
        self._workers = workers
        self._python = python
        self._environment = worker_environment(Compute(), base=environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._killer: threading.Timer | None = None

    @property
    def outcome(self) -> JobOutcome | None:
        """How the run ended; None while it is running."""
        return self.session.outcome

    @property
    def pid(self) -> int | None:
        """Id of the process that was started."""
        return self._process.pid if self._process else None

    def start(self) -> WorkerClient:
        """Start the process; a failure is reported by the outcome."""
        try:
            self._process = self._started()
        except OSError as error:
            self.session.not_started(str(error))
            self._ended.set()
            self._queue.put(None)
            return self
        threading.Thread(target=self._follow, args=(self._process,), name="worker", daemon=True).start()
        return self

    def _started(self) -> subprocess.Popen[bytes]:
        if self._workers is None:
            return start_worker(worker_command(self.session.folder, python=self._python), self._environment)
        process = self._workers.take()
        if process.stdin is not None:
            process.stdin.write(run_request(self.session.folder.resolve()))
        return process

    def events(self) -> Iterator[Event]:
        """Yield the events as they arrive, until the worker has ended."""
        while True:
            try:
                # The timeout lets the main thread handle Ctrl-C on every system.
                event = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if event is None:
                self._queue.put(None)
                return
            yield event

    def run(self, listener: Callable[[Event], None] | None = None) -> JobOutcome:
        """Start the worker, pass its events to `listener`, and return the outcome."""
        with self:
            for event in self.events():
                if listener is not None:
                    listener(event)
            return self.wait()

    def wait(self, timeout_s: float | None = None) -> JobOutcome:
        """Wait for the end of the worker and return the outcome.

        Raises
        ------
        TimeoutError
            When it does not end within `timeout_s` seconds.
        """
        if not self._ended.wait(timeout_s) or self.outcome is None:
            raise TimeoutError(f"The worker is still running after {timeout_s} s.")
        return self.outcome

    def cancel(self, *, kill_after_s: float | None = None) -> None:
        """Ask the worker to stop, and kill it when it is still running after `kill_after_s` seconds (by its task)."""
        if self._process is None or self._ended.is_set():
            return
        wish = self.session.cancel()
        if self._killer is None:
            self._killer = threading.Timer(self._patience_s if kill_after_s is None else kill_after_s, self.kill)
            self._killer.daemon = True
            self._killer.start()
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            try:
                stdin.write(wish)
                if self._workers is None:
                    stdin.close()
            except (OSError, ValueError):
                return  # it has just ended

    @property
    def _patience_s(self) -> float:
        return patience_s(task_of(self.session.folder))

    def kill(self) -> None:
        """Kill the worker and its child processes."""
        if not self._ended.is_set():
            self.session.kill(self.pid)

    def __enter__(self) -> WorkerClient:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended.is_set():
            self.cancel()
            self._ended.wait(self._patience_s + DRAIN_S + 1)

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        session = self.session
        readers = [
            threading.Thread(target=self._read, args=arguments, daemon=True)
            for arguments in (
                (process.stdout, session.feed, lambda: session.ended_code is not None),
                (process.stderr, session.feed_log, lambda: session.log_ended),
            )
        ]
        for reader in readers:
            reader.start()
        code = self._code(process, readers)
        if self._killer is not None:
            self._killer.cancel()
        kept = self._workers is not None and self.session.is_over
        self.session.finish(code, killed=code < 0)
        clean_up(self.session.folder)
        if kept and self._workers is not None:
            self._workers.give_back(process)
        elif not any(reader.is_alive() for reader in readers):
            close(process)
        self._ended.set()
        self._queue.put(None)

    def _code(self, process: subprocess.Popen[bytes], readers: list[threading.Thread]) -> int:
        """Wait for the end of the job and return its exit code."""
        if self._workers is not None:
            # A killed worker may leave a stuck computing process that still holds the pipes.
            while any(reader.is_alive() for reader in readers) and process.poll() is None:
                for reader in readers:
                    reader.join(ALIVE_S)
            if self.session.is_over and self.session.ended_code is not None:
                return self.session.ended_code
        code = process.wait()
        if code < 0:
            self.session.kill()
        for reader in readers:
            # A child process that has left the group may keep the pipe open forever.
            reader.join(DRAIN_S)
        return code

    def _read(self, stream: IO[bytes], feed: Callable[[bytes], list[Event]], has_ended: Callable[[], bool]) -> None:
        while not has_ended():  # nothing follows until the next job is sent
            try:
                data = os.read(stream.fileno(), CHUNK)
            except (OSError, ValueError):
                return
            if not data:
                return
            for event in feed(data):
                self._queue.put(event)
