"""Where a network computes, and what happens when a GPU cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ...device import out_of_memory, release_memory

T = TypeVar("T")
log = logging.getLogger(__name__)
CPU = "cpu"


def with_cpu_fallback(device: str, work: Callable[[str], T], notes: list[str]) -> tuple[T, str]:
    """Return the outcome of `work(device)` and where it was made; a GPU that cannot hands over to the CPU.

    The note that says so is also logged at once, since the CPU takes longer.
    """
    if device == CPU:
        return work(CPU), CPU
    try:
        found = work(device)
        release_memory(device)
        return found, device
    except NotImplementedError as error:
        # Apple's GPU lacks some operations on volumes.
        reason = f"lacks an operation ({str(error).splitlines()[0][:80]})"
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        reason = "has too little free memory"
    release_memory(device)
    note = f"The GPU {reason}: the network ran on the CPU instead."
    log.warning(note)
    notes.append(note)
    return work(CPU), CPU
