"""Which back end computes: numba on the CPU, torch on a GPU or where numba is missing."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...device import Compute, torch_device
from ...errors import EngineUnavailable, RegistrationError
from ...numba_setup import kernels_are_compiled, numba_found, thread_bound, use_user_cache
from ...progress import Progress

NUMBA, TORCH = "numba", "torch"


@dataclass(frozen=True)
class Backend:
    """Where a run computes.

    Attributes
    ----------
    kind : str
        'numba' or 'torch'.
    device : str
        'cpu', 'cuda' or 'mps'.
    threads : int
        CPU threads.
    notes : tuple of str
        What the user should know about the choice.
    """

    kind: str
    device: str
    threads: int
    notes: tuple[str, ...] = ()

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions belong into the diagnostics."""
        return (self.kind,)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Bound the threads inside the block and restore the former bound."""
        if self.kind == NUMBA:
            with thread_bound(self.threads):
                yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.no_grad():
                yield
        finally:
            torch.set_num_threads(before)


def choose_backend(compute: Compute, progress: Progress) -> Backend:
    """Return the back end for the wanted device.

    Raises
    ------
    EngineUnavailable
        When neither numba nor torch is installed.
    RegistrationError
        When a GPU was asked for by name and is not there.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    wants_gpu = compute.device in ("cuda", "mps") or (compute.device == "auto" and has_torch and _gpu_likely())
    notes: tuple[str, ...] = ()
    if wants_gpu:
        device = torch_device(compute.device)
        if device != "cpu" and samples_volumes(device):
            return Backend(TORCH, device, compute.thread_count)
        if compute.device == device != "cpu":
            raise RegistrationError(f"This torch cannot sample volumes on '{device}'.", hint="Use device 'auto'.")
        if device != "cpu":
            notes += (f"This torch cannot sample volumes on '{device}': computed on the CPU (a newer torch can).",)
    if numba_found():
        use_user_cache()
        if not kernels_are_compiled():
            progress.report(0.0, "Compiling the kernels (only the first time, about half a minute)")
        return Backend(NUMBA, "cpu", compute.thread_count, notes)
    if has_torch:
        note = "numba is not installed: computed with torch, several times slower (pip install numba)."
        return Backend(TORCH, "cpu", compute.thread_count, (*notes, note))
    raise EngineUnavailable(
        "Engine 'instance' needs numba (CPU) or torch (GPU), neither found here.", hint="pip install numba"
    )


def samples_volumes(device: str) -> bool:
    """Return whether torch interpolates volumes on a device; older versions do not on MPS."""
    import torch

    image, grid = torch.zeros((1, 1, 2, 2, 2), device=device), torch.zeros((1, 2, 2, 2, 3), device=device)
    try:
        torch.nn.functional.grid_sample(image, grid, align_corners=True)
    except NotImplementedError:
        return False
    return True


def _gpu_likely() -> bool:
    """Return whether it is worth the seconds of importing torch to look for a GPU."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return (Path("C:/Windows/System32") / "nvcuda.dll").is_file()
    return Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()
