"""Searches the best pose from many starts, then refines it with more degrees of freedom, coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...transforms.affine import Affine
from .levels import LinearRun
from .optimize import Climb, climb, score
from .settings import KINDS
from .starts import (
    LEAST_PLAUSIBLE,
    CandidatePose,
    axis_starts,
    center_starts,
    distinct,
    header_start,
    mask_starts,
    moment_starts,
    plausibility,
    translation_starts,
    turn_starts,
    wide_starts,
)

NEARLY_BEST = 0.8
FINALISTS = 3
WIDE_STARTS = 80
WIDE_REFINED = 16
# When the headers have not led to a reliable match, they get less weight.
WIDE_LEAST_PLAUSIBLE = 0.85
DISTINCT_STARTS = 0.06
DISTINCT_ENDS = 0.03


@dataclass(frozen=True, eq=False)
class PoseSearchResult:
    """The result of the search.

    Attributes
    ----------
    start : Affine
        The rigid pose to refine.
    ends : tuple of Affine
        End pose of every optimized start.
    anchor : CandidatePose or None
        The best of the simple starts (headers, centers), used when no other pose is reliable.
    """

    start: Affine
    ends: tuple[Affine, ...] = ()
    anchor: CandidatePose | None = None


def search(work: LinearRun) -> PoseSearchResult:
    """Return the best rigid pose over all starts selected by the settings."""
    return _best_of(work, _candidates(work), work.settings.refined_starts, LEAST_PLAUSIBLE)


def search_widely(work: LinearRun, seed: int) -> PoseSearchResult:
    """Return the best rigid pose over all orientations; several times slower than `search`."""
    starts = [header_start(), *center_starts(work.coarse_fixed, work.levels[0].moving)]
    middle = work.pair.fixed.grid.center_mm
    for number, start in enumerate(starts[1:3]):
        target = start.transform.apply(middle)
        starts.extend(wide_starts(middle, target, count=WIDE_STARTS, seed=seed + number))
    return _best_of(work, starts, WIDE_REFINED, WIDE_LEAST_PLAUSIBLE)


def _best_of(work: LinearRun, starts: list[CandidatePose], refined: int, least: float) -> PoseSearchResult:
    level = work.levels[0]
    judged = []
    for start in starts:
        work.progress.check()
        judged.append((_plausible(work, starts, start.transform, score(level, start.transform).value, least), start))
    chosen = _chosen(work, judged, refined)
    ends = []
    for number, start in enumerate(chosen):
        work.progress.report(0.1 + 0.25 * number / len(chosen), f"Linear alignment: start {number + 1}")
        end = climb(level, start.transform, kind="rigid", iterations=40, stiffness=0, watch=work.watch("Starts"))
        ends.append((_plausible(work, starts, end.pose.affine, end.score.value, least), end.pose.affine))
    ends.sort(key=lambda entry: -entry[0])
    anchors = [(score(work.finer[0], start.transform).value, start) for start in starts if start.anchor]
    anchor = max(anchors, key=lambda entry: entry[0])[1] if anchors else None
    return PoseSearchResult(_compared(work, starts, ends, least), tuple(transform for _, transform in ends), anchor)


def _candidates(work: LinearRun) -> list[CandidatePose]:
    settings, level = work.settings, work.levels[0]
    fixed, moving = work.coarse_fixed, level.moving
    starts: list[CandidatePose] = []
    if settings.header_start:
        starts.append(header_start())
    if settings.center_starts:
        starts.extend(center_starts(fixed, moving))
        starts.extend(mask_starts(work.pair.fixed_mask, work.pair.moving_mask))
    if settings.moment_starts:
        starts.extend(moment_starts(fixed, moving))
    if settings.translation_search:
        work.progress.report(0.08, "Linear alignment: searching translations")
        starts.extend(translation_starts(fixed, moving, np.eye(3)))
    starts = starts or [header_start()]
    best = max(starts, key=lambda start: score(level, start.transform).value)
    target = best.transform.apply(level.center)
    if settings.turn_starts:
        starts.extend(turn_starts(level.center, target, degrees=(20, 40)))
    if settings.axis_starts:
        starts.extend(axis_starts(level.center, target))
    return starts


def _plausible(work: LinearRun, starts: list[CandidatePose], transform: Affine, value: float, least: float) -> float:
    center = work.pair.fixed.grid.center_mm
    maps = [start.transform for start in starts if start.anchor] or [Affine.identity()]
    return value * plausibility(transform, center, np.array([a.apply(center) for a in maps]), work.size_mm, least=least)


def _chosen(work: LinearRun, judged: list[tuple[float, CandidatePose]], count: int) -> list[CandidatePose]:
    """Return the anchors and the best of the other starts, all different."""
    order = [start for _, start in sorted(judged, key=lambda entry: (not entry[1].anchor, -entry[0]))]
    kept = distinct((start.transform for start in order), work.probes, DISTINCT_STARTS * work.size_mm)
    anchors = [order[n] for n in kept if order[n].anchor]
    others = [order[n] for n in kept if not order[n].anchor]
    return anchors + others[:count]


def _compared(work: LinearRun, starts: list[CandidatePose], ends: list[tuple[float, Affine]], least: float) -> Affine:
    """Return the best of the few best poses after optimization on the next finer level."""
    kept = distinct((transform for _, transform in ends), work.probes, DISTINCT_ENDS * work.size_mm)
    few = [ends[n] for n in kept if ends[n][0] >= NEARLY_BEST * ends[0][0]][:FINALISTS] or ends[:1]
    if len(few) == 1:
        return few[0][1]
    outcome = []
    for number, (_, transform) in enumerate(few):
        work.progress.report(0.35 + 0.05 * number / len(few), "Linear alignment: comparing the best starts")
        end = climb(work.finer[0], transform, kind="rigid", iterations=20, stiffness=0, watch=work.watch("Starts"))
        outcome.append((_plausible(work, starts, end.pose.affine, end.score.value, least), end.pose.affine))
    return max(outcome, key=lambda entry: entry[0])[1]


@dataclass(frozen=True, eq=False)
class Refined:
    """The refined transform and its kind ('rigid', 'similarity' or 'affine')."""

    transform: Affine
    kind: str


def refine(work: LinearRun, start: Affine) -> Refined:
    """Return the refined transform; a step without improvement or with too much stretch is undone and noted."""
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


def _acceptable(work: LinearRun, kind: str, before: Refined, end: Climb) -> bool:
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
