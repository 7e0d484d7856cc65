"""Common parts of the experiments: options, and registration with an engine from the linear alignment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..device import Compute, sitk_threads
from ..engines.catalogue import available_engines, get_engine
from ..engines.registration import LINEAR, align_linearly
from ..errors import SettingsError
from ..pair import Pair
from ..progress import Progress
from ..settings import Choice, make_settings
from ..transforms.transform import Transform
from .dataset import Study
from .findings import Findings
from .tasks import Task, TaskResult

# Fastest first; engines that are not installed are skipped when the user gives none.
USUAL_ENGINES = ("instance", "sitk-demons")


@dataclass(frozen=True)
class ExperimentOptions:
    """Options of the user; each experiment uses those it needs.

    Attributes
    ----------
    engines : tuple of str
        Classical engines, 'name' or 'name:preset'; claims use the first one.
    seeds : tuple of int
        Seeds of the training runs.
    hours : float
        Maximum CPU time of one training run; 0 for no limit.
    steps : int
        Steps of one training run.
    pairs : int
        Maximum number of pairs per data set or split; 0 for all.
    methods : tuple of str
        Methods to train; ('all',) for all methods that predict a field.
    models : tuple of str
        Trained models to evaluate as well, by name or folder.
    runs : tuple of mappings
        Lines of an earlier benchmark whose Dice is used instead of registering again.
    spacing_mm : float
        Voxel size of the common grid of the networks, for real data.
    threads : int
        Of each process.
    phantom : bool
        Whether the data are the phantom.
    """

    engines: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    hours: float = 0.0
    steps: int = 0
    pairs: int = 0
    methods: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    spacing_mm: float = 4.0
    threads: int = 1
    phantom: bool = False


class Experiment(Protocol):
    """The functions of an experiment's module."""

    def default_study(self) -> Study:
        """Return the phantom population that is used without data."""
        ...

    def stages(self, study: Study, options: ExperimentOptions, folder: Path) -> Iterable[Sequence[Task]]:
        """Return the tasks; a stage starts when the previous one is finished."""
        ...

    def findings(self, finished: Sequence[TaskResult], study: Study, options: ExperimentOptions) -> Findings:
        """Return the findings."""
        ...


def usable_engines(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the engines to run, checked; by default the usual installed ones.

    Raises
    ------
    RegistrationError
        When an engine or preset does not exist or its package is missing.
    """
    if not wanted:
        there = available_engines()
        return tuple(name for name in USUAL_ENGINES if name in there)
    for entry in wanted:
        choice = Choice.parse(entry)
        info = get_engine(choice.engine).info
        make_settings(info.settings, choice.engine, choice.preset)
        info.require()
    if len(set(wanted)) != len(wanted):
        raise SettingsError("An engine is given twice.", hint="Give each engine and preset once.")
    return tuple(wanted)


def registered(pair: Pair, entry: str, *, threads: int) -> Transform:
    """Return the transform of an engine, from the initial transform of the pair or else from the linear alignment.

    Parameters
    ----------
    pair : Pair
        The pair; engines that do not use segmentations and landmarks do not receive them.
    entry : str
        'name' or 'name:preset'.
    threads : int
        CPU threads.
    """
    compute = Compute(device="cpu", threads=threads)
    hidden = pair.without_annotations()
    if hidden.initial is None:
        hidden = hidden.replace(initial=align_linearly(hidden, compute, Progress()).transform)
    with sitk_threads(threads):
        if entry == LINEAR and hidden.initial is not None:
            return hidden.initial
        return _run(hidden, entry, compute)


def _run(pair: Pair, entry: str, compute: Compute) -> Transform:
    choice = Choice.parse(entry)
    engine = get_engine(choice.engine)
    settings: Any = make_settings(engine.info.settings, choice.engine, choice.preset)
    engine.info.require()
    return engine.run(pair, settings, Progress(), compute).transform
