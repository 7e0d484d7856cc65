"""Which engines can run on this computer, which can be installed, and what the others need."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.engines.base import EngineInfo, Requirement, needs, remedy
from ..core.engines.catalogue import PREFERRED, engine_names, get_engine

FAMILIES = ("deep", "classical", "linear")


@dataclass(frozen=True)
class EngineAvailability:
    """An engine and whether it can be used here.

    Attributes
    ----------
    info : EngineInfo
        Its catalogue entry.
    missing : tuple of Requirement
        What is not installed.
    """

    info: EngineInfo
    missing: tuple[Requirement, ...]

    @property
    def ready(self) -> bool:
        """Whether it can run now."""
        return not self.missing

    @property
    def installable(self) -> bool:
        """Whether everything missing is a Python package, which the panel can install."""
        return bool(self.missing) and all(need.package for need in self.missing)

    @property
    def needs(self) -> str:
        """Names of what is missing."""
        return needs(self.missing)

    @property
    def remedy(self) -> str:
        """How the user makes it available, in one sentence."""
        return remedy(self.missing)


def engine_availability() -> list[EngineAvailability]:
    """Return all engines of the catalogue, sorted by family, available ones first."""
    infos = [get_engine(name).info for name in engine_names()]
    found = [EngineAvailability(info, info.missing()) for info in infos]
    return sorted(found, key=lambda entry: (not entry.ready, FAMILIES.index(entry.info.family)))


def default_engine(found: list[EngineAvailability]) -> str:
    """Return the name of the engine that is selected by default."""
    ready = [entry.info.name for entry in found if entry.ready]
    return next((name for name in PREFERRED if name in ready), ready[0] if ready else "")
