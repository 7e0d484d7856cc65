"""Replaces the antsRegistration program by the antspyx package, with the same arguments and output files.

Run as `python -m DeepVsClassicRegLib.core.engines.external.ants_child --dimensionality 3 ...`.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run one registration; return the exit status."""
    from ants.internal import get_lib_fn

    try:
        return int(get_lib_fn("antsRegistration")(arguments))
    except RuntimeError as error:
        sys.stdout.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
