"""The engines as the panel offers them: what is ready, what can be installed, what is missing and why."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.engines.base import EngineInfo, Requirement, needs, remedy
from ..core.engines.catalogue import PREFERRED, engine_names, get_engine

FAMILIES = ("deep", "classical", "linear")


@dataclass(frozen=True)
class Offer:
    """An engine and whether it can be used here.

    Attributes
    ----------
    info : EngineInfo
        What the catalogue tells of it.
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
        """What the user does about it, in one sentence."""
        return remedy(self.missing)


def offers() -> list[Offer]:
    """Return every engine of the catalogue, ready ones first, by family."""
    infos = [get_engine(name).info for name in engine_names()]
    found = [Offer(info, info.missing()) for info in infos]
    return sorted(found, key=lambda offer: (not offer.ready, FAMILIES.index(offer.info.family)))


def default_engine(found: list[Offer]) -> str:
    """Return the name of the engine that is chosen at first."""
    ready = [offer.info.name for offer in found if offer.ready]
    return next((name for name in PREFERRED if name in ready), ready[0] if ready else "")
