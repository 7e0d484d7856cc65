"""Replaces the greedy program by the picsl_greedy package, with the same arguments and output files.

Run as `python -m DeepVsClassicRegLib.core.engines.external.greedy_child -d 3 ...`.
"""

from __future__ import annotations

import shlex
import sys


def main(arguments: list[str]) -> int:
    """Run one registration; return the exit status."""
    from picsl_greedy import Greedy3D

    try:
        Greedy3D().execute(shlex.join(arguments))
    except Exception as error:  # the package raises C++ exceptions of any type
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
