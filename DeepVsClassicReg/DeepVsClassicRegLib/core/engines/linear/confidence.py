"""Confidence of the linear alignment and its notes for the user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...result import DOUBTFUL_CONFIDENCE, FAILED_CONFIDENCE
from ...transforms.affine import Affine
from .levels import SampledLevel
from .optimize import rotation_matrix, score

Array = npt.NDArray[np.floating]
POSES = 40
SAME_POSE = 0.06
WIDE_HANDICAP = 1.0
# Logistic weights. Correct alignments of the visible pairs have contrast 18..60, sharpness 0.34..0.6, agreement
# 0.57..1; impossible pairs (brain to lung, ...) 2..10, 0.02..0.25 (one 0.4) and 0..0.3.
CONTRAST_MIDDLE, SHARPNESS_MIDDLE, AGREEMENT_MIDDLE = 13.0, 0.28, 0.45


@dataclass(frozen=True)
class LinearConfidence:
    """The evidence for an alignment.

    Attributes
    ----------
    confidence : float
        0 (wrong) to 1.
    contrast : float
        Difference to the mean score of random poses, in their standard deviations.
    sharpness : float
        Fraction of the score lost by a small perturbation of the pose.
    agreement : float or None
        Fraction of the starts that converge to this pose; None when there is only one.
    overlap : float
        Fraction of the smaller object inside both fields of view.
    """

    confidence: float
    contrast: float
    sharpness: float
    agreement: float | None
    overlap: float

    @property
    def failed(self) -> bool:
        """Whether the pose is no better than chance."""
        return self.confidence < FAILED_CONFIDENCE

    @property
    def doubtful(self) -> bool:
        """Whether the user should check the result before using it."""
        return self.confidence < DOUBTFUL_CONFIDENCE

    def notes(self) -> list[str]:
        """Return the notes for the user."""
        percent = f"{100 * self.confidence:.0f} %"
        if self.failed:
            return [
                f"The linear alignment probably failed (confidence {percent}): no pose matches clearly better than "
                "chance. Check that both volumes show the same body part, or use an initial transform or landmarks."
            ]
        if self.doubtful:
            return [f"The linear alignment is uncertain (confidence {percent}); check the overlay before using it."]
        if self.overlap < 0.3:
            return [f"Only {100 * self.overlap:.0f} % of the smaller object is visible in both volumes."]
        return []


def judge(
    level: SampledLevel,
    final: Affine,
    *,
    rigid: Affine,
    ends: list[Affine],
    probes: Array,
    size_mm: float,
    seed: int,
    wide: bool = False,
) -> LinearConfidence:
    """Compare the final pose with perturbed and random poses and with the end poses of the other starts.

    Parameters
    ----------
    level : SampledLevel
        A coarse level.
    final, rigid : Affine
        The result and the rigid pose before its refinement.
    ends : list of Affine
        End pose of the coarse optimization of each start; empty when there is only one start.
    probes : (N, 3) array
        Fixed points in LPS mm at which poses are compared.
    size_mm : float
        Edge length of the smaller field of view.
    seed : int
        Seed of the random poses.
    wide : bool
        Whether all orientations were tried, with less agreement and more matches by chance.
    """
    here = score(level, final)
    if here.value <= 0:
        return LinearConfidence(0.0, 0.0, 0.0, None, here.overlap)
    random = np.random.default_rng(seed)
    near, far = [], []
    for _ in range(POSES):
        small = _disturbance(level.center, random, angle=0.15, shift_mm=0.06 * size_mm)
        large = _disturbance(level.center, random, angle=np.pi * random.uniform(0.3, 1), shift_mm=0.15 * size_mm)
        near.append(score(level, small.then(final)).value)
        far.append(score(level, large.then(final)).value)
    contrast = (here.value - float(np.mean(far))) / max(float(np.std(far)), 1e-3 * here.value)
    sharpness = 1 - float(np.mean(near)) / here.value
    agreement = None
    evidence = 2 * np.log2(max(contrast, 1e-3) / CONTRAST_MIDDLE) + 18 * (sharpness - SHARPNESS_MIDDLE)
    if wide:
        evidence -= WIDE_HANDICAP
    elif len(ends) > 1:
        target = rigid.apply(probes)
        apart = [np.sqrt(((end.apply(probes) - target) ** 2).sum(axis=1).mean()) for end in ends]
        agreement = float(np.mean(np.array(apart) < SAME_POSE * size_mm))
        evidence += 4 * (agreement - AGREEMENT_MIDDLE)
    confidence = 1 / (1 + np.exp(-0.6 * np.clip(evidence, -15, 15)))
    trust = min(1.0, here.overlap / 0.2)
    return LinearConfidence(float(confidence * trust), contrast, sharpness, agreement, here.overlap)


def _disturbance(center: npt.ArrayLike, random: np.random.Generator, *, angle: float, shift_mm: float) -> Affine:
    axis, way = random.normal(size=3), random.normal(size=3)
    turn = rotation_matrix(angle * axis / np.linalg.norm(axis))
    return Affine.about(turn, center, shift_mm * way / np.linalg.norm(way))
