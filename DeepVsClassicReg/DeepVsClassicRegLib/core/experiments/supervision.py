"""Figure 4 of the paper: the gain of labels in training, and its generalization to new subjects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .base import ExperimentOptions
from .dataset import Study
from .design import LABELS, NEW, NONE, TRAINED, phantom_study
from .findings import Claim, Findings, by_sign, test_table
from .network_comparison import comparison_notes, comparison_stages, scores_of, test_claim
from .scores import Scores
from .tasks import Task, TaskResult

CONDITIONS = (TRAINED, NEW)


def default_study() -> Study:
    """Return the phantom subjects."""
    return phantom_study()


def stages(study: Study, options: ExperimentOptions, folder: Path) -> list[list[Task]]:
    """Return prepared data, trainings with and without labels, and evaluation on training and new subjects."""
    return comparison_stages(study, CONDITIONS, (NONE, LABELS), options, folder)


def findings(finished: Sequence[TaskResult], study: Study, options: ExperimentOptions) -> Findings:
    """Return boxes, tests and claims."""
    scores = scores_of(finished)
    engines = scores.of_family("classical")
    tests = scores.tests(CONDITIONS, scores.of_family("supervised"), [*engines, *scores.of_family("unsupervised")])
    tables = [scores.table(), test_table("tests", "Every comparison", tests)]
    if any(row["dice_held_out"] is not None for row in scores.rows):
        tables.insert(1, scores.table("dice_held_out"))
    return Findings(
        title="Do labels in training help?",
        figure_of_paper="Figure 4",
        summary=f"{study.source}. The same network trained with and without labels, {len(options.seeds)} seeds each.",
        claims=_claims(scores, engines),
        tables=tables,
        drawings=[
            scores.boxes(
                "supervision",
                "Dice of the labels available for training",
                "Left the subjects the networks were trained on, right new ones. Boxes: quartiles over pairs, "
                "best median first.",
            )
        ],
        notes=comparison_notes(options),
    )


def _claims(scores: Scores, engines: Sequence[str]) -> list[Claim]:
    first = engines[0] if engines else ""
    claims = []
    for taught in scores.of_family("supervised"):
        plain = taught.removesuffix(" + labels")
        claims.append(
            test_claim(
                f"On new subjects of the same data, '{taught}' is better than the classical engine '{first}'.",
                "LKU-Net, LapIRN and TransMorph trained with Dice beat all classical methods, p < 0.01 (Fig. 4).",
                scores.test(NEW, taught, first),
            )
        )
        claims.append(
            test_claim(
                f"On new subjects, labels in training make '{plain}' better.",
                "0.788 without labels (LapIRN), 0.855 (TransMorph) and 0.904 (LKU-Net) with labels on OASIS (Fig. 3).",
                scores.test(NEW, taught, plain),
            )
        )
        gap = scores.gap(TRAINED, NEW, taught, plain)
        claims.append(
            Claim(
                "Training with labels overfits: the gain is larger on the subjects it was trained on.",
                "A clear gap between training and validation images with labels (Fig. 4), none without (Fig. 2).",
                f"The lead of '{taught}' over '{plain}' is {gap.text()} Dice larger on training than on new subjects.",
                "holds when the 95 % interval (subjects and seeds resampled) is above 0; fails when it is below 0",
                by_sign(gap),
            )
        )
        held = scores.test(NEW, plain, taught, "dice_held_out")
        if held is not None:
            claims.append(
                test_claim(
                    "Labels in training reduce the accuracy on other labels.",
                    "Not tested; the paper says that gains do not transfer to other label collections.",
                    held,
                    ours_alone=True,
                )
            )
    return claims
