"""The supervising process of a warm worker: runs one job after another in a computing process that it keeps.

Each job has the guarantees of a worker of its own: it can be canceled and killed at any time, and nothing of it stays
behind. The worker ends, with the exit code of the job, when its computing process does: after a job without
result, and after one that leaves programs or much memory behind. A job with other threads or another device than the
one before gets a new computing process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import RegistrationError
from ..core.job import Job
from .job_folder import clean_up
from .processes import kill_groups, lead_own_group, worker_command, worker_environment
from .protocol import (
    CANCEL,
    END_OF_LOG,
    ENDED,
    EXIT_RESULT,
    EXIT_USER,
    Channel,
    Decoder,
    grace_s,
    listen_for_jobs,
    run_request,
    take_over,
)
from .run import COMPUTE_MODULE, own_group, prepare, report_end

IDLE_S = 600.0  # time after which an idle worker ends by itself
ENDED_LINE = b'{"event":"ended"'


@dataclass(frozen=True)
class JobRequest:
    """Request of a job."""

    folder: Path


@dataclass(frozen=True)
class Stop:
    """Request to cancel the running job; `gone` when the parent has ended."""

    gone: bool = False


@dataclass(frozen=True)
class Late:
    """The time for a job to stop by itself is over."""

    folder: Path


@dataclass(frozen=True)
class Over:
    """A job has ended; `process_too` when its computing process has ended with it."""

    computing: Computing
    code: int
    process_too: bool


class Computing:
    """The computing process; its events are passed on, and its end is put into the queue."""

    def __init__(
        self,
        environment: Mapping[str, str],
        channel: Channel,
        messages: queue.SimpleQueue[JobRequest | Stop | Late | Over],
    ) -> None:
        self.environment = environment
        self.process = subprocess.Popen(
            worker_command(python=sys.executable, module=COMPUTE_MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            cwd=tempfile.gettempdir(),
            **own_group(),
        )
        self._channel, self._messages = channel, messages
        threading.Thread(target=self._pass_on, name="events", daemon=True).start()

    def send(self, line: bytes) -> None:
        """Send a request; a process that has just ended is reported by the queue."""
        stdin = self.process.stdin
        try:
            if stdin is not None:
                stdin.write(line)
                stdin.flush()
        except OSError:
            return

    def close(self) -> None:
        """End the requests: a running job is canceled, an idle process ends."""
        try:
            if self.process.stdin is not None:
                self.process.stdin.close()
        except OSError:
            return

    def kill(self) -> None:
        """Kill the process and its children."""
        kill_groups([self.process.pid])

    def _pass_on(self) -> None:
        if self.process.stdout is not None:
            for line in self.process.stdout:
                if line.startswith(ENDED_LINE):
                    (event,) = Decoder().feed(line)
                    self._messages.put(Over(self, int(event.data["code"]), False))
                else:
                    self._channel.pass_on(line)
        code = self.process.wait()
        self.kill()  # what it may have left in its group
        self._messages.put(Over(self, code, True))


class Keeper:
    """Runs the requested jobs and keeps the computing process between them."""

    def __init__(self, channel: Channel, messages: queue.SimpleQueue[JobRequest | Stop | Late | Over]) -> None:
        self._channel, self._messages = channel, messages
        self._computing: Computing | None = None
        self._folder: Path | None = None
        self._job: Job | None = None
        self._cancelled = self._orphaned = False
        self._code: int | None = None

    def serve(self) -> int:
        """Handle messages until the computing process or the parent has ended, or no job came for some time.

        Returns
        -------
        int
            Exit code of the last job.
        """
        while self._code is None:
            try:
                message = self._messages.get(timeout=None if self._folder else IDLE_S)
            except queue.Empty:
                break
            if isinstance(message, JobRequest):
                self._start(message.folder)
            elif isinstance(message, Stop):
                self._stop(message.gone)
            elif isinstance(message, Over):
                self._end(message)
            elif message.folder == self._folder and self._computing is not None:
                self._computing.kill()
        if self._computing is not None:
            self._computing.kill()
        return EXIT_RESULT if self._code is None else self._code

    def _start(self, folder: Path) -> None:
        self._folder, self._cancelled, self._job = folder, False, None
        try:
            job = self._job = prepare(folder)
            computing = self._computing_for(job)
        except RegistrationError as error:
            self._channel.send_user_error(error)
            self._report(EXIT_USER)
            return
        self._channel.send("started", pid=os.getpid(), group=computing.process.pid)
        computing.send(run_request(folder))

    def _computing_for(self, job: Job) -> Computing:
        """Return the computing process for a job; another one when this has other threads or another device."""
        environment = worker_environment(job.compute)
        if self._computing is not None and self._computing.environment != environment:
            self._computing.kill()
            self._computing = None
        if self._computing is None:
            self._computing = Computing(environment, self._channel, self._messages)
        return self._computing

    def _stop(self, gone: bool) -> None:
        self._orphaned = self._orphaned or gone
        if self._folder is None or self._computing is None or self._job is None:
            self._code = EXIT_RESULT if gone else self._code
        elif not self._cancelled:
            self._cancelled = True
            if gone:
                self._computing.close()
            else:
                self._computing.send(CANCEL)
            timer = threading.Timer(grace_s(self._job.task), self._messages.put, (Late(self._folder),))
            timer.daemon = True
            timer.start()

    def _end(self, over: Over) -> None:
        if over.computing is not self._computing:  # one that was replaced
            return
        if self._folder is not None and self._job is not None:
            clean_up(self._folder, whole=self._orphaned and self._job.ephemeral)
            if over.process_too:
                self._code = report_end(over.code, self._cancelled, self._channel)
            else:
                self._report(over.code)
        elif over.process_too:
            self._code = EXIT_RESULT

    def _report(self, code: int) -> None:
        """Tell the parent that the job has ended and the worker is ready, at the end of its log and of its events."""
        self._folder = None
        with contextlib.suppress(OSError):  # the parent has ended
            os.write(2, f"\n{END_OF_LOG}\n".encode())
        self._channel.send(ENDED, code=code)
        if self._orphaned:
            self._code = code


def main() -> int:
    """Run the jobs requested on standard input, and return the exit code of the last one."""
    lead_own_group()
    events, wishes = take_over()
    messages: queue.SimpleQueue[JobRequest | Stop | Late | Over] = queue.SimpleQueue()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: messages.put(Stop(gone=True)))
    listen_for_jobs(
        wishes,
        lambda folder: messages.put(JobRequest(folder)),
        lambda: messages.put(Stop()),
        lambda: messages.put(Stop(gone=True)),
    )
    return Keeper(Channel(events), messages).serve()
