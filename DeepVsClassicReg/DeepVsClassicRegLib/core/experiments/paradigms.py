"""Figures 2 and 3 of the paper: classical engines against networks trained without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .base import ExperimentOptions
from .dataset import Study
from .design import NEW, NONE, TRAINED, phantom_study
from .findings import Claim, Findings, by_most, by_tests, test_table
from .network_comparison import comparison_notes, comparison_stages, scores_of, test_claim
from .tasks import Task, TaskResult

MARGIN = 0.02
CONDITIONS = (NEW, TRAINED)


def default_study() -> Study:
    """Return the phantom subjects."""
    return phantom_study()


def stages(study: Study, options: ExperimentOptions, folder: Path) -> list[list[Task]]:
    """Return prepared data, trainings without labels, and evaluation on training and new subjects."""
    return comparison_stages(study, CONDITIONS, (NONE,), options, folder)


def findings(finished: Sequence[TaskResult], study: Study, options: ExperimentOptions) -> Findings:
    """Return boxes, tests and claims."""
    scores = scores_of(finished)
    engines = scores.of_family("classical")
    networks = [*scores.of_family("unsupervised"), *scores.of_family("given model")]
    tests = scores.tests(CONDITIONS, engines, networks)
    new = [test for condition, test in tests if condition == NEW]
    won = sum(test.winner == test.first for test in new)
    lost = sum(test.winner == test.second for test in new)
    claims = [
        Claim(
            "Without labels, classical engines are better than networks.",
            "Nearly all comparisons of five classical with six unsupervised methods favor the classical one at p < "
            "0.01 (Fig. 2); Dice 0.776 to 0.802 against 0.748 to 0.788 on OASIS (Fig. 3).",
            f"New subjects: of {len(new)} comparisons of an engine with a network the engine wins {won}, the "
            f"network {lost}.",
            "holds when engines win two thirds of the comparisons (both tests, 1 %) and lose none; fails when "
            "the networks do",
            by_tests(new),
        ),
        test_claim(
            "The best classical engine is better than the best network trained without labels.",
            "The best of all is a network (TransMorph, median Dice), Greedy follows without a significant difference "
            "(p = 0.573 on validation pairs).",
            scores.test(NEW, scores.best(NEW, engines), scores.best(NEW, networks)),
            ours_alone=True,
        ),
    ]
    for network in scores.of_family("unsupervised"):
        if engines:
            gap = scores.gap(TRAINED, NEW, network, engines[0])
            claims.append(
                Claim(
                    f"Trained without labels, '{network}' does not do better on the subjects it was trained on.",
                    "Unsupervised networks show no gain on training images (Fig. 2).",
                    f"Its lead over '{engines[0]}' is {gap.text()} Dice larger on training than on new subjects.",
                    f"holds when the 95 % interval of that difference is below {MARGIN}; fails when it is all above",
                    by_most(gap, MARGIN),
                )
            )
    return Findings(
        title="Are classical engines better than networks trained without labels?",
        figure_of_paper="Figures 2 and 3",
        summary=f"{study.source}. {len(engines)} classical engines, {len(networks)} networks, "
        f"{len(options.seeds)} seeds per training.",
        claims=claims,
        tables=[scores.table(), test_table("tests", "Every comparison", tests)],
        drawings=[scores.boxes("paradigms", "Dice of all methods", "Boxes: quartiles over pairs, best median first.")],
        notes=[
            *comparison_notes(options),
            "The best of several is selected on the same pairs as the comparison, which slightly favors both sides.",
            "Figure 3 puts published numbers of baselines beside re-runs on OASIS; absolute Dice of other data cannot "
            "be compared with it.",
        ],
    )
