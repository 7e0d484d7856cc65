"""Common parts of the three experiments with networks: stages, notes, and claims from one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import SettingsError
from .base import ExperimentOptions
from .dataset import Study
from .design import EVALUATE, TRAINING_SUBJECTS, evaluation_tasks, make_design, training_tasks
from .findings import FAILS, HOLDS, UNDECIDED, Claim, p_text
from .scores import Scores
from .statistics import Test
from .tasks import Task, TaskResult, rows_of

RULE = (
    "holds when the first is better by the paired t-test and the Wilcoxon test (two-sided, 1 %) and the 95 % interval "
    "of the difference (subjects and seeds resampled) is above 0; fails when the same is true of the second"
)
DEFAULT_METHODS = ("voxelmorph",)
ALL_METHODS = ("all",)


def comparison_stages(
    study: Study, conditions: Sequence[str], supervisions: Sequence[str], options: ExperimentOptions, folder: Path
) -> list[list[Task]]:
    """Return the stages: prepared data, trainings, evaluation."""
    design = make_design(study, options, folder, conditions)
    trained = training_tasks(design, options, folder, chosen_methods(options, supervisions))
    return [list(design.tasks), trained, evaluation_tasks(design, options, trained)]


def chosen_methods(options: ExperimentOptions, supervisions: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (method, supervision) to train; 'all' means every method of the catalogue that predicts a field.

    Raises
    ------
    SettingsError
        When a given method supports none of these supervisions.
    """
    from ..networks.catalogue import field_methods, get_method

    every = options.methods == ALL_METHODS
    names = field_methods(2 if options.phantom else 3) if every else options.methods or DEFAULT_METHODS
    chosen = [(name, way) for name in names for way in supervisions if way in get_method(name).info.supervision]
    unable = [name for name in names if name not in {name for name, _ in chosen}]
    if unable and not every:
        raise SettingsError(
            f"This experiment trains with supervision {' and '.join(supervisions)}; {', '.join(unable)} cannot be "
            "trained so.",
            hint="See `dvcreg methods`, or use --methods all.",
        )
    return chosen


def scores_of(finished: Sequence[TaskResult]) -> Scores:
    """Return the scores of all tests."""
    return Scores(rows_of(finished, EVALUATE))


def verdict_of(test: Test | None) -> str:
    """Return the verdict by `RULE`."""
    if test is None:
        return UNDECIDED
    if test.winner == test.first and test.difference.low > 0:
        return HOLDS
    return FAILS if test.winner == test.second and test.difference.high < 0 else UNDECIDED


def test_claim(title: str, paper: str, test: Test | None, *, ours_alone: bool = False) -> Claim:
    """Return the claim that the first of a comparison is better."""
    return Claim(title, paper, in_words(test), RULE, verdict_of(test), ours_alone)


def in_words(test: Test | None) -> str:
    """Return a comparison in words."""
    if test is None:
        return "Nothing to compare."
    return (
        f"'{test.first}' minus '{test.second}': {test.difference.text()} Dice; p {p_sign(test.p_t)} (t), "
        f"p {p_sign(test.p_wilcoxon)} (Wilcoxon)."
    )


def p_sign(p: float) -> str:
    """Return a p value with its sign of relation."""
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"


def comparison_notes(options: ExperimentOptions) -> list[str]:
    """Return the limits of the comparison with the paper."""
    notes = [
        "The networks are small and trained briefly here; the paper evaluates five published systems trained for "
        "days on 364 brains. Their results may differ.",
        "The classical engines run their presets to convergence; both sides start from the same linear alignment and "
        "are measured by the same code.",
        "Pairs share subjects, so t and Wilcoxon p values (as in the paper) are too small; a verdict also needs the "
        "interval that resamples subjects and seeds.",
    ]
    if options.phantom:
        notes += [
            f"Phantom: axial slices of one analytic head, {TRAINING_SUBJECTS} training subjects who differ by smooth "
            "warps only. The networks work in 2D; the 3D engines get the slice as a slab of equal slices, where no "
            "force points out of the plane. The supervised labels are cortex sectors and discs in the white matter "
            "whose borders no intensity shows; the held-out labels are ventricles and deep nuclei.",
            "A subject's parcels are carried by the same warp as the visible tissue, so a classical engine is not at "
            "the disadvantage it has with a label protocol that folds of the cortex do not follow.",
        ]
    if len(options.seeds) < 3:
        notes.append("Fewer than three seeds: the variation between training runs is not known.")
    return notes
