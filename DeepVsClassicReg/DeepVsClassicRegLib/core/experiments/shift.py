"""Figure 5 of the paper: networks and engines on images unlike the training images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .base import ExperimentOptions
from .dataset import Study
from .design import LABELS, NEW, NONE, OTHER, SIMULATED, phantom_study
from .findings import FAILS, HOLDS, UNDECIDED, Claim, Findings, test_table
from .network_comparison import comparison_notes, comparison_stages, in_words, scores_of, test_claim
from .prepared_data import SHIFTS
from .scores import Scores
from .statistics import Test
from .tasks import Task, TaskResult

CONDITIONS = (NEW, *SIMULATED, OTHER)
PAPER = (
    "On four other brain data sets only FireANTs and ANTs lead everywhere; supervised networks, the best at home, are "
    "usually last (Fig. 5)."
)


def default_study() -> Study:
    """Return the phantom subjects."""
    return phantom_study()


def stages(study: Study, options: ExperimentOptions, folder: Path) -> list[list[Task]]:
    """Return prepared data, trainings with and without labels, and evaluation on new, shifted and other images."""
    return comparison_stages(study, CONDITIONS, (NONE, LABELS), options, folder)


def findings(finished: Sequence[TaskResult], study: Study, options: ExperimentOptions) -> Findings:
    """Return boxes, tests and claims."""
    scores = scores_of(finished)
    engines = scores.of_family("classical")
    networks = [name for name in scores.families if name not in engines]
    tests = scores.tests(scores.conditions, engines, networks)
    words = "; ".join(f"{name}: {text}" for name, text in SHIFTS.items() if name != "none")
    return Findings(
        title="Does the gain persist on images unlike the training images?",
        figure_of_paper="Figure 5",
        summary=f"{study.source}. Trained on one data set, tested on shifted images ({words}) and on other data; "
        f"{len(options.seeds)} seeds per training.",
        claims=_claims(scores, engines),
        tables=[scores.table(), test_table("tests", "Every comparison", tests)],
        drawings=[
            scores.boxes(
                "shift",
                "Dice under every condition",
                "The first panel is the training data set. Boxes: quartiles over pairs, best median first.",
            )
        ],
        notes=[
            *comparison_notes(options),
            "The shifts inverted, gamma and noise are simulated on both images of a pair; the paper's are real "
            "data sets.",
        ],
    )


def _claims(scores: Scores, engines: Sequence[str]) -> list[Claim]:
    claims = []
    first = engines[0] if engines else ""
    away = [condition for condition in scores.conditions if condition != NEW]
    for taught in scores.of_family("supervised"):
        plain = taught.removesuffix(" + labels")
        against = [scores.test(condition, first, taught) for condition in away]
        claims.append(_hierarchy(scores, taught, first, away, against))
        for condition, test in zip(away, against, strict=True):
            claims.append(
                test_claim(f"On '{condition}' the classical engine '{first}' is better than '{taught}'.", PAPER, test)
            )
        worse = [scores.test(condition, plain, taught) for condition in away]
        better = sum(test is not None and test.winner == taught for test in worse)
        claims.append(
            Claim(
                f"Away from the training data, '{taught}' is not better than '{plain}' trained without labels.",
                "Supervised networks do about as well as or worse than their own unsupervised variants (Fig. 5).",
                " ".join(f"{condition}: {in_words(test)}" for condition, test in zip(away, worse, strict=True)),
                "holds when the one with labels is significantly better (both tests, 1 %) under none of the "
                "conditions; fails when it is under most of them",
                HOLDS if better == 0 else FAILS if 2 * better > len(away) else UNDECIDED,
            )
        )
    return claims


def _hierarchy(scores: Scores, taught: str, first: str, away: Sequence[str], against: Sequence[Test | None]) -> Claim:
    """Test the paper's summary: supervised in domain > classical > supervised out of domain."""
    home = scores.test(NEW, taught, first)
    home_won = home is not None and home.winner == taught
    home_lost = home is not None and home.winner == home.second
    won = sum(test is not None and test.winner == test.first for test in against)
    lost = sum(test is not None and test.winner == test.second for test in against)
    holds = home_won and won == len(away)
    return Claim(
        "Supervised is better than classical on the training data set, classical is better elsewhere.",
        "'Observed: SupDL-ID > Classical > SupDL-OOD' (section 6).",
        f"At home: {in_words(home)} Elsewhere '{first}' wins {won} of {len(away)} conditions and loses {lost}.",
        "holds when '" + taught + "' wins at home and '" + first + "' wins under every other condition (both tests, "
        "1 %); fails when '" + taught + "' loses at home or wins under most of the others",
        HOLDS if holds else FAILS if home_lost or 2 * lost > len(away) else UNDECIDED,
    )
