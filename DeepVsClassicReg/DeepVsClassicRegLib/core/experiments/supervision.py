"""Figure 4 of the paper: what labels in training bring, and how much of it is left on new persons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .arena import LABELS, NEW, NONE, TRAINED, phantom_study
from .base import Options
from .board import Board
from .contest import board_of, contest_notes, contest_stages, test_claim
from .dataset import Study
from .findings import Claim, Findings, by_sign, test_table
from .units import Finished, Unit

CONDITIONS = (TRAINED, NEW)


def default_study() -> Study:
    """Return the phantom persons."""
    return phantom_study()


def stages(study: Study, options: Options, folder: Path) -> list[list[Unit]]:
    """Return stacks, trainings with and without labels, and judging on training and new persons."""
    return contest_stages(study, CONDITIONS, (NONE, LABELS), options, folder)


def findings(finished: Sequence[Finished], study: Study, options: Options) -> Findings:
    """Return boxes, tests and claims."""
    board = board_of(finished)
    engines = board.of_family("classical")
    tests = [
        (condition, test)
        for condition in CONDITIONS
        for first in board.of_family("supervised")
        for second in [*engines, *board.of_family("unsupervised")]
        if (test := board.test(condition, first, second)) is not None
    ]
    tables = [board.table(), test_table("tests", "Every comparison", tests)]
    if any(row["dice_held_out"] is not None for row in board.rows):
        tables.insert(1, board.table("dice_held_out"))
    return Findings(
        title="Do labels in training help?",
        figure_of_paper="Figure 4",
        summary=f"{study.source}. The same network trained with and without labels, {len(options.seeds)} seeds each.",
        claims=_claims(board, engines),
        tables=tables,
        drawings=[
            board.boxes(
                "supervision",
                "Dice of the labels that training may use",
                "Left the persons the networks were trained on, right new ones. Boxes: quartiles over pairs, "
                "best median first.",
            )
        ],
        notes=contest_notes(options),
    )


def _claims(board: Board, engines: Sequence[str]) -> list[Claim]:
    first = engines[0] if engines else ""
    claims = []
    for taught in board.of_family("supervised"):
        plain = taught.removesuffix(" + labels")
        claims.append(
            test_claim(
                f"On new persons of the same data, '{taught}' is better than the classical engine '{first}'.",
                "LKU-Net, LapIRN and TransMorph trained with Dice beat all classical methods, p < 0.01 (Fig. 4).",
                board.test(NEW, taught, first),
            )
        )
        claims.append(
            test_claim(
                f"On new persons, labels in training make '{plain}' better.",
                "0.788 without labels (LapIRN), 0.855 (TransMorph) and 0.904 (LKU-Net) with labels on OASIS (Fig. 3).",
                board.test(NEW, taught, plain),
            )
        )
        gap = board.gap(TRAINED, NEW, taught, plain)
        claims.append(
            Claim(
                "Training with labels overfits: the gain is larger on the persons it was trained on.",
                "A clear gap between training and validation images with labels (Fig. 4), none without (Fig. 2).",
                f"The lead of '{taught}' over '{plain}' is {gap.text()} Dice larger on training than on new persons.",
                "holds when the 95 % interval (persons and seeds resampled) is above 0; fails when it is below 0",
                by_sign(gap),
            )
        )
        held = board.test(NEW, plain, taught, "dice_held_out")
        if held is not None:
            claims.append(
                test_claim(
                    "Labels in training cost accuracy on labels that were not among them.",
                    "Not tested; the paper says that gains do not transfer to other label collections.",
                    held,
                    ours_alone=True,
                )
            )
    return claims
