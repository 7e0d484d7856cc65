"""The computing process of the worker: runs a job, reports progress, and writes result.json or an error.

With a job folder as argument it runs that job and ends. Without one it is the computing process of a warm worker: it
runs the requested jobs one after another, until one has no result or leaves something behind.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ..core.device import kept_memory, machine, reset_peak_memory, resident_memory_mb
from ..core.errors import Cancelled, RegistrationError
from ..core.files import write_json
from ..core.job import RESULT_FILE, SCRATCH_FOLDER, TRAIN, Job
from ..core.progress import Progress, Update, json_update
from .job_folder import clean_up, is_ephemeral, task_of
from .processes import kill_own_group
from .protocol import (
    ENDED,
    EXIT_BUG,
    EXIT_CANCELLED,
    EXIT_RESULT,
    EXIT_USER,
    Channel,
    grace_s,
    listen,
    listen_for_jobs,
    take_over,
)
from .tasks import get_task

SHORTEST_INTERVAL_S = 0.05
# Resident memory up to which an idle process is kept; libraries and compiled kernels alone take 150 to 400 MB.
MOST_KEPT_MB = 800.0
STARTING = frozenset({"subprocess.Popen", "os.system", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile"})


class Reporter:
    """Sends progress as events, at most one every 50 ms unless the stage changes or there is a first result."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stage = ""
        self._time = 0.0

    def __call__(self, update: Update) -> None:
        """Send an update, unless one was sent less than 50 ms ago."""
        now = time.monotonic()
        soon = update.stage == self._stage and now - self._time < SHORTEST_INTERVAL_S
        if soon and update.fraction < 1 and update.result is None:
            return
        self._stage, self._time = update.stage, now
        self._channel.send("progress", **json_update(update))


class NoteHandler(logging.Handler):
    """Sends the library's warnings to the user as notes."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(level=logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one warning."""
        self._channel.send("note", text=record.getMessage())


class Computation:
    """One job in this process.

    Parameters
    ----------
    folder : Path
        The job folder.
    channel : Channel
        Receives the events.
    """

    def __init__(self, folder: Path, channel: Channel) -> None:
        self.folder = folder
        self.task = task_of(folder)
        self._channel = channel
        self._ephemeral = is_ephemeral(folder)
        self._stop, self._alone = threading.Event(), threading.Event()
        self._lock, self._done = threading.Lock(), False

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop."""
        return self._stop.is_set()

    def cancel(self, orphaned: bool) -> None:
        """Ask the job to stop, and end this process when it does not within the grace of its task."""
        with self._lock:
            if self._done:
                return
            if orphaned:
                self._alone.set()
            self._stop.set()
            threading.Timer(grace_s(self.task), _die, (self.folder, orphaned, self._ephemeral)).start()

    def run(self) -> int:
        """Run the job, send its last event, and return the exit code."""
        try:
            return self._run()
        finally:
            with self._lock:
                self._done = True

    def _run(self) -> int:
        channel = self._channel
        try:
            result = _work(self.folder, Progress(listener=Reporter(channel), cancelled=self._stop.is_set))
            write_json(self.folder / RESULT_FILE, result)
        except Cancelled:
            channel.send("cancelled")
            if self._alone.is_set():  # the supervising process, which usually cleans up and kills children, may be gone
                _die(self.folder, True, self._ephemeral)
            return EXIT_CANCELLED
        except RegistrationError as error:
            channel.send_user_error(error)
            return EXIT_USER
        except MemoryError:
            traceback.print_exc()
            hint = "Close other programs, or choose a coarser preset."
            channel.send("error", cause="user", type="MemoryError", message="Out of memory.", hint=hint)
            return EXIT_USER
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            channel.send("error", cause="bug", type=type(error).__name__, message=message, hint="See the log.")
            return EXIT_BUG
        channel.send("result", files=result.get("files", {}))
        return EXIT_RESULT


def main(arguments: list[str]) -> int:
    """Run the job of a folder, or those requested on standard input, and return the exit code of the last one."""
    events, wishes = take_over()
    channel = Channel(events)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger((__package__ or "").partition(".")[0]).addHandler(NoteHandler(channel))
    if not arguments:
        return _serve(channel, wishes)
    computation = Computation(Path(arguments[0]), channel)
    listen(wishes, computation.cancel)
    return computation.run()


def _serve(channel: Channel, wishes: BinaryIO) -> int:
    """Run the requested jobs until the end of the requests or a job after which this process cannot be used again."""
    jobs: queue.SimpleQueue[Computation | None] = queue.SimpleQueue()
    latest: list[Computation] = []

    def on_run(folder: Path) -> None:
        latest[:] = [Computation(folder, channel)]
        jobs.put(latest[0])

    def on_cancel() -> None:
        for computation in latest:
            computation.cancel(False)

    def on_end() -> None:
        for computation in latest:
            computation.cancel(True)
        jobs.put(None)

    listen_for_jobs(wishes, on_run, on_cancel, on_end)
    programs = StartedPrograms()
    while (computation := jobs.get()) is not None:
        with _inside(computation.folder / SCRATCH_FOLDER):
            code = computation.run()
        if code != EXIT_RESULT or not _can_continue(computation, programs):
            return code
        channel.send(ENDED, code=code)
    return EXIT_RESULT


class StartedPrograms:
    """Counts the programs that this process starts from now on; only killing its group ends all of them for certain."""

    def __init__(self) -> None:
        machine()  # Python starts a program once for the name of the processor
        self.count = 0
        sys.addaudithook(self._receive)

    def _receive(self, event: str, _arguments: object) -> None:
        if event in STARTING:
            self.count += 1


def _can_continue(computation: Computation, programs: StartedPrograms) -> bool:
    """Return whether nothing of a job is left, so that this process can run another one."""
    if computation.cancelled or programs.count or computation.task == TRAIN:
        return False
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():  # its memory is released with the process only
        return False
    resident = resident_memory_mb()
    return resident is not None and resident < MOST_KEPT_MB and reset_peak_memory()


@contextmanager
def _inside(scratch: Path) -> Iterator[None]:
    """Make a folder the current one and that of temporary files inside the block."""
    before = Path.cwd()
    variables = {name: os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")}
    os.environ.update(dict.fromkeys(variables, str(scratch)))
    tempfile.tempdir = None  # found again from these variables
    os.chdir(scratch)
    try:
        yield
    finally:
        os.chdir(before)
        tempfile.tempdir = None
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work(folder: Path, progress: Progress) -> dict[str, Any]:
    job = Job.read(folder)
    with kept_memory():
        return {"task": job.task, **get_task(job.task)(job, folder, progress)}


def _die(folder: Path, orphaned: bool, ephemeral: bool) -> None:
    """End this process and its children; the supervising process does so as well, unless it has ended."""
    if orphaned:
        clean_up(folder, whole=ephemeral)
    kill_own_group()
    os._exit(EXIT_CANCELLED)


def leave(code: int) -> NoReturn:
    """Exit immediately, because the shutdown of native libraries must not turn a written result into a crash."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
