"""The worker's ends of the pipes: events go out on the real standard output, wishes come in on standard input."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from .protocol import encode

OUT, ERR, IN = 1, 2, 0


def take_over() -> tuple[BinaryIO, BinaryIO]:
    """Keep the real standard output and input for the protocol, away from everything else in this process.

    Afterwards whatever is printed, by Python, C++ or child processes, goes to standard error (the log), and
    whoever reads standard input finds its end.

    Returns
    -------
    events, wishes : binary files
        Where events are written, and where the parent's wishes are read.
    """
    sys.stdout.flush()
    events = os.fdopen(os.dup(OUT), "wb", buffering=0)
    os.dup2(ERR, OUT)
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        wishes = os.fdopen(os.dup(IN), "rb", buffering=0)
    except OSError:  # started without a standard input: nobody is there to wait for the result
        wishes = os.fdopen(os.dup(null), "rb", buffering=0)
    os.dup2(null, IN)
    os.close(null)
    return events, wishes


class Channel:
    """Sends events; a parent that is gone is no error here, the end of the input stream reports it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, **data: Any) -> None:
        """Send one event at once."""
        line = memoryview(encode(kind, **data))
        with self._lock:
            try:
                while line:
                    line = line[self._stream.write(line) :]
            except OSError:
                return


def listen(wishes: BinaryIO, on_cancel: Callable[[bool], None]) -> threading.Thread:
    """Call `on_cancel` once when a line or the end of the wishes arrives.

    Parameters
    ----------
    wishes : binary file
        What the parent writes.
    on_cancel : callable
        Gets True when the parent vanished (end of file), False when it requested the stop.
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
