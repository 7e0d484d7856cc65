"""Options, cache folder and threads of kernels compiled by numba."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .files import user_folder

CACHE_VARIABLE = "NUMBA_CACHE_DIR"
# Options of all kernels; a file of kernels calls `use_user_cache` before it decorates the first one.
JIT: dict[str, Any] = {"nogil": True, "fastmath": True, "cache": True, "error_model": "numpy"}
F32 = np.float32


def numba_found() -> bool:
    """Return whether numba is installed, without importing it."""
    return importlib.util.find_spec("numba") is not None


def numba_loaded() -> bool:
    """Return whether numba was imported by someone: loading it takes half a second, and as long again its kernels."""
    return "numba" in sys.modules


def use_user_cache() -> Path:
    """Set numba's cache folder to one of the user, unless one is set, and return the folder.

    The module folder may be read-only, so compiled kernels are never stored there. It has no effect when numba was
    imported before with another folder.
    """
    folder = Path(os.environ.get(CACHE_VARIABLE) or user_cache())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # The home folder is not writable: kernels are compiled again in every session.
        folder = Path(tempfile.gettempdir()) / "DeepVsClassicReg-numba"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[CACHE_VARIABLE] = str(folder)
    os.environ.setdefault(CACHE_VARIABLE, str(folder))
    loaded = sys.modules.get("numba")
    if loaded is not None and not loaded.config.CACHE_DIR:
        loaded.config.CACHE_DIR = str(folder)
    return folder


def user_cache() -> Path:
    """Return the cache folder of this library."""
    return user_folder("cache") / "numba"


def kernels_are_compiled() -> bool:
    """Return whether the cache folder contains compiled kernels of an earlier run."""
    folder = Path(os.environ.get(CACHE_VARIABLE) or user_cache())
    return folder.is_dir() and any(folder.rglob("*numba_similarities*.nbc"))


@contextmanager
def thread_bound(count: int) -> Iterator[int]:
    """Limit numba's threads inside the block, yield their number, and restore the previous limit."""
    import numba

    before = _threads_of_numba()
    most: int = getattr(numba.config, "NUMBA_NUM_THREADS")  # noqa: B009 (numba sets it at run time)
    allowed = max(1, min(count, most))
    numba.set_num_threads(allowed)
    try:
        yield allowed
    finally:
        numba.set_num_threads(before)


def kernel_threads(count: int) -> AbstractContextManager[object]:
    """Return `thread_bound(count)`, or a block that changes nothing where numba is not loaded."""
    return thread_bound(count) if numba_loaded() else nullcontext()


def _threads_of_numba() -> int:
    """Return numba's number of threads; the first call in a process starts them.

    Starting them sets OpenMP to all cores, and torch computes with the same OpenMP. Its bound is set again: two
    trainings of one thread each took ten times their CPU time after their first validation, because four threads
    waited for two cores.
    """
    import numba

    torch = sys.modules.get("torch")
    of_torch = None if torch is None else torch.get_num_threads()
    found: int = numba.get_num_threads()
    if torch is not None:
        torch.set_num_threads(of_torch)
    return found
