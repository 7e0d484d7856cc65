"""Runs an experiment of the paper: tasks, findings and page; an interrupted experiment is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..errors import RegistrationError
from ..progress import Progress
from ..registry import Registry
from .base import Experiment, ExperimentOptions
from .dataset import Study
from .findings import Findings
from .page import write_all
from .tasks import TaskResult, failures_of, run_tasks

EXPERIMENTS = Registry(
    __package__,
    "There is no experiment '{name}'.",
    {
        "mi-dice": "mi_dice",
        "paradigms": "paradigms",
        "supervision": "supervision",
        "shift": "shift",
    },
)


@dataclass(frozen=True, eq=False)
class Reproduction:
    """A finished experiment.

    Attributes
    ----------
    findings : Findings
        The findings.
    finished : tuple of TaskResult
        All tasks.
    files : mapping of str to Path
        The written files.
    """

    findings: Findings
    finished: tuple[TaskResult, ...]
    files: Mapping[str, Path]

    @property
    def failures(self) -> list[TaskResult]:
        """Failed tasks."""
        return failures_of(self.finished)


def get_experiment(name: str) -> Experiment:
    """Return an experiment by name; `SettingsError` when there is none."""
    return cast(Experiment, EXPERIMENTS.load(name))


def reproduce(
    name: str,
    folder: Path,
    *,
    study: Study | None = None,
    options: ExperimentOptions | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Reproduction:
    """Run an experiment and write its tables, figures and page.

    Parameters
    ----------
    name : {'mi-dice', 'paradigms', 'supervision', 'shift'}
        Name of the experiment.
    folder : path
        Folder of the log `units.jsonl` and the results; it must exist. Tasks in the log are not repeated.
    study : Study, optional
        Labeled volumes; default: the phantom.
    options : ExperimentOptions, optional
        Options of the user.
    workers : int
        Number of parallel processes; 0 runs everything in this process.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Returns
    -------
    Reproduction
        Claims with verdicts, all tasks and the files.

    Raises
    ------
    RegistrationError
        When a package is missing, or all tasks failed.
    """
    experiment = get_experiment(name)
    chosen = study or experiment.default_study()
    wanted = options or ExperimentOptions(phantom=study is None)
    listener = progress or Progress()
    finished: list[TaskResult] = []
    stages = list(experiment.stages(chosen, wanted, folder))
    for number, tasks in enumerate(stages):
        part = listener.part(number / len(stages), (number + 1) / len(stages))
        finished += run_tasks(tasks, folder, workers=workers, threads=wanted.threads, progress=part)
    failures = failures_of(finished)
    if finished and len(failures) == len(finished):
        raise RegistrationError(f"No task has a result; the first: {failures[0].task}: {failures[0].reason}")
    found = experiment.findings(finished, chosen, wanted)
    run = {"experiment": name, "data": chosen.source, **_described(wanted), "processes": max(1, workers)}
    return Reproduction(found, tuple(finished), write_all(folder, name, found, finished, run))


def _described(options: ExperimentOptions) -> dict[str, Any]:
    shown = {
        "engines": ", ".join(options.engines) or "usual ones",
        "seeds": ", ".join(map(str, options.seeds)),
        "pairs": options.pairs or "all",
        "threads": options.threads,
    }
    if options.methods or options.models:
        shown["networks"] = ", ".join([*options.methods, *options.models])
    if options.steps or options.hours:
        shown["training"] = f"{options.steps} steps, {options.hours:g} h at most"
    return shown
