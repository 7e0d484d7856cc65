"""The robust linear alignment from which all engines start: many starts, mutual information, quasi-Newton steps."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from ...device import Compute
from ...errors import RegistrationError
from ...pair import Pair
from ...progress import Progress
from ...transforms.affine import Affine, fit_affine
from ...transforms.transform import Transform
from ..base import EngineInfo, Recorder, Result
from ..engine_input import in_units
from ..searched_start import given_start
from .confidence import LinearConfidence, judge
from .levels import LinearRun, prepare
from .search import PoseSearchResult, Refined, refine, search, search_widely
from .settings import LinearSettings

SMALLER_VIEW = 0.6


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
        interruptible=True,
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
