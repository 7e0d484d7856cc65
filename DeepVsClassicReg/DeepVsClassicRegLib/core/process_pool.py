"""Pools of new processes that end at once: on a cancel, and when their parent has ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection

from .device import thread_variables
from .errors import RegistrationError


@contextmanager
def process_pool(workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Create a pool of processes; an error or cancel in the block kills them, whatever they do.

    Parameters
    ----------
    workers : int
        Number of processes.
    threads : int
        Threads of numerical libraries in each.

    Raises
    ------
    RegistrationError
        When a process died and the block does not handle `BrokenProcessPool`.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(threads,)
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise RegistrationError(
            "A process ended unexpectedly (out of memory, or a crash).", hint="Use fewer processes, or close programs."
        ) from error
    except BaseException:
        # Waiting tasks would begin while those in progress end: the pool hands them out in advance.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(threads: int) -> None:
    """Limit the threads before any library that reads these variables is loaded; the parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(thread_variables(threads))


def _end_with_parent() -> None:
    """End this process when its parent has ended, so that no orphan process remains."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
