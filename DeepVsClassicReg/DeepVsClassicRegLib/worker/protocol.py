"""The events that a worker writes to its standard output: JSON lines, possibly mixed with other text."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..core.errors import RegistrationError
from ..core.files import jsonable
from ..core.job import MOTION, TRAIN

MARK = b'{"event":'
LONGEST_LINE = 1 << 20
CANCEL = b"cancel\n"
RUN = b"run "  # a warm worker receives this and the job folder as JSON, one line per job
ENDED = "ended"  # event of a warm worker that is ready for the next job
END_OF_LOG = "\x02end of the job\x03"  # last line of a job on the standard error of a warm worker

GRACE_S = 0.8  # time for a worker to stop by itself; a cancel takes less than a second
KILL_AFTER_S = 5.0  # time after which its parent kills it
# Tasks that have something to keep: a training finishes its step and writes a checkpoint, a motion correction ends its
# processes and writes the transforms of the finished frames.
LONGER_GRACE_S = {TRAIN: 120.0, MOTION: 30.0}

EXIT_RESULT = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_CANCELLED = 3


def grace_s(task: str) -> float:
    """Return the time in seconds for a worker to stop by itself."""
    return LONGER_GRACE_S.get(task, GRACE_S)


def patience_s(task: str) -> float:
    """Return the time in seconds after which the parent kills a worker that was asked to stop."""
    return KILL_AFTER_S - GRACE_S + grace_s(task)


@dataclass(frozen=True)
class Event:
    """A message of the worker.

    Attributes
    ----------
    kind : str
        'started' (pid, group), 'progress' (fraction, stage, metric, iteration, result: see `Update`), 'note' (text),
        'result' (files), 'cancelled', 'error' (cause, type, message, hint), 'ended' (code: exit code of a job of a warm
        worker), 'log' (text: a line of standard error) or 'noise' (text: a line of standard output that is not an
        event).
    data : mapping
        The entries named above.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of a note, log line, noise or error; empty for other kinds."""
        return str(self.data.get("text") or self.data.get("message") or "")


def run_request(folder: Path) -> bytes:
    """Return the line that asks a warm worker to run the job of a folder."""
    return RUN + json.dumps(str(folder)).encode("ascii") + b"\n"


def encode(kind: str, **data: Any) -> bytes:
    """Return the line of an event: ASCII, without line breaks inside, NaN and infinities as null."""
    return json.dumps({"event": kind, **jsonable(data)}, separators=(",", ":"), default=str).encode("ascii") + b"\n"


class Decoder:
    """Parses bytes, in chunks of any size, into events.

    Text before, between or after events, even on the same line, becomes 'noise' and never hides an event.

    Examples
    --------
    >>> Decoder().feed(b'hello{"event":"note","text":"careful"}' + bytes([10]))
    [Event(kind='noise', data={'text': 'hello'}), Event(kind='note', data={'text': 'careful'})]
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events completed by these bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [event for line in lines for event in _events(line)]

    def finish(self) -> list[Event]:
        """Return the events of the last, incomplete line."""
        line, self._rest = self._rest, b""
        return _events(line)


class LineSplitter:
    """Splits the bytes of the log, in chunks of any size, into lines of text."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines completed by these bytes; carriage returns (progress bars) also end a line."""
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [text for line in lines if (text := _text(line))]

    def finish(self) -> list[str]:
        """Return the last, incomplete line."""
        return self.feed(b"\n")


def _events(line: bytes) -> list[Event]:
    found: list[Event] = []
    while line.strip():
        before, mark, _ = line.partition(MARK)
        if not mark:
            return [*found, *_noise(line)]
        text = line[len(before) :].decode("utf-8", errors="replace")
        try:
            entries, end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:
            return [*found, *_noise(line)]
        kind = entries.pop("event")
        found += [*_noise(before), Event(str(kind), entries)]
        line = text[end:].encode("utf-8")
    return found


def _noise(line: bytes) -> list[Event]:
    text = _text(line)
    return [Event("noise", {"text": text})] if text else []


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip()


OUT, ERR, IN = 1, 2, 0


def take_over() -> tuple[BinaryIO, BinaryIO]:
    """Reserve the real standard output and input for the protocol.

    Afterwards all text printed by Python, C++ or child processes goes to standard error (the log), and standard input
    is empty for all other readers.

    Returns
    -------
    events, wishes : binary files
        The file for events, and the file with requests of the parent.
    """
    sys.stdout.flush()
    events = os.fdopen(os.dup(OUT), "wb", buffering=0)
    os.dup2(ERR, OUT)
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        wishes = os.fdopen(os.dup(IN), "rb", buffering=0)
    except OSError:  # started without standard input, so there is no parent to wait for
        wishes = os.fdopen(os.dup(null), "rb", buffering=0)
    os.dup2(null, IN)
    os.close(null)
    return events, wishes


class Channel:
    """Sends events; a parent that has ended is not an error here, because the end of the input stream reports it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, **data: Any) -> None:
        """Send one event immediately."""
        self.pass_on(encode(kind, **data))

    def send_user_error(self, error: RegistrationError) -> None:
        """Send the event of an error that the user can correct."""
        self.send("error", cause="user", type=type(error).__name__, message=error.message, hint=error.hint)

    def pass_on(self, line: bytes) -> None:
        """Send the line of an event, such as one of another process."""
        rest = memoryview(line)
        with self._lock:
            try:
                while rest:
                    rest = rest[self._stream.write(rest) :]
            except OSError:
                return


def listen(wishes: BinaryIO, on_cancel: Callable[[bool], None]) -> threading.Thread:
    """Call `on_cancel` once when a line or the end of the requests arrives.

    Parameters
    ----------
    wishes : binary file
        Requests of the parent.
    on_cancel : callable
        Receives True when the parent has ended (end of file), False when it requested the cancel.
    """

    def wait() -> None:
        try:
            wish = wishes.read(1)
        except OSError:
            wish = b""
        on_cancel(not wish)

    thread = threading.Thread(target=wait, name="wishes", daemon=True)
    thread.start()
    return thread


def listen_for_jobs(
    wishes: BinaryIO, on_run: Callable[[Path], None], on_cancel: Callable[[], None], on_end: Callable[[], None]
) -> threading.Thread:
    """Call `on_run` with the folder of each requested job, `on_cancel` for each cancel, and `on_end` at the end."""

    def wait() -> None:
        try:
            for line in wishes:
                if line.startswith(RUN):
                    on_run(Path(json.loads(line[len(RUN) :])))
                else:
                    on_cancel()
        except OSError:
            pass  # as the end of the requests
        on_end()

    thread = threading.Thread(target=wait, name="wishes", daemon=True)
    thread.start()
    return thread
