"""Where competitors meet: persons split into training, tuning and judging, trainings, and who is judged on what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RegistrationError
from ..phantom.population import Cohort
from .base import Options, usable_engines
from .dataset import Labelled, Study
from .pairs import drawn_pairs
from .units import Unit

PREPARE, TRAIN, JUDGE = "prepare", "train", "judge"
TRAINED, NEW, OTHER = "training persons", "new persons", "other data"
SIMULATED = ("inverted", "gamma", "noise")
SIZE = 64
PROTOCOLS = ("parcels", "nuclei")
HOME = Cohort("home", noise=0.03, seed=11)
AWAY = Cohort("away", {"csf": 0.3, "cortex": 0.7, "white": 0.95, "deep": 0.8}, noise=0.05, amplitude_mm=11.0, seed=12)
LEARNERS, TUNERS, JUDGED = 160, 6, 12
STEPS, LEARNING_RATE = 2000, 5e-4
SMOOTHNESS = {"voxelmorph": {"smoothness": 0.1}}
PAIRS = 60
CHUNK = 12
NONE, LABELS = "none", "labels"


@dataclass(frozen=True)
class Place:
    """A condition under which all competitors are judged.

    Attributes
    ----------
    name : str
        The condition.
    path : str
        Its stack.
    count : int
        How many persons it holds.
    """

    name: str
    path: str
    count: int


@dataclass(frozen=True)
class Arena:
    """Everything that is prepared before anybody competes.

    Attributes
    ----------
    units : tuple of Unit
        Make the stacks.
    training, tuning : str
        Stacks to learn from and to choose weights by.
    places : tuple of Place
        The conditions.
    """

    units: tuple[Unit, ...]
    training: str
    tuning: str
    places: tuple[Place, ...]


def phantom_study() -> Study:
    """Return the phantom persons as a study; they are made by the arena itself."""
    subjects = tuple(
        Labelled(f"{number:03d}", cohort.name, {"cohort": cohort_json(cohort), "number": number, "size": SIZE})
        for cohort, count in ((HOME, LEARNERS + TUNERS + JUDGED), (AWAY, JUDGED))
        for number in range(count)
    )
    return Study(
        subjects,
        (),
        f"phantom: {LEARNERS} head slices of {SIZE} x {SIZE} to learn from, {JUDGED} others to be judged on",
    )


def make_arena(study: Study, options: Options, folder: Path, conditions: Sequence[str]) -> Arena:
    """Return the stacks that are needed for these conditions.

    Parameters
    ----------
    study : Study
        Persons; the data set with most of them is learned from.
    options : Options
        What the user chose.
    folder : Path
        The stacks are written below it.
    conditions : sequence of str
        Out of `TRAINED`, `NEW`, `OTHER` (every other data set) and the simulated shifts of new persons.
    """
    splits = _phantom_splits() if options.phantom else _data_splits(study)
    wanted = {"learning": ("learning", "none"), "tuning": ("tuning", "none")}
    for condition in conditions:
        if condition in (TRAINED, NEW):
            wanted[condition] = (condition, "none")
        elif condition == OTHER:
            wanted |= {name: (name, "none") for name in splits if name.startswith(OTHER)}
        else:
            wanted[condition] = (NEW, condition)
    units, places = [], []
    for name, (split, shift) in wanted.items():
        people = splits[split]
        if options.phantom:
            unit = _phantom_unit(name, people, shift, folder)
        else:
            unit = _data_unit(name, people, shift, folder, splits["learning"][0], options)
        units.append(unit)
        if name not in ("learning", "tuning"):
            places.append(Place(name, unit.arguments["path"], len(people)))
    return Arena(tuple(units), units[0].arguments["path"], units[1].arguments["path"], tuple(places))


def training_units(
    arena: Arena, options: Options, folder: Path, supervisions: Sequence[str], methods: Sequence[str]
) -> list[Unit]:
    """Return a unit per method, supervision and seed."""
    units = []
    for method in methods:
        for supervision in supervisions:
            for seed in options.seeds:
                arguments = {
                    "training": arena.training,
                    "tuning": arena.tuning,
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
                name = f"{competitor_name(method, supervision)}, seed {seed}"
                units.append(
                    Unit(f"train {name}", "learning:train_network", {**arguments, "folder": str(place)}, TRAIN)
                )
    return units


def judging_units(arena: Arena, options: Options, trained: Iterable[Unit]) -> list[Unit]:
    """Return units of a few pairs each for every engine, model and trained network under every condition."""
    entries: list[tuple[dict[str, Any], str, str]] = [
        ({"competitor": engine, "family": "classical", "seed": 0}, engine, "")
        for engine in usable_engines(options.engines)
    ]
    entries += [({"competitor": model, "family": "given model", "seed": 0}, "", model) for model in options.models]
    for unit in trained:
        about = unit.arguments
        family = "supervised" if about["supervision"] == LABELS else "unsupervised"
        name = competitor_name(about["method"], about["supervision"])
        entries.append(
            ({"competitor": name, "family": family, "seed": about["seed"]}, "", str(Path(about["folder"]) / "model"))
        )
    units = []
    for place in arena.places:
        pairs = drawn_pairs(place.count, options.pairs or PAIRS, seed=0)
        for about, engine, model in entries:
            for start in range(0, len(pairs), CHUNK):
                arguments = {
                    "stack": place.path,
                    "pairs": [list(pair) for pair in pairs[start : start + CHUNK]],
                    "engine": engine,
                    "model": model,
                    "about": {"condition": place.name, **about},
                    "threads": options.threads,
                }
                seed = f", seed {about['seed']}" if about["family"].endswith("supervised") else ""
                name = f"{about['competitor']}{seed} on {place.name}, part {start // CHUNK + 1}"
                units.append(Unit(name, "learning:judge", arguments, JUDGE))
    return units


def competitor_name(method: str, supervision: str) -> str:
    """Return how a trained network is shown."""
    return f"{method} + labels" if supervision == LABELS else method


def cohort_json(cohort: Cohort) -> dict[str, Any]:
    """Return a cohort as plain JSON values."""
    return {name: getattr(cohort, name) for name in cohort.__dataclass_fields__}


def _phantom_splits() -> dict[str, list[Any]]:
    last = LEARNERS + TUNERS
    return {
        "learning": [(HOME, number) for number in range(LEARNERS)],
        "tuning": [(HOME, number) for number in range(LEARNERS, last)],
        TRAINED: [(HOME, number) for number in range(JUDGED)],
        NEW: [(HOME, number) for number in range(last, last + JUDGED)],
        OTHER: [(AWAY, number) for number in range(JUDGED)],
    }


def _data_splits(study: Study) -> dict[str, list[Any]]:
    """Split the largest data set at random, the same way every time; the others are judged whole."""
    sizes = {name: [s for s in study.subjects if s.dataset == name] for name in study.datasets}
    home = max(sizes, key=lambda name: len(sizes[name]))
    people = [sizes[home][place] for place in np.random.default_rng(0).permutation(len(sizes[home]))]
    judged = min(JUDGED, max(3, len(people) // 4))
    tuners = min(TUNERS, max(2, len(people) // 10))
    if len(people) < judged + tuners + 4:
        raise RegistrationError(
            f"The data set '{home}' has {len(people)} labelled volumes; learning and judging need 9 at least.",
            hint="Give more data, or use --phantom.",
        )
    splits = {
        NEW: people[:judged],
        "tuning": people[judged : judged + tuners],
        "learning": people[judged + tuners :],
        TRAINED: people[judged + tuners :][:JUDGED],
    }
    for name, others in sizes.items():
        if name != home and len(others) > 1:
            splits[f"{OTHER}: {name}"] = others[:JUDGED]
    return splits


def _phantom_unit(name: str, people: Sequence[Any], shift: str, folder: Path) -> Unit:
    arguments = {
        "cohort": cohort_json(people[0][0]),
        "numbers": [number for _, number in people],
        "size": SIZE,
        "shift": shift,
        "protocols": list(PROTOCOLS),
    }
    return _prepare_unit(name, "stacks:prepare_phantom", arguments, folder)


def _data_unit(
    name: str, people: Sequence[Labelled], shift: str, folder: Path, first: Labelled, options: Options
) -> Unit:
    arguments = {
        "subjects": [dict(person.where) for person in people],
        "names": [person.key for person in people],
        "reference": dict(first.where),
        "spacing_mm": options.spacing_mm,
        "shift": shift,
        "threads": options.threads,
    }
    return _prepare_unit(name, "stacks:prepare_data", arguments, folder)


def _prepare_unit(name: str, work: str, arguments: Mapping[str, Any], folder: Path) -> Unit:
    """Return the unit; the digest in the file's name makes other options judge other stacks."""
    file = f"{''.join(c if c.isalnum() else '_' for c in name)}-{_digest(arguments)}.npz"
    return Unit(f"prepare {name}", work, {"path": str(folder / "stacks" / file), **arguments}, PREPARE)


def _digest(arguments: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:8]
