"""Where methods meet: subjects split into training, validation and evaluation, trainings, and who is tested on what."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RegistrationError
from ..phantom.population import Cohort
from .base import ExperimentOptions, usable_engines
from .dataset import Labeled, Study, drawn_pairs
from .tasks import Task

PREPARE, TRAIN, EVALUATE = "prepare", "train", "evaluate"
TRAINED, NEW, OTHER = "training subjects", "new subjects", "other data"
SIMULATED = ("inverted", "gamma", "noise")
SIZE = 64
PROTOCOLS = ("parcels", "nuclei")
HOME = Cohort("home", noise=0.03, seed=11)
AWAY = Cohort("away", {"csf": 0.3, "cortex": 0.7, "white": 0.95, "deep": 0.8}, noise=0.05, amplitude_mm=11.0, seed=12)
TRAINING_SUBJECTS, VALIDATION_SUBJECTS, TEST_SUBJECTS = 160, 6, 12
STEPS, LEARNING_RATE = 2000, 5e-4
SMOOTHNESS = {"voxelmorph": {"smoothness": 0.1}}
PAIRS = 60
CHUNK = 12
NONE, LABELS = "none", "labels"


@dataclass(frozen=True)
class Condition:
    """A condition under which all methods are tested.

    Attributes
    ----------
    name : str
        The condition.
    path : str
        Its stack.
    count : int
        How many subjects it holds.
    """

    name: str
    path: str
    count: int


@dataclass(frozen=True)
class Design:
    """Everything that is prepared before anybody competes.

    Attributes
    ----------
    tasks : tuple of Task
        Tasks that prepare the data.
    training, validation : str
        Stacks to train on and to choose weights by.
    conditions : tuple of Condition
        The conditions.
    """

    tasks: tuple[Task, ...]
    training: str
    validation: str
    conditions: tuple[Condition, ...]


def phantom_study() -> Study:
    """Return the phantom subjects as a study; they are made by the design itself."""
    subjects = tuple(
        Labeled(f"{number:03d}", cohort.name, {"cohort": cohort_json(cohort), "number": number, "size": SIZE})
        for cohort, count in ((HOME, TRAINING_SUBJECTS + VALIDATION_SUBJECTS + TEST_SUBJECTS), (AWAY, TEST_SUBJECTS))
        for number in range(count)
    )
    return Study(
        subjects,
        (),
        f"phantom: {TRAINING_SUBJECTS} head slices of {SIZE} x {SIZE} for training, {TEST_SUBJECTS} others for testing",
    )


def make_design(study: Study, options: ExperimentOptions, folder: Path, conditions: Sequence[str]) -> Design:
    """Return the prepared data that are needed for these conditions.

    Parameters
    ----------
    study : Study
        Subjects; the data set with most of them is learned from.
    options : ExperimentOptions
        What the user chose.
    folder : Path
        The prepared data are written below it.
    conditions : sequence of str
        Out of `TRAINED`, `NEW`, `OTHER` (every other data set) and the simulated shifts of new subjects.
    """
    splits = _phantom_splits() if options.phantom else _data_splits(study)
    wanted = {"training": ("training", "none"), "validation": ("validation", "none")}
    for condition in conditions:
        if condition in (TRAINED, NEW):
            wanted[condition] = (condition, "none")
        elif condition == OTHER:
            wanted |= {name: (name, "none") for name in splits if name.startswith(OTHER)}
        else:
            wanted[condition] = (NEW, condition)
    tasks, tested = [], []
    for name, (split, shift) in wanted.items():
        subjects = splits[split]
        if options.phantom:
            task = _phantom_task(name, subjects, shift, folder)
        else:
            task = _data_task(name, subjects, shift, folder, splits["training"][0], options)
        tasks.append(task)
        if name not in ("training", "validation"):
            tested.append(Condition(name, task.arguments["path"], len(subjects)))
    return Design(tuple(tasks), tasks[0].arguments["path"], tasks[1].arguments["path"], tuple(tested))


def training_tasks(
    design: Design, options: ExperimentOptions, folder: Path, chosen: Sequence[tuple[str, str]]
) -> list[Task]:
    """Return a task per (method, supervision) and seed."""
    tasks = []
    for (method, supervision), seed in itertools.product(chosen, options.seeds):
        arguments = {
            "training": design.training,
            "validation": design.validation,
            "method": method,
            "settings": SMOOTHNESS.get(method, {}),
            "supervision": supervision,
            "seed": seed,
            "steps": options.steps or (0 if options.hours else STEPS),
            "hours": options.hours,
            "learning_rate": LEARNING_RATE,
            "threads": options.threads,
        }
        place = folder / "training" / f"{method}-{supervision}-{seed}-{_digest(arguments)}"
        name = f"{method_name(method, supervision)}, seed {seed}"
        tasks.append(Task(f"train {name}", "learning:train_network", {**arguments, "folder": str(place)}, TRAIN))
    return tasks


def evaluation_tasks(design: Design, options: ExperimentOptions, trained: Iterable[Task]) -> list[Task]:
    """Return tasks of a few pairs each for every engine, model and trained network under every condition."""
    entries: list[tuple[dict[str, Any], str, str]] = [
        ({"method": engine, "family": "classical", "seed": 0}, engine, "") for engine in usable_engines(options.engines)
    ]
    entries += [({"method": model, "family": "given model", "seed": 0}, "", model) for model in options.models]
    for task in trained:
        about = task.arguments
        family = "supervised" if about["supervision"] == LABELS else "unsupervised"
        name = method_name(about["method"], about["supervision"])
        entries.append(
            ({"method": name, "family": family, "seed": about["seed"]}, "", str(Path(about["folder"]) / "model"))
        )
    tasks = []
    for condition in design.conditions:
        pairs = drawn_pairs(condition.count, options.pairs or PAIRS, seed=0)
        for about, engine, model in entries:
            for start in range(0, len(pairs), CHUNK):
                arguments = {
                    "prepared": condition.path,
                    "pairs": [list(pair) for pair in pairs[start : start + CHUNK]],
                    "engine": engine,
                    "model": model,
                    "about": {"condition": condition.name, **about},
                    "threads": options.threads,
                }
                seed = f", seed {about['seed']}" if about["family"].endswith("supervised") else ""
                name = f"{about['method']}{seed} on {condition.name}, part {start // CHUNK + 1}"
                tasks.append(Task(name, "learning:evaluate_pairs", arguments, EVALUATE))
    return tasks


def method_name(method: str, supervision: str) -> str:
    """Return how a trained network is shown."""
    return f"{method} + labels" if supervision == LABELS else method


def cohort_json(cohort: Cohort) -> dict[str, Any]:
    """Return a cohort as plain JSON values."""
    return {name: getattr(cohort, name) for name in cohort.__dataclass_fields__}


def _phantom_splits() -> dict[str, list[Any]]:
    last = TRAINING_SUBJECTS + VALIDATION_SUBJECTS
    return {
        "training": [(HOME, number) for number in range(TRAINING_SUBJECTS)],
        "validation": [(HOME, number) for number in range(TRAINING_SUBJECTS, last)],
        TRAINED: [(HOME, number) for number in range(TEST_SUBJECTS)],
        NEW: [(HOME, number) for number in range(last, last + TEST_SUBJECTS)],
        OTHER: [(AWAY, number) for number in range(TEST_SUBJECTS)],
    }


def _data_splits(study: Study) -> dict[str, list[Any]]:
    """Split the largest data set at random, the same way every time; the others are tested whole."""
    sizes = {name: [s for s in study.subjects if s.dataset == name] for name in study.datasets}
    home = max(sizes, key=lambda name: len(sizes[name]))
    subjects = [sizes[home][place] for place in np.random.default_rng(0).permutation(len(sizes[home]))]
    tested = min(TEST_SUBJECTS, max(3, len(subjects) // 4))
    validated = min(VALIDATION_SUBJECTS, max(2, len(subjects) // 10))
    if len(subjects) < tested + validated + 4:
        raise RegistrationError(
            f"The data set '{home}' has {len(subjects)} labeled volumes; training and evaluation need at least 9.",
            hint="Use more data, or --phantom.",
        )
    splits = {
        NEW: subjects[:tested],
        "validation": subjects[tested : tested + validated],
        "training": subjects[tested + validated :],
        TRAINED: subjects[tested + validated :][:TEST_SUBJECTS],
    }
    for name, others in sizes.items():
        if name != home and len(others) > 1:
            splits[f"{OTHER}: {name}"] = others[:TEST_SUBJECTS]
    return splits


def _phantom_task(name: str, subjects: Sequence[Any], shift: str, folder: Path) -> Task:
    arguments = {
        "cohort": cohort_json(subjects[0][0]),
        "numbers": [number for _, number in subjects],
        "size": SIZE,
        "shift": shift,
        "protocols": list(PROTOCOLS),
    }
    return _prepare_task(name, "prepared_data:prepare_phantom", arguments, folder)


def _data_task(
    name: str, subjects: Sequence[Labeled], shift: str, folder: Path, first: Labeled, options: ExperimentOptions
) -> Task:
    arguments = {
        "subjects": [dict(subject.where) for subject in subjects],
        "names": [subject.key for subject in subjects],
        "reference": dict(first.where),
        "spacing_mm": options.spacing_mm,
        "shift": shift,
        "threads": options.threads,
    }
    return _prepare_task(name, "prepared_data:prepare_data", arguments, folder)


def _prepare_task(name: str, work: str, arguments: Mapping[str, Any], folder: Path) -> Task:
    """Return the task; the digest in the file's name keeps prepared data of other options apart."""
    file = f"{''.join(c if c.isalnum() else '_' for c in name)}-{_digest(arguments)}.npz"
    return Task(f"prepare {name}", work, {"path": str(folder / "stacks" / file), **arguments}, PREPARE)


def _digest(arguments: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:8]
