"""The robust linear alignment from which all engines start, its confidence and its notes for the user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...device import Compute
from ...errors import RegistrationError
from ...pair import Pair
from ...progress import Progress
from ...result import DOUBTFUL_CONFIDENCE, FAILED_CONFIDENCE
from ...transforms.transform import Affine, Transform, fit_affine
from ..base import EngineInfo, Recorder, Result
from ..engine_input import given_start, in_units
from .levels import LinearRun, SampledLevel, prepare
from .optimize import rotation_matrix, score
from .search import PoseSearchResult, Refined, refine, search, search_widely
from .settings import LinearSettings

Array = npt.NDArray[np.floating]
POSES = 40
SAME_POSE = 0.06
WIDE_HANDICAP = 1.0
# Logistic weights. Correct alignments of the visible pairs have contrast 18..60, sharpness 0.34..0.6, agreement
# 0.57..1; impossible pairs (brain to lung, ...) 2..10, 0.02..0.25 (one 0.4) and 0..0.3.
CONTRAST_MIDDLE, SHARPNESS_MIDDLE, AGREEMENT_MIDDLE = 13.0, 0.28, 0.45
SMALLER_VIEW = 0.6


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


class LinearEngine:
    """Rigid, similarity or affine alignment by mutual information."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="linear",
        title="Linear alignment",
        summary="Robust rigid to affine alignment by mutual information from many starts, for any modality.",
        family="linear",
        settings=LinearSettings,
        citation="Mattes et al., IEEE TMI 22(1):120-128, 2003, doi 10.1109/TMI.2003.809072",
        uses_annotations=True,
        uses_masks=True,
        starts_linear=False,
        multimodal=True,
    )

    def run(self, pair: Pair, settings: LinearSettings, progress: Progress, compute: Compute) -> Result:
        """Align the pair.

        A linear `pair.initial` (or, with `use_landmarks`, the landmarks) is the only start. A deformable initial
        transform is not supported, because a linear step after it cannot be separated. The engine uses one thread, so
        that the transform depends on the seed alone.

        Raises
        ------
        RegistrationError
            When the initial transform is not linear or has a reflection, or required landmarks are missing.
        """
        recorder = Recorder(compute)
        pair, unit = in_units(pair)
        # Points are sampled in the smaller field of view, because few points of the larger one are inside it.
        swapped = _view_mm3(pair, "moving") < SMALLER_VIEW * _view_mm3(pair, "fixed")
        given = _given(pair, settings, recorder)
        seen = _swapped(pair) if swapped else pair
        with recorder.stage("Linear starts"):
            work = prepare(seen, settings, progress, recorder, compute.seed)
            found = search(work) if given is None else PoseSearchResult(given.inverse() if swapped else given)
        with recorder.stage("Linear refinement"):
            refined = refine(work, found.start)
        progress.report(0.92, "Linear alignment: estimating the confidence")
        with recorder.stage("Linear confidence"):
            verdict = _judged(work, found, refined, compute.seed)
        if verdict.doubtful and settings.wide_search and given is None:
            found, refined, verdict = _rescued(work, found, refined, verdict, compute.seed)
        recorder.confidence = verdict.confidence
        recorder.notes.extend(verdict.notes())
        final, how = refined.transform, f"{refined.kind} alignment converged"
        if verdict.failed and settings.fall_back and found.anchor is not None:
            final, how = found.anchor.transform, f"start kept: {found.anchor.name}"
            recorder.notes.append(f"Therefore only this start is used: {found.anchor.name}.")
        progress.report(1.0, "Linear alignment done")
        transform = Transform((final.inverse() if swapped else final,)).scaled(unit)
        return Result(transform, recorder.diagnostics(how), start=transform)


def _rescued(
    work: LinearRun, found: PoseSearchResult, refined: Refined, verdict: LinearConfidence, seed: int
) -> tuple[PoseSearchResult, Refined, LinearConfidence]:
    """Try all orientations; keep the result only when its confidence is high."""
    work = replace(work, progress=work.progress.part(0.93, 0.99))
    with work.recorder.stage("Linear wide search"):
        work.progress.report(0.0, "Linear alignment: no reliable match yet, trying all orientations")
        wide = search_widely(work, seed)
        outcome = refine(work, wide.start)
        second = _judged(work, wide, outcome, seed, wide=True)
    if second.doubtful or second.confidence <= verdict.confidence:
        return found, refined, verdict
    work.recorder.notes.append("The match was found by trying all orientations; the headers seem to be wrong.")
    return wide, outcome, second


def _judged(
    work: LinearRun, found: PoseSearchResult, refined: Refined, seed: int, *, wide: bool = False
) -> LinearConfidence:
    return judge(
        work.levels[0],
        refined.transform,
        rigid=found.start,
        ends=list(found.ends),
        probes=work.probes,
        size_mm=work.size_mm,
        seed=seed,
        wide=wide,
    )


def _view_mm3(pair: Pair, side: str) -> float:
    return float(np.prod(getattr(pair, side).grid.extent_mm))


def _swapped(pair: Pair) -> Pair:
    return Pair(pair.moving, pair.fixed, fixed_mask=pair.moving_mask, moving_mask=pair.fixed_mask)


def _given(pair: Pair, settings: LinearSettings, recorder: Recorder) -> Affine | None:
    """Return the start given by the user, None when it must be searched."""
    if pair.initial is not None:
        return given_start(pair, "The linear alignment")
    if not settings.use_landmarks:
        return None
    if pair.fixed_points is None or pair.moving_points is None:
        raise RegistrationError("'use_landmarks' is set but the pair has no landmarks.", hint="Add landmarks.")
    recorder.notes.append("Landmarks were used for the start, so their error does not evaluate this result.")
    return fit_affine(pair.fixed_points, pair.moving_points)
