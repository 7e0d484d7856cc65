"""The network engine followed by the instance engine: a quick start, then optimization of this very pair."""

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
    """Settings of the network, and how its field is refined."""

    voxels_millions: float = option(
        1.0,
        "Voxels",
        unit="million",
        minimum=0.05,
        maximum=1000,
        tooltip="About how many voxels a model that works at any scale gets; more are not worth their time here.",
        advanced=True,
    )
    refine_preset: str = option(
        "default",
        "Refinement",
        choices=tuple(presets("instance")),
        tooltip="Preset of the instance engine that improves the network's field.",
    )
    refine_levels: int = option(
        2,
        "Levels of the refinement",
        minimum=1,
        maximum=8,
        tooltip="The finest ones; the network's field stands in for the coarser ones.",
    )


class NetworkRefineEngine:
    """A network's field, refined by optimizing the pair itself."""

    info: ClassVar[EngineInfo] = dataclasses.replace(
        NetworkEngine.info,
        name="network+refine",
        title="Deep network + refinement",
        summary="A trained network's field improved by our own optimization of this very pair.",
        settings=NetworkRefineSettings,
        uses_masks=True,
        single_slices=False,
    )

    def run(self, pair: Pair, settings: NetworkRefineSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        names = [entry.name for entry in dataclasses.fields(NetworkSettings)]
        asked = NetworkSettings(**{name: getattr(settings, name) for name in names})
        network, field = NetworkEngine().run_with_field(pair, asked, progress.part(0.0, NETWORK_SHARE), compute)
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
    """Return the instance engine's settings: those of the preset, without the levels the network stands in for.

    Agreeing on the coarse levels is left out as well: with the network's field it costs a third of the time and gains
    0.001 Dice (Testing/bench/MODELS.md).
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
