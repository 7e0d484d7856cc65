"""The robust linear alignment every engine starts from: many starts, mutual information, quasi-Newton steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..device import Compute
from ..errors import RegistrationError
from ..images.volume import Pair
from ..progress import Progress
from ..transforms.affine import Affine, fit_affine
from ..transforms.transform import Transform
from .base import EngineInfo, Recorder, Result
from .linear_confidence import judge
from .linear_optimize import KINDS, Climb, climb
from .linear_sampling import Level, coarse_copy, make_level, pair_size_mm
from .linear_score import score
from .linear_starts import (
    Start,
    axis_starts,
    center_starts,
    distinct,
    header_start,
    moment_starts,
    translation_starts,
    turn_starts,
)
from .settings import option

Array = npt.NDArray[np.float64]
TURNED_HANDICAP = 0.8
SEARCH_SAMPLES = 6000


@dataclass(frozen=True)
class LinearSettings:
    """Settings of the linear alignment."""

    kind: str = option(
        "affine", "Transform", choices=KINDS, tooltip="What the map may do: turn and shift, also scale, also shear."
    )
    header_start: bool = option(True, "Try headers", tooltip="Try the positions written in the files.")
    center_starts: bool = option(True, "Try centers", tooltip="Try bringing the centers of views and objects together.")
    moment_starts: bool = option(True, "Try principal axes", tooltip="Try bringing the objects' long axes together.")
    turn_starts: bool = option(True, "Try turns", tooltip="Try turned poses, for scans in different postures.")
    axis_starts: bool = option(
        True, "Try swapped axes", tooltip="Try swapped and flipped patient axes, for wrong headers.", advanced=True
    )
    translation_search: bool = option(
        True, "Search all translations", tooltip="Search every translation, for views of different size."
    )
    refined_starts: int = option(5, "Refined starts", minimum=1, maximum=24, tooltip="Starts optimized coarsely.")
    resolutions: tuple[int, ...] = option(
        (32, 64, 96),
        "Resolutions",
        unit="voxels",
        minimum=8,
        maximum=512,
        tooltip="Voxels along the mean edge of the smaller field of view, coarse to fine.",
    )
    iterations: int = option(60, "Iterations per resolution", minimum=1, maximum=1000)
    samples: int = option(40000, "Sample points", minimum=500, maximum=2000000, tooltip="At the finest resolution.")
    bins: int = option(32, "Histogram bins", minimum=8, maximum=128, advanced=True)
    stiffness: float = option(
        0.5, "Stiffness", minimum=0, maximum=1000, tooltip="Resistance against scaling and shearing.", advanced=True
    )
    largest_scale: float = option(
        1.6, "Largest scale", minimum=1, maximum=10, tooltip="Beyond this stretch the affine step is refused."
    )
    use_landmarks: bool = option(
        False, "Use landmarks", tooltip="Start from the pair's landmarks; they no longer judge the result then."
    )


class LinearEngine:
    """Rigid, similarity or affine alignment by mutual information."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="linear",
        title="Linear alignment",
        summary="Robust rigid to affine alignment from many starts by mutual information, any modality.",
        family="linear",
        settings=LinearSettings,
        citation="Mattes et al., IEEE TMI 22(1):120-128, 2003, doi 10.1109/TMI.2003.809072",
        uses_labels=True,
        uses_masks=True,
        starts_linear=False,
        multimodal=True,
        interruptible=True,
    )

    def run(self, pair: Pair, settings: LinearSettings, progress: Progress, compute: Compute) -> Result:
        """Align the pair.

        A linear `pair.initial` is the only start. A deformable one is refused, since a linear step
        after it could not be undone separately.

        Raises
        ------
        RegistrationError
            When the initial transform is not linear or mirrors, or landmarks are wanted and missing.
        """
        recorder = Recorder(compute)
        progress.report(0.0, "Linear alignment: reading intensities")
        with recorder.stage("Linear starts"):
            work = _Work(pair, settings, progress, compute, recorder)
            best = work.best_start()
        with recorder.stage("Linear refinement"):
            final = work.refined(best)
        with recorder.stage("Linear confidence"):
            verdict = judge(work.fine, final.pose.affine, work.ends, compute.seed)
        recorder.confidence = verdict.confidence
        recorder.notes.extend(verdict.notes)
        progress.report(1.0, "Linear alignment done")
        transform = Transform((final.pose.affine,))
        return Result(transform, recorder.diagnostics(f"{work.kept} alignment converged"), start=transform)


class _Work:
    """One run: the levels, the candidates and what became of them."""

    def __init__(
        self, pair: Pair, settings: LinearSettings, progress: Progress, compute: Compute, recorder: Recorder
    ) -> None:
        self.pair, self.settings, self.progress = pair, settings, progress
        self.seed, self.recorder = compute.seed, recorder
        self.size_mm = pair_size_mm(pair)
        self.levels = [self._level(number) for number in range(len(settings.resolutions))]
        self.ends: list[tuple[Affine, float]] = []
        self.kept = "rigid"

    @property
    def fine(self) -> Level:
        """The finest level."""
        return self.levels[-1]

    def _level(self, number: int) -> Level:
        resolutions = self.settings.resolutions
        share = (number + 1) / len(resolutions)
        samples = int(self.settings.samples * share) if number else min(SEARCH_SAMPLES, self.settings.samples)
        return make_level(
            self.pair,
            voxel_mm=self.size_mm / resolutions[number],
            samples=samples,
            bins=self.settings.bins,
            seed=self.seed + number,
            smooth=1 if number == 0 else 0,
        )

    def best_start(self) -> Affine:
        """Return the rigid pose to refine."""
        if self.pair.initial is not None:
            return _given(self.pair)
        if self.settings.use_landmarks:
            return _from_landmarks(self.pair, self.recorder)
        level = self.levels[0]
        starts = self._candidates()
        ranked = self._ranked(level, starts)
        climbs: list[tuple[float, Start, Climb]] = []
        for number, start in enumerate(ranked):
            self.progress.report(0.1 + 0.3 * number / len(ranked), f"Linear alignment: start {number + 1}")
            end = climb(level, start.transform, kind="rigid", iterations=40, stiffness=0, watch=self._watch("starts"))
            climbs.append((end.score.value * (TURNED_HANDICAP if start.turned else 1.0), start, end))
        climbs.sort(key=lambda entry: -entry[0])
        self.ends = [(end.pose.affine, value) for value, _, end in climbs]
        return climbs[0][2].pose.affine

    def _candidates(self) -> list[Start]:
        settings, size = self.settings, self.size_mm / self.settings.resolutions[0]
        fixed = coarse_copy(self.pair.fixed, size, bins=settings.bins, smooth=1)
        moving = self.levels[0].moving
        starts: list[Start] = []
        if settings.header_start:
            starts.append(header_start())
        if settings.center_starts:
            starts.extend(center_starts(fixed, moving))
        if settings.moment_starts:
            starts.extend(moment_starts(fixed, moving))
        if settings.translation_search:
            self.progress.report(0.05, "Linear alignment: searching translations")
            starts.extend(translation_starts(fixed, moving, np.eye(3)))
        starts = starts or [header_start()]
        if not (settings.turn_starts or settings.axis_starts):
            return starts
        level = self.levels[0]
        best = max(starts, key=lambda start: score(level, start.transform).value)
        middle = level.center
        target = best.transform.apply(middle)
        if settings.turn_starts:
            starts.extend(turn_starts(middle, target, degrees=(20, 40)))
        if settings.axis_starts:
            starts.extend(axis_starts(middle, target))
        return starts

    def _ranked(self, level: Level, starts: list[Start]) -> list[Start]:
        """Return the best starts that differ from each other."""
        values = []
        for start in starts:
            self.progress.check()
            values.append(score(level, start.transform).value * (TURNED_HANDICAP if start.turned else 1.0))
        order = [starts[n] for n in np.argsort(values, kind="stable")[::-1]]
        points = level.points.T[::50] + level.center
        kept = distinct((start.transform for start in order), points, 0.06 * self.size_mm)
        return [order[n] for n in kept[: self.settings.refined_starts]]

    def refined(self, start: Affine) -> Climb:
        """Return the final map: rigid, then with more freedom, on finer and finer levels."""
        settings = self.settings
        here = start
        rest = self.levels[1:] or self.levels
        end = None
        for number, level in enumerate(rest):
            self.progress.report(0.4 + 0.1 * number, f"Rigid alignment, resolution {number + 1} of {len(rest)}")
            if number and settings.kind != "rigid":
                break
            end = climb(
                level, here, kind="rigid", iterations=settings.iterations, stiffness=0, watch=self._watch("Rigid")
            )
            here = end.pose.affine
        assert end is not None
        if settings.kind == "rigid":
            return end
        for kind in KINDS[1 : KINDS.index(settings.kind) + 1]:
            end = self._freer(kind, end)
        return end

    def _freer(self, kind: str, before: Climb) -> Climb:
        """Return the result with more freedom, or the one before when that is better or implausible."""
        settings = self.settings
        here = before.pose.affine
        rest = self.levels[1:] or self.levels
        levels = rest if kind == settings.kind else rest[:1]
        end = before
        for number, level in enumerate(levels):
            self.progress.report(0.5 + 0.4 * number / len(levels), f"{kind.capitalize()} alignment")
            end = climb(
                level,
                here,
                kind=kind,
                iterations=settings.iterations,
                stiffness=settings.stiffness,
                watch=self._watch(kind.capitalize()),
            )
            here = end.pose.affine
        stretch = float(np.exp(np.abs(np.linalg.eigvalsh(end.pose.log_stretch)).max()))
        if stretch > settings.largest_scale:
            self.recorder.notes.append(
                f"The {kind} step stretched by a factor of {stretch:.2f}, which is not plausible; the {self.kept} "
                "alignment was kept."
            )
            return before
        level = levels[-1]
        gain = end.score.value - score(level, before.pose.affine).value
        if gain <= 0:
            return before
        self.kept = kind
        return end

    def _watch(self, stage: str):
        def note(iteration: int, metric: float) -> None:
            self.recorder.trace(stage, iteration, metric)
            self.progress.check()

        return note


def _given(pair: Pair) -> Affine:
    assert pair.initial is not None
    linear = pair.initial.affine
    if linear is None:
        raise RegistrationError(
            "The linear alignment cannot start from a deformable transform.",
            hint="Give a linear initial transform, or choose a deformable engine, which does start from it.",
        )
    if np.linalg.det(linear.matrix) < 0:
        raise RegistrationError("The initial transform mirrors the patient.", hint="Give one without a reflection.")
    return linear


def _from_landmarks(pair: Pair, recorder: Recorder) -> Affine:
    if pair.fixed_points is None or pair.moving_points is None:
        raise RegistrationError("'use_landmarks' is set but the pair has no landmarks.", hint="Give landmarks.")
    recorder.notes.append("Landmarks were used for the start, so their error does not judge this result.")
    return fit_affine(pair.fixed_points, pair.moving_points)
