"""The list of engines: name -> location of its class, imported on first use; choices written 'a,b:preset'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..errors import SettingsError
from ..registry import Registry
from ..settings import Choice, make_settings
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


def parse_choices(text: str, *, settings: Mapping[str, Any] | None = None) -> list[Choice]:
    """Return the engines of 'a,b:preset'.

    Parameters
    ----------
    text : str
        Engines, each optionally with a preset, separated by commas.
    settings : mapping, optional
        Settings changed from the preset, which are checked as well; with one engine only.

    Raises
    ------
    SettingsError
        When an engine, preset or setting does not exist, or an engine is given twice.
    """
    choices: list[Choice] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        choice = Choice.parse(part)
        if choice in choices:
            raise SettingsError(f"'{part}' is given twice.", hint="Give each engine and preset once.")
        make_settings(get_engine(choice.engine).info.settings, choice.engine, choice.preset, settings)
        choices.append(choice)
    if not choices:
        raise SettingsError("No engine is given.", hint="For example --engines elastix,sitk-demons.")
    if settings and len(choices) > 1:
        raise SettingsError("Settings can be changed for one engine only.", hint="Give one engine, or use presets.")
    return choices
