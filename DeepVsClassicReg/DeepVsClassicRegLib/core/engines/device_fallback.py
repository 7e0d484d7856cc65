"""Fallback when a GPU cannot do the work: another attempt is made and reported in a note."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ..device import out_of_memory, release_memory

CPU = "cpu"
log = logging.getLogger(__name__)
A = TypeVar("A")
T = TypeVar("T")


def with_fallback(
    work: Callable[[A], T],
    first: A,
    following: Callable[[A, str], tuple[A, str]],
    *,
    device_of: Callable[[A], str],
    notes: list[str],
) -> tuple[T, A]:
    """Return the outcome of the first attempt whose device can do the work, and that attempt.

    Parameters
    ----------
    work : callable
        Does the whole work of an attempt.
    first : object
        The first attempt, with the requested device.
    following : callable
        Gets an attempt and why its device failed ("ran out of memory"); returns the next attempt and the note that
        describes the change. The last attempt must be on the CPU, whose errors are raised.
    device_of : callable
        Returns the torch device of an attempt.
    notes : list of str
        Receives the notes; they are also logged immediately, because the next attempt may take longer.
    """
    attempt = first
    while True:
        try:
            return work(attempt), attempt
        except (RuntimeError, MemoryError) as error:
            reason = _weakness(error)
            if device_of(attempt) == CPU or not reason:
                raise
        # Only here, beyond the exception and its frames, are the tensors of the failed attempt free.
        release_memory(device_of(attempt))
        attempt, note = following(attempt, reason)
        log.warning(note)
        notes.append(note)


def with_cpu_fallback(device: str, work: Callable[[str], T], notes: list[str]) -> tuple[T, str]:
    """Return the value of `work(device)` and its device; when the GPU fails, the work is repeated on the CPU."""

    def to_cpu(_device: str, reason: str) -> tuple[str, str]:
        return CPU, f"The GPU {reason}: the network ran on the CPU instead."

    found, used = with_fallback(work, device, to_cpu, device_of=str, notes=notes)
    if used != CPU:
        release_memory(used)
    return found, used


def _weakness(error: BaseException) -> str:
    """Return what a device lacks according to an error of torch; '' when the error has another cause."""
    if isinstance(error, NotImplementedError):  # Apple's GPU lacks some operations on volumes
        return f"lacks an operation ({str(error).splitlines()[0][:80]})"
    return "ran out of memory" if out_of_memory(error) else ""
