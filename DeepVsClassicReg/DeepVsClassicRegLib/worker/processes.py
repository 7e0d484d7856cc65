"""Ending whole process trees on every system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable

WINDOWS = sys.platform == "win32"


def lead_own_group() -> None:
    """Make this process the leader of its own session, so that it and its children can be ended together."""
    if not WINDOWS and os.getpgrp() != os.getpid():
        os.setsid()


def kill_groups(leaders: Iterable[int | None]) -> None:
    """End these processes and everything in their groups (Windows: their descendants), at once.

    Processes that are gone already are no error; this process' own group is never touched.
    """
    for leader in leaders:
        if leader is None or leader <= 1:
            continue
        if WINDOWS:
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(leader)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        elif leader != os.getpgrp():
            try:
                os.killpg(leader, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def kill_own_group() -> None:
    """End this process and its children at once; does nothing where it does not lead a group of its own."""
    if not WINDOWS and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
