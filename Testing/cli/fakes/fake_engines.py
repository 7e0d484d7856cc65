"""An engine that never returns and cannot be interrupted, and one that always fails."""

import ctypes
from dataclasses import dataclass

from DeepVsClassicRegLib.core.engines.base import EngineInfo
from DeepVsClassicRegLib.core.errors import EngineFailed


@dataclass(frozen=True)
class Nothing:
    """No settings."""


def info(name):
    return EngineInfo(name, name, "A fake.", "classical", Nothing, "none", starts_linear=False)


class Stuck:
    info = info("stuck")

    def run(self, pair, settings, progress, compute):
        progress.report(0.5, "Stuck in native code")
        ctypes.PyDLL(None).sleep(1200)


class Broken:
    info = info("broken")

    def run(self, pair, settings, progress, compute):
        raise EngineFailed("The back end gave up.", hint="Try another engine.")
