"""Keeps freed memory in the process, so that large arrays are not requested from the system repeatedly."""

from __future__ import annotations

import ctypes
import functools
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_USUAL_MAPPINGS = 65_536
# The values that glibc's dynamic thresholds reach in a process with large arrays.
_LARGEST_THRESHOLD = 32 * 2**20
_NEVER = 2**31 - 1

_lock = threading.Lock()
_inside = 0


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
