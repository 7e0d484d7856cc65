"""Refining a pose: rigid, then with more freedom, coarse to fine, guarded against implausible stretches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..transforms.affine import Affine
from .linear_optimize import KINDS, Climb, climb
from .linear_score import score
from .linear_work import Work


@dataclass(frozen=True, eq=False)
class Refined:
    """The map and the freedom it ended with ('rigid', 'similarity' or 'affine')."""

    transform: Affine
    kind: str


def refine(work: Work, start: Affine) -> Refined:
    """Return the refined map; a step that does not help or stretches too much is undone and noted."""
    wanted = work.settings.kind
    steps = KINDS[: KINDS.index(wanted) + 1]
    here, kept = Refined(start, "rigid"), start
    for number, kind in enumerate(steps):
        part = work.progress.part(0.4 + 0.5 * number / len(steps), 0.4 + 0.5 * (number + 1) / len(steps))
        levels = work.finer if kind == wanted else work.finer[:1]
        end: Climb | None = None
        kept = here.transform
        for count, level in enumerate(levels):
            part.report(count / len(levels), f"{kind.capitalize()} alignment, resolution {count + 1} of {len(levels)}")
            end = climb(
                level,
                kept,
                kind=kind,
                iterations=work.settings.iterations,
                stiffness=0 if kind == "rigid" else work.settings.stiffness,
                watch=work.watch(kind.capitalize()),
            )
            kept = end.pose.affine
        if end is not None and _acceptable(work, kind, here, end):
            here = Refined(kept, kind)
    return here


def _acceptable(work: Work, kind: str, before: Refined, end: Climb) -> bool:
    if kind == "rigid":
        return True
    last = kind == work.settings.kind
    stretch = float(np.exp(np.abs(np.linalg.eigvalsh(end.pose.log_stretch)).max()))
    if stretch > work.settings.largest_scale:
        reason = f"stretched by a factor of {stretch:.2f}, more than the {work.settings.largest_scale:g} allowed"
    elif end.score.value <= score(work.finer[-1 if last else 0], before.transform).value:
        reason = "did not improve the match"
    else:
        return True
    if last:
        work.recorder.notes.append(f"The {kind} step {reason}; the {before.kind} alignment was kept.")
    return False
