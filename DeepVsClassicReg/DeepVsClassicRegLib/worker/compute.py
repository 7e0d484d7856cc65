"""The computing process of the worker: runs the job, reports progress, and writes result.json or an error."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from ..core.device import kept_memory
from ..core.errors import Cancelled, RegistrationError
from ..core.files import write_json
from ..core.job import RESULT_FILE, Job
from ..core.progress import Progress, Update, json_update
from .job_folder import clean_up, is_ephemeral, task_of
from .processes import kill_own_group
from .protocol import EXIT_BUG, EXIT_CANCELLED, EXIT_RESULT, EXIT_USER, Channel, grace_s, listen, take_over
from .tasks import get_task

SHORTEST_INTERVAL_S = 0.05


class Reporter:
    """Sends progress as events, at most one every 50 ms unless the stage changes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stage = ""
        self._time = 0.0

    def __call__(self, update: Update) -> None:
        """Send an update, unless one was sent less than 50 ms ago."""
        now = time.monotonic()
        if update.stage == self._stage and now - self._time < SHORTEST_INTERVAL_S and update.fraction < 1:
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


def main(arguments: list[str]) -> int:
    """Run the job of a folder and return the exit code."""
    events, wishes = take_over()
    channel = Channel(events)
    folder = Path(arguments[0])
    ephemeral, grace = is_ephemeral(folder), grace_s(task_of(folder))
    stop = threading.Event()

    alone = threading.Event()

    def on_cancel(orphaned: bool) -> None:
        if orphaned:
            alone.set()
        stop.set()
        threading.Timer(grace, _die, (folder, orphaned, ephemeral)).start()

    listen(wishes, on_cancel)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger((__package__ or "").partition(".")[0]).addHandler(NoteHandler(channel))
    try:
        result = _work(folder, Progress(listener=Reporter(channel), cancelled=stop.is_set))
        write_json(folder / RESULT_FILE, result)
    except Cancelled:
        channel.send("cancelled")
        if alone.is_set():  # the supervising process, which usually cleans up and kills children, may have ended too
            _die(folder, True, ephemeral)
        return EXIT_CANCELLED
    except RegistrationError as error:
        channel.send("error", cause="user", type=type(error).__name__, message=error.message, hint=error.hint)
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
