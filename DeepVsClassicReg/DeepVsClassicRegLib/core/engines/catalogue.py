"""The list of engines: name -> location of its class, imported on first use."""

from __future__ import annotations

from typing import cast

from ..registry import Registry
from .base import Engine, EngineInfo

ENGINES = Registry(
    __package__,
    "There is no engine '{name}'.",
    {
        "linear": "linear.engine:LinearEngine",
        "instance": "instance.engine:InstanceEngine",
        "network": "network.engine:NetworkEngine",
        "network+refine": "network.refine:NetworkRefineEngine",
        "learned-metric": "learned_metric.engine:LearnedMetricEngine",
        "agent": "agent.engine:AgentEngine",
        "agent-deformable": "agent.deformable:DeformableAgentEngine",
        "elastix": "elastix.engine:ElastixEngine",
        "sitk-bspline": "sitk_bspline:SitkBSplineEngine",
        "sitk-demons": "sitk_demons:SitkDemonsEngine",
        "ants": "external.ants:AntsEngine",
        "greedy": "external.greedy:GreedyEngine",
        "niftyreg": "external.niftyreg:NiftyRegEngine",
        "fireants": "external.fireants:FireAntsEngine",
        "convexadam": "external.convexadam:ConvexAdamEngine",
    },
)

# Default engine: the first one that is installed; the last one always is.
PREFERRED = ("instance", "elastix", "sitk-demons")


def engine_names() -> tuple[str, ...]:
    """Return the names of all engines, installed or not."""
    return tuple(ENGINES)


def get_engine(name: str) -> Engine:
    """Return an engine by name, whether or not its packages are installed.

    Raises
    ------
    SettingsError
        When there is no engine of this name.
    """
    return cast(Engine, ENGINES.load(name)())


def engine_infos() -> tuple[EngineInfo, ...]:
    """Return the descriptions of all engines, without importing their packages."""
    return tuple(get_engine(name).info for name in ENGINES)


def available_engines() -> tuple[str, ...]:
    """Return the names of the engines whose requirements are installed."""
    return tuple(info.name for info in engine_infos() if not info.missing())


def default_engine() -> str:
    """Return the default engine: the first installed one of `PREFERRED`."""
    return next(name for name in PREFERRED if not get_engine(name).info.missing())
