"""The worker's side of the pipes: events on the real standard output, requests on standard input."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from .protocol import encode

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
        line = memoryview(encode(kind, **data))
        with self._lock:
            try:
                while line:
                    line = line[self._stream.write(line) :]
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
