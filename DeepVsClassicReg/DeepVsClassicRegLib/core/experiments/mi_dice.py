"""Figure 1 of the paper: prediction of the Dice of a classical engine by mutual information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.evaluate import evaluate
from ..pair import Pair
from ..phantom.population import Cohort
from ..recommendation.mutual_information import mutual_information
from .base import ExperimentOptions, registered, usable_engines
from .dataset import Labeled, LabeledPair, Study
from .findings import Findings
from .tasks import Task, TaskResult

IMAGE, PAIR = "image", "pair"
SIZE, SUBJECTS = 40, 6
# Four data sets as different as those of the paper: the information on labels decreases from first to last.
COHORTS = (
    Cohort("clear", noise=0.02, protocol="tissues", seed=1),
    Cohort("fine", noise=0.04, protocol="structures", seed=2),
    Cohort("faint", {"cortex": 0.62, "white": 0.8, "deep": 0.7}, noise=0.09, protocol="structures", seed=3),
    Cohort("parcels", noise=0.05, protocol="parcels", seed=4),
)


def default_study() -> Study:
    """Return the subjects of the four phantom data sets."""
    subjects = tuple(
        Labeled(f"{number:02d}", cohort.name, {"cohort": asdict(cohort), "number": number, "size": SIZE})
        for cohort in COHORTS
        for number in range(SUBJECTS)
    )
    return Study(subjects, (), f"phantom: {len(COHORTS)} data sets of {SUBJECTS} heads, {SIZE}^3 voxels")


def stages(study: Study, options: ExperimentOptions, folder: Path) -> list[list[Task]]:
    """Return a task per image and one per pair and engine."""
    del folder
    cases = study.cases(most=options.pairs)
    subjects = {subject.key: subject for case in cases for subject in (case.fixed, case.moving)}
    known = _stored(options)
    images = [
        Task(f"image {key}", "mi_dice:measure_image", {"where": dict(subject.where)}, IMAGE)
        for key, subject in subjects.items()
    ]
    pairs = [
        _pair_task(case, engine, options.threads)
        for engine in _engines(options)
        for case in cases
        if (case.name, engine) not in known
    ]
    return [images + pairs]


def measure_image(where: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the mutual information of the intensities of an image and its labels."""
    volume, labels = Labeled("", "", where).load()
    found = mutual_information(volume, labels)
    per_label = {
        str(label.label): {
            "nats": label.information.nats,
            "share": label.information.uncertainty_coefficient,
            "volume_mm3": label.volume_mm3,
        }
        for label in found.labels
    }
    whole, inside = found.whole, found.foreground
    return [
        {
            "whole": whole.nats,
            "foreground": inside.nats,
            "whole_share": whole.uncertainty_coefficient,
            "foreground_share": inside.uncertainty_coefficient,
            "label_entropy": whole.entropy,
            "label_count": len(found.labels),
            "labels": per_label,
        }
    ]


def measure_pair(
    fixed: Mapping[str, Any], moving: Mapping[str, Any], engine: str, scored: Sequence[int], threads: int
) -> list[dict[str, Any]]:
    """Register a pair and return its Dice before and after, mean and per label."""
    first, second = Labeled("", "", fixed).load(), Labeled("", "", moving).load()
    pair = Pair(first[0], second[0], fixed_labels=first[1], moving_labels=second[1])
    transform = registered(pair, engine, threads=threads)
    found = evaluate(pair, transform, labels=scored or None, measures=("overlap",), threads=threads)
    per_label = {str(label): value for label, value in found.after["dice_per_label"].items()}
    return [{"dice": found.after["dice_mean"], "dice_before": found.before["dice_mean"], "labels": per_label}]


def findings(finished: Sequence[TaskResult], study: Study, options: ExperimentOptions) -> Findings:
    """Return the correlations and those of the paper."""
    from .mi_dice_findings import make_findings

    images, points = tables(finished, study, options)
    return make_findings(images, points, _engines(options), study, options)


def tables(
    finished: Sequence[TaskResult], study: Study, options: ExperimentOptions
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return image key -> its measures, and one row per pair and engine."""
    images = {
        entry.task.removeprefix("image "): {"dataset": "", **entry.rows[0]}
        for entry in finished
        if entry.group == IMAGE and entry.rows
    }
    answers = {entry.task: entry.rows[0] for entry in finished if entry.group == PAIR and entry.rows}
    known = _stored(options)
    points = []
    for case in study.cases(most=options.pairs):
        for subject in (case.fixed, case.moving):
            if subject.key in images:
                images[subject.key]["dataset"] = subject.dataset
        for engine in _engines(options):
            answer = answers.get(_task_name(case, engine)) or known.get((case.name, engine))
            if answer is not None and case.fixed.key in images and case.moving.key in images:
                points.append(_point(case, engine, answer, images))
    return images, points


def _point(
    case: LabeledPair, engine: str, answer: Mapping[str, Any], images: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    fixed, moving = images[case.fixed.key], images[case.moving.key]
    names = ("whole", "foreground", "whole_share", "foreground_share")
    return {
        "case": case.name,
        "dataset": case.dataset,
        "engine": engine,
        "fixed": case.fixed.key,
        "moving": case.moving.key,
        "multimodal": case.multimodal,
        "dice": float(answer["dice"]),
        **{f"{name}_fixed": fixed[name] for name in names},
        **{f"{name}_pair": float(np.mean([fixed[name], moving[name]])) for name in names},
        "labels": answer.get("labels") or answer.get("dice_per_label") or {},
    }


def _stored(options: ExperimentOptions) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return (case, engine) -> stored run, preferably with Dice per label; other label protocols are skipped."""
    own = [run for run in options.runs if run.get("dice") is not None and "fixed_label" not in run]
    own.sort(key=lambda run: "dice_per_label" in run)
    return {(run["case"], run["engine"]): run for run in own}


def _engines(options: ExperimentOptions) -> tuple[str, ...]:
    """Return the engines of the experiment; one suffices for the paper's figure."""
    return usable_engines(options.engines) if options.engines else usable_engines(())[:1]


def _pair_task(case: LabeledPair, engine: str, threads: int) -> Task:
    arguments = {
        "fixed": dict(case.fixed.where),
        "moving": dict(case.moving.where),
        "engine": engine,
        "scored": list(case.scored),
        "threads": threads,
    }
    return Task(_task_name(case, engine), "mi_dice:measure_pair", arguments, PAIR)


def _task_name(case: LabeledPair, engine: str) -> str:
    return f"{engine} on {case.name}"
