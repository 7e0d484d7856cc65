"""Compiles the numba kernels of engine `instance` into the user's cache, so that no test waits for it.

A fresh machine needs one to two minutes; done once, before several test processes would each do it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DeepVsClassicReg"))


def main() -> None:
    """Register a small phantom."""
    import DeepVsClassicRegLib as dvc
    from DeepVsClassicRegLib.core.phantom.phantom import make_phantom

    dvc.register(make_phantom("head", size=32).pair, "instance")


if __name__ == "__main__":
    main()
