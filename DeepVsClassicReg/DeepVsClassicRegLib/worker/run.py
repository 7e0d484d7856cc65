"""The supervising process of the worker: starts the computing process, and can end it within 2 s at any time.

It imports neither numpy nor any back end, because native code may hold Python's global lock for minutes, crash, or be
killed for its memory use. This process still receives cancel requests, reports the crash and cleans up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from ..core.errors import FileError, RegistrationError
from ..core.files import NO_SPACE
from ..core.job import RESULT_FILE, SCRATCH_FOLDER, Job
from .job_folder import clean_up
from .processes import WINDOWS, kill_groups, lead_own_group, worker_command, worker_environment
from .protocol import CANCEL, EXIT_BUG, EXIT_CANCELLED, EXIT_RESULT, EXIT_USER, Channel, grace_s, listen, take_over

COMPUTE_MODULE = f"{__package__}.compute"


class Supervised:
    """The computing process of a job.

    Parameters
    ----------
    folder : path
        The job folder.
    job : Job
        Content of its job.json.
    events : file
        File to which the computing process writes its events.
    """

    def __init__(self, folder: Path, job: Job, events: IO[bytes]) -> None:
        self.cancelled = False
        self.orphaned = False
        self._ended = threading.Event()
        self._grace_s = grace_s(job.task)
        scratch = folder / SCRATCH_FOLDER
        self.process = subprocess.Popen(
            worker_command(folder, python=sys.executable, module=COMPUTE_MODULE),
            stdin=subprocess.PIPE,
            stdout=events,
            env=worker_environment(job.compute, scratch=scratch),
            cwd=scratch,
            **own_group(),
        )

    def cancel(self, orphaned: bool = False) -> None:
        """Ask the computing process to stop, and kill it after the grace of its task."""
        self.orphaned = self.orphaned or orphaned
        if self.cancelled:
            return
        self.cancelled = True
        threading.Thread(target=self._stop, name="stop", daemon=True).start()

    def wait(self) -> int:
        """Wait for the end of the computing process and its children, and return its exit code."""
        code = self.process.wait()
        self._ended.set()
        kill_groups([self.process.pid])
        return code

    def _stop(self) -> None:
        stdin = self.process.stdin
        try:
            if stdin is not None:
                if not self.orphaned:  # end of input without a line means that the parent has ended
                    stdin.write(CANCEL)
                stdin.close()
        except OSError:
            pass  # it has just ended
        if not self._ended.wait(self._grace_s):
            kill_groups([self.process.pid])


def main(arguments: list[str]) -> int:
    """Run the job of a folder.

    Return 0 for a result, 1 for a bug, 2 for a user error, 3 when canceled.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m DeepVsClassicRegLib.worker JOB_FOLDER\n")
        return EXIT_USER
    lead_own_group()
    events, wishes = take_over()
    channel = Channel(events)
    folder = Path(arguments[0]).resolve()
    try:
        job = prepare(folder)
        supervised = Supervised(folder, job, events)
    except RegistrationError as error:
        channel.send_user_error(error)
        return EXIT_USER
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: supervised.cancel())
    channel.send("started", pid=os.getpid(), group=supervised.process.pid)
    listen(wishes, lambda gone: supervised.cancel(gone))
    code = supervised.wait()
    clean_up(folder, whole=supervised.orphaned and job.ephemeral)
    return report_end(code, supervised.cancelled, channel)


def prepare(folder: Path) -> Job:
    """Read the job of a folder, remove the result of an earlier run, and create the scratch folder.

    Raises
    ------
    RegistrationError
        When the folder does not exist or cannot be written, or the job is not valid.
    """
    if not folder.is_dir():
        raise FileError(f"No such job folder: {folder}.")
    try:
        (folder / RESULT_FILE).unlink(missing_ok=True)
        (folder / SCRATCH_FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise FileError(f"Could not write in the job folder {folder}: {error.strerror}.", hint=NO_SPACE) from error
    return Job.read(folder)


def own_group() -> dict[str, Any]:
    """Return the options of `Popen` for a process that leads its own group."""
    return {"creationflags": 0x200} if WINDOWS else {"process_group": 0}  # CREATE_NEW_PROCESS_GROUP


def report_end(code: int, cancelled: bool, channel: Channel) -> int:
    """Send the event for a computing process that ended without one, and return the exit code of the job."""
    if code in (EXIT_RESULT, EXIT_CANCELLED):
        return code
    if cancelled:
        channel.send("cancelled")
        return EXIT_CANCELLED
    if code in (EXIT_BUG, EXIT_USER):
        return code
    channel.send("error", cause="crash", type="Crash", message=_crash(code), hint=_crash_hint(code))
    return EXIT_BUG


def _crash(code: int) -> str:
    if code >= 0:
        return f"The computation ended with exit code {code} and no result."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"The computation was killed by {name}."


def _crash_hint(code: int) -> str:
    if not WINDOWS and code == -signal.SIGKILL:
        return "It probably ran out of memory: close other programs, or choose a coarser preset."
    return "This is an error of the engine's software: see the log, and try another engine or preset."
