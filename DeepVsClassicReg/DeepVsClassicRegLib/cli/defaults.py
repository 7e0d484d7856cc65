"""What is chosen when the user does not choose."""

from __future__ import annotations

BEST = "elastix"
ALWAYS_THERE = "sitk-demons"


def default_engine() -> str:
    """Return the engine used when none is named: elastix when it is installed, else SimpleITK's demons."""
    from ..core.engines.catalogue import get_engine

    return ALWAYS_THERE if get_engine(BEST).info.missing() else BEST
