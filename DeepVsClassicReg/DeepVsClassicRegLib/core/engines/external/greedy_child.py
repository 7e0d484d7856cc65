"""Stands in for the greedy program with the picsl_greedy package: same arguments, same output files.

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
    except Exception as error:  # the package raises plain exceptions of C++
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
