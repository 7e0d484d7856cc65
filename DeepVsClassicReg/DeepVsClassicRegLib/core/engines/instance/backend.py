"""Selects the back end: numba on the CPU, torch on a GPU or when numba is missing."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ...device import Compute, torch_device, torch_threads
from ...errors import EngineUnavailable, RegistrationError
from ...numba_setup import kernels_are_compiled, numba_found, thread_bound, use_user_cache
from ...progress import Progress
from ..base import TORCH as PYTORCH
from ..base import Recorder, remedy
from ..device_fallback import with_fallback

T = TypeVar("T")
NUMBA, TORCH = "numba", "torch"
COARSER = 2
ATTEMPTS = 3


@dataclass(frozen=True)
class Backend:
    """The back end of a run.

    Attributes
    ----------
    kind : str
        'numba' or 'torch'.
    device : str
        'cpu', 'cuda' or 'mps'.
    threads : int
        CPU threads.
    notes : tuple of str
        Notes on the choice for the user.
    """

    kind: str
    device: str
    threads: int
    notes: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions are in the diagnostics."""
        return (self.kind,)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Limit the threads inside the block and restore the previous limit."""
        if self.kind == NUMBA:
            with thread_bound(self.threads):
                yield
            return
        import torch

        with torch_threads(self.threads), torch.no_grad():
            yield


def choose_backend(compute: Compute, progress: Progress, *, torch_for: str = "") -> Backend:
    """Return the back end for the requested device; never numba when something needs torch, named by `torch_for`.

    Raises
    ------
    EngineUnavailable
        When neither numba nor torch is installed, or torch is needed and missing.
    RegistrationError
        When a GPU was requested by name and is not available.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    if torch_for and not has_torch:
        raise EngineUnavailable(f"{torch_for} need PyTorch, which is not installed.", hint=remedy([PYTORCH]))
    wants_gpu = compute.device in ("cuda", "mps") or (compute.device == "auto" and has_torch and _gpu_likely())
    notes: tuple[str, ...] = ()
    if wants_gpu:
        device = torch_device(compute.device)
        if device != "cpu" and samples_volumes(device):
            return Backend(TORCH, device, compute.thread_count)
        if compute.device == device != "cpu":
            raise RegistrationError(
                f"This version of torch cannot sample volumes on '{device}'.", hint="Use device 'auto'."
            )
        if device != "cpu":
            notes += (
                f"This version of torch cannot sample volumes on '{device}': computed on the CPU (a newer torch can).",
            )
    if torch_for:
        return Backend(TORCH, "cpu", compute.thread_count, notes)
    if numba_found():
        use_user_cache()
        if not kernels_are_compiled():
            progress.report(0.0, "Compiling the kernels (only the first time, one to two minutes)")
        return Backend(NUMBA, "cpu", compute.thread_count, notes)
    if has_torch:
        note = "numba is not installed: computed with torch, several times slower (pip install numba)."
        return Backend(TORCH, "cpu", compute.thread_count, (*notes, note))
    raise EngineUnavailable(
        "Engine 'instance' needs numba (CPU) or torch (GPU); neither is installed.", hint="pip install numba"
    )


@dataclass(frozen=True)
class Attempt:
    """Back end and memory limit of an attempt.

    Attributes
    ----------
    backend : Backend
        The back end.
    memory_gib : float
        Memory limit of the working grid.
    number : int
        Number of previous attempts.
    """

    backend: Backend
    memory_gib: float
    number: int = 0


def first_that_fits(
    solve: Callable[[Attempt], T],
    first: Attempt,
    *,
    compute: Compute,
    progress: Progress,
    recorder: Recorder,
    torch_for: str = "",
) -> T:
    """Return `solve` of the first attempt with enough memory; `recorder` notes every change.

    The CPU at full resolution is preferred to a coarser result, and takes seconds with numba. Without numba there are
    two more attempts on the GPU, each with half the voxels, before torch computes on the CPU.
    """

    def work(attempt: Attempt) -> T:
        recorder.device, recorder.packages = attempt.backend.device, attempt.backend.packages
        with attempt.backend.bounded():
            return solve(attempt)

    def following(attempt: Attempt, reason: str) -> tuple[Attempt, str]:
        device = attempt.backend.device
        progress.report(0.0, f"The GPU {reason}")
        on_cpu = Compute(device="cpu", threads=compute.thread_count, seed=compute.seed)
        cpu = choose_backend(on_cpu, progress, torch_for=torch_for)
        if cpu.kind != NUMBA and attempt.number + 1 < ATTEMPTS:
            memory = attempt.memory_gib / COARSER
            note = f"Device '{device}' {reason}: repeated within {memory:.2g} GiB at coarser spacing."
            return Attempt(attempt.backend, memory, attempt.number + 1), note
        return Attempt(cpu, attempt.memory_gib), f"Device '{device}' {reason}: computed on the CPU instead."

    return with_fallback(
        work, first, following, device_of=lambda attempt: attempt.backend.device, notes=recorder.notes
    )[0]


def samples_volumes(device: str) -> bool:
    """Return whether torch supports interpolation of volumes on a device; older versions do not on MPS."""
    import torch

    image, grid = torch.zeros((1, 1, 2, 2, 2), device=device), torch.zeros((1, 2, 2, 2, 3), device=device)
    try:
        torch.nn.functional.grid_sample(image, grid, align_corners=True)
    except NotImplementedError:
        return False
    return True


def _gpu_likely() -> bool:
    """Return whether a GPU is likely, so that importing torch, which takes seconds, is worthwhile."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return (Path("C:/Windows/System32") / "nvcuda.dll").is_file()
    return Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()
