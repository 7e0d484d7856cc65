"""Runs one program and kills it when its own standard input closes, so that no program outlives its parent.

Started as `python -m DeepVsClassicRegLib.core.engines.external.supervisor PROGRAM ARGUMENT...`; standard library only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run the command; return its exit status (128 + number when a signal ended it)."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error}\n")
        return 127
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


def _end_with_parent(child: subprocess.Popen[bytes]) -> None:
    """Kill the child at the end of standard input: the parent has closed it or ended."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 1):  # not sys.stdin: its lock aborts the interpreter when it ends first
            continue
    child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
