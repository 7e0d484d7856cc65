"""Kills whole process trees on every system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable

WINDOWS = sys.platform == "win32"


def lead_own_group() -> None:
    """Make this process the leader of its own session, so that it and its children can be killed together."""
    if not WINDOWS and os.getpgrp() != os.getpid():
        os.setsid()


def kill_groups(leaders: Iterable[int | None]) -> None:
    """Kill these processes and their groups (Windows: their descendants) immediately.

    Processes that have already ended are ignored; the group of this process is never killed.
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
    """Kill this process and its children immediately; does nothing unless it leads its own group."""
    if not WINDOWS and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
