"""What happens when a graphics processor runs out of memory: coarser there, or on the CPU, always said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ...device import Compute, out_of_memory, release_memory
from ...progress import Progress
from ..base import Recorder
from .backend import NUMBA, Backend, choose_backend

Answer = TypeVar("Answer")
COARSER = 2
ATTEMPTS = 3


@dataclass(frozen=True)
class Attempt:
    """Where and within how much memory a run is tried.

    Attributes
    ----------
    backend : Backend
        Where.
    memory_gib : float
        How much the working lattice may ask for.
    """

    backend: Backend
    memory_gib: float


def with_fallback(
    solve: Callable[[Attempt], Answer],
    first: Attempt,
    *,
    compute: Compute,
    progress: Progress,
    recorder: Recorder,
) -> Answer:
    """Return `solve` of the first attempt that finds enough memory.

    Parameters
    ----------
    solve : callable
        Does the whole work on the back end of an attempt.
    first : Attempt
        What was asked for.
    compute, progress, recorder
        Of the run; every change is noted.

    Notes
    -----
    The CPU at full resolution is preferred to a coarse result, and takes seconds with numba. Without numba the
    graphics processor gets two more tries on half the voxels each before torch computes on the CPU.
    """
    attempt = first
    for number in range(ATTEMPTS + 1):
        recorder.device = attempt.backend.device
        recorder.packages = attempt.backend.packages
        try:
            with attempt.backend.bounded():
                return solve(attempt)
        except (RuntimeError, MemoryError) as error:
            if attempt.backend.device == "cpu" or not out_of_memory(error):
                raise
        # Only here, beyond the exception and its frames, are the tensors of the failed try free.
        release_memory(attempt.backend.device)
        attempt, note = _next(attempt, number, compute, progress)
        recorder.notes.append(note)
    raise AssertionError("The last attempt is on the CPU, whose errors are raised.")


def _next(attempt: Attempt, number: int, compute: Compute, progress: Progress) -> tuple[Attempt, str]:
    device = attempt.backend.device
    progress.report(0.0, "The graphics processor ran out of memory")
    cpu = choose_backend(Compute(device="cpu", threads=compute.thread_count, seed=compute.seed), progress)
    if cpu.kind != NUMBA and number + 1 < ATTEMPTS:
        memory = attempt.memory_gib / COARSER
        note = f"Device '{device}' ran out of memory: tried again within {memory:.2g} GiB, which is coarser."
        return Attempt(attempt.backend, memory), note
    return Attempt(cpu, attempt.memory_gib), f"Device '{device}' ran out of memory: computed on the CPU instead."
