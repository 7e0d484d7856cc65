"""Device and threads of a job, the time and memory it used, and how it keeps freed memory."""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib.util
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import RegistrationError, SettingsError, did_you_mean

DEVICES = ("auto", "cpu", "cuda", "mps")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
# Waiting threads of OpenMP sleep instead of spinning, which would take the time of other programs.
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}
# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL_MAPPINGS = 65_536
# The values that glibc's dynamic thresholds reach in a process with large arrays.
_LARGEST_THRESHOLD = 32 * 2**20
_NEVER = 2**31 - 1
_lock = threading.Lock()
_inside = 0


@dataclass(frozen=True)
class Compute:
    """Device, threads and seed of a job.

    Attributes
    ----------
    device : str
        'auto', 'cpu', 'cuda' or 'mps'; classical engines always run on the CPU.
    threads : int
        Upper bound of the CPU threads; 0 means all cores this process may use.
    seed : int
        Seed of all random numbers of the job.
    """

    device: str = "auto"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise SettingsError(f"Unknown device '{self.device}'.", hint=did_you_mean(self.device, DEVICES))
        if self.threads < 0:
            raise SettingsError(f"threads must be 0 (all cores) or more, got {self.threads}.")

    @property
    def thread_count(self) -> int:
        """Number of CPU threads to use, at least 1."""
        return self.threads or available_cores()


def available_cores() -> int:
    """Return the number of CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def torch_device(wanted: str) -> str:
    """Return the torch device for 'auto', 'cpu', 'cuda' or 'mps'.

    Raises
    ------
    RegistrationError
        When torch is missing or the device is not available; a device requested by name is never replaced
        silently.
    """
    if importlib.util.find_spec("torch") is None:
        raise RegistrationError("torch is not installed.", hint="Install it, or choose a classical engine.")
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(wanted, False):
        found = ", ".join(name for name, is_there in there.items() if is_there)
        raise RegistrationError(f"Device '{wanted}' is not available; found: {found}.", hint="Use device 'auto'.")
    return wanted


def thread_variables(count: int) -> dict[str, str]:
    """Return the environment variables that bound the threads of every numerical library in a new process."""
    return dict.fromkeys(THREAD_VARIABLES, str(max(1, count)))


@contextmanager
def sitk_threads(count: int) -> Iterator[None]:
    """Limit SimpleITK's threads inside the block and restore the previous limit."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(max(1, count))
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Limit torch's CPU threads inside the block and restore the previous limit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory_mb() -> float | None:
    """Return the peak resident memory of this process and its children in MB, None where unknown."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1e6 if sys.platform == "darwin" else 1e3
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(peak / unit, 1)


def reset_peak_memory() -> bool:
    """Let `peak_memory_mb` count from now on; False where the system cannot do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return sys.platform == "win32"  # no peak is reported there
    return True


def resident_memory_mb() -> float | None:
    """Return the resident memory of this process in MB, None where unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def available_memory_mb() -> float | None:
    """Return the main memory that programs can still take, in MB, None where unknown."""
    if importlib.util.find_spec("psutil") is not None:
        import psutil

        return float(psutil.virtual_memory().available) / 1e6
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return None if found is None else float(found.split()[1]) * 1024 / 1e6


def cpu_seconds() -> float:
    """Return the CPU seconds (user and system) used so far by this process and its ended children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def machine() -> dict[str, str | int]:
    """Return a description of the computer for reports."""
    return {
        "system": platform.platform(terse=True),
        "processor": platform.processor() or platform.machine(),
        "cores": available_cores(),
        "python": platform.python_version(),
    }


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch, on any device and of any version, means that memory ran out."""
    named = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    return named or "out of memory" in str(error).lower()


def release_memory(device: str) -> None:
    """Release the GPU memory that torch has cached."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps" and torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed memory for later arrays inside the block, and release it at the end.

    By default glibc requests every array above 32 MB from the system and returns it immediately, so that the pages of
    each new array are zeroed before use. This took half of the CPU time of a network and, with other jobs running, a
    fifth of that of an optimizer (Testing/bench/MODELS.md, INSTANCE_TRIES.md). Blocks may be nested and may overlap in
    several threads. Without glibc nothing happens.

    It changes the whole process, so only processes of this program enter it: the command line, the worker and the
    tasks of the experiments, never the library itself, which may run inside Slicer.
    """
    global _inside
    library = _glibc()
    with _lock:
        _inside += 1
        if library is not None and _inside == 1:
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if library is not None and _inside == 0:
                library.mallopt(_MMAP_MAX, _USUAL_MAPPINGS)
                library.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
                library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
                library.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)
