"""The network engine followed by the instance engine: a fast start, then optimization of the pair."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from ...device import Compute
from ...pair import Pair
from ...progress import Progress
from ...settings import make_settings, option, presets
from ...transforms.transform import Transform
from ..base import Diagnostics, EngineInfo, Result
from ..instance.engine import InstanceEngine
from ..instance.settings import InstanceSettings
from .engine import NetworkEngine, NetworkSettings

NETWORK_SHARE = 0.4


@dataclass(frozen=True)
class NetworkRefineSettings(NetworkSettings):
    """Settings of the network and of the refinement."""

    voxels_millions: float = option(
        1.0,
        "Voxels",
        unit="million",
        minimum=0.05,
        maximum=1000,
        tooltip="Approximate number of voxels for models that work at any scale; more give little gain here.",
        advanced=True,
    )
    refine_preset: str = option(
        "default",
        "Refinement",
        choices=tuple(presets("instance")),
        tooltip="Preset of the instance engine that refines the field of the network.",
    )
    refine_levels: int = option(
        2,
        "Levels of the refinement",
        minimum=1,
        maximum=8,
        tooltip="Number of the finest levels that are optimized; the field of the network replaces the coarser ones.",
    )


class NetworkRefineEngine:
    """A network's field, refined by optimization of the pair."""

    info: ClassVar[EngineInfo] = dataclasses.replace(
        NetworkEngine.info,
        name="network+refine",
        title="Deep network + refinement",
        summary="The field of a trained network, refined by optimization of the pair.",
        settings=NetworkRefineSettings,
        uses_masks=True,
        keeps_bodies=True,
        single_slices=False,
    )

    def run(self, pair: Pair, settings: NetworkRefineSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        names = [entry.name for entry in dataclasses.fields(NetworkSettings)]
        wanted = NetworkSettings(**{name: getattr(settings, name) for name in names})
        network, field = NetworkEngine().run_with_field(pair, wanted, progress.part(0.0, NETWORK_SHARE), compute)
        part = progress.part(NETWORK_SHARE, 1.0)
        refined = InstanceEngine().refine(pair, field, _refinement(settings), part, compute)
        return Result(
            refined.transform,
            _joined(network.diagnostics, refined.diagnostics),
            settings=settings,
            start=pair.initial or Transform(),
            uncertainty=network.uncertainty,
            extras=network.extras,
        )


def _refinement(settings: NetworkRefineSettings) -> InstanceSettings:
    """Return the settings of the instance engine: those of the preset without the levels replaced by the network.

    Agreement of both directions on the coarse levels is disabled: with the network's field it takes a third of the time
    and gains 0.001 Dice (Testing/bench/MODELS.md).
    """
    whole = make_settings(InstanceSettings, "instance", settings.refine_preset)
    finest = whole.iterations[-settings.refine_levels :]
    return dataclasses.replace(whole, iterations=finest, consensus=False)


def _joined(network: Diagnostics, refined: Diagnostics) -> Diagnostics:
    """Return the diagnostics of both parts as those of one run."""

    def both(name: str) -> dict[str, Any]:
        return {**getattr(network, name), **{f"Refinement: {k}": v for k, v in getattr(refined, name).items()}}

    devices = dict.fromkeys((network.device, refined.device))
    return dataclasses.replace(
        refined,
        trace=(*network.trace, *refined.trace),
        stop_condition=f"{network.stop_condition}; refinement: {refined.stop_condition}",
        seconds=both("seconds"),
        cpu_seconds=both("cpu_seconds"),
        device=", ".join(devices),
        versions={**network.versions, **refined.versions},
        notes=(*network.notes, *refined.notes),
    )
