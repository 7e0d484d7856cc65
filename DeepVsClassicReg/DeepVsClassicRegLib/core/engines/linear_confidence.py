"""How sure the linear alignment may be of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..transforms.affine import Affine
from .linear_sampling import Level
from .linear_score import score


@dataclass(frozen=True)
class Verdict:
    """Confidence (0 to 1) and what to tell the user."""

    confidence: float
    notes: tuple[str, ...] = ()


def judge(level: Level, final: Affine, ends: list[tuple[Affine, float]], seed: int) -> Verdict:
    """Judge the final map."""
    here = score(level, final)
    return Verdict(float(np.clip(here.information, 0, 1)))
