"""The coarse-to-fine loop: creates the levels from the settings and runs each until convergence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import EngineFailed, RegistrationError
from ...pair import Pair
from ...progress import Progress
from ...transforms.unfold import Repair, unfolded
from ..base import Recorder
from .backend import NUMBA, Backend
from .bodies import make_bodies
from .labels import Segments, make_landmarks, make_segments
from .level import Field, LevelOptimizer, Steps, nothing, settled
from .problem import LevelImages, OptimizationProblem, level_images, shrinks
from .settings import InstanceSettings

WINDOW = 6
# Unfolding may deform a body, and holding it may fold its surroundings.
# Bodies of the moving side move when they are held.
FEWEST_ROUNDS, MOST_ROUNDS = 2, 8


LevelMaker = Callable[[LevelImages, Field | None, bool], LevelOptimizer]


def run_levels(
    problem: OptimizationProblem,
    plan: Sequence[tuple[tuple[int, int, int], int]],
    make_level: LevelMaker,
    steps: Steps,
    start: Field | None,
    *,
    tolerance: float,
    lowest: float,
    progress: Progress,
    recorder: Recorder,
    name: str = "Deformation",
) -> tuple[Field, list[str], int]:
    """Run the levels; return the finest field, the stop condition of each level, and the nodes smoothed in the last.

    Parameters
    ----------
    plan : sequence of (shrink, iterations)
        Coarsest first.
    make_level : callable
        Creates a level of the back end from its images, the coarser field, and whether it is the finest.
    start : (3, z, y, x) array or None
        Initial field over the same box, on any grid.
    tolerance : float
        A level ends when its objective decreases by less than this fraction per iteration; 0 disables this.
    lowest : float
        Lowest Jacobian determinant of the field after every level; 0 allows folds.
    name : str
        Name for progress and stages.
    """
    costs = np.array([n / np.prod(shrink) + 1e-3 for shrink, n in plan])
    ends = np.concatenate([[0.0], np.cumsum(costs) / costs.sum()])
    field = start
    repair = Repair(0, 0, 0)
    endings = []
    for number, (shrink, iterations) in enumerate(plan):
        title = f"{name}, level {number + 1} of {len(plan)}"
        part = progress.part(float(ends[number]), float(ends[number + 1]))
        with recorder.stage(title):
            part.report(0.0, title)
            images, last = level_images(problem, shrink), number == len(plan) - 1
            part.check()
            level = make_level(images, field, last)
            done, ending, worse = _run_level(level, steps, iterations, tolerance, title, part, recorder)
            if worse:
                # Steps have a fixed length, so volumes that already match can only get worse: start again from zero.
                level = make_level(images, field, last)
            # Folds of a coarse level would grow on finer levels.
            field, repair = _allowed(level, lowest, part.check)
        endings.append(f"level {number + 1}: {done} iterations{ending}")
    if repair.left:
        raise EngineFailed(
            f"The field still has {repair.left} folded nodes after {repair.rounds} smoothing iterations.",
            hint="Increase the field smoothing, or set the lowest determinant to 0 to accept folds.",
        )
    if field is None:
        field = np.zeros((3, *problem.fixed.shape), np.float32)
    return field, endings, repair.folded


def _allowed(level: LevelOptimizer, lowest: float, check_cancelled: Callable[[], None]) -> tuple[Field, Repair]:
    """Return the field of a level without folds and with all bodies held, and what was unfolded."""
    field, first = level.field(), Repair(0, 0, 0)
    for number in range(MOST_ROUNDS):
        if level.bodies is not None:
            level.bodies.place(field)
            level.bodies.hold(field)
        if lowest == 0:
            return field, first
        field, repair = unfolded(field, lowest=lowest, check_cancelled=check_cancelled)
        first = repair if number == 0 else Repair(first.folded, repair.left, first.rounds + repair.rounds)
        if level.bodies is None or (number >= FEWEST_ROUNDS and not repair.folded):
            break
    return field, first


def objective_at(
    problem: OptimizationProblem, shrink: tuple[int, int, int], make_level: LevelMaker, field: Field
) -> float:
    """Return the objective (lower is better) of a field on the level with these block sizes."""
    level = make_level(level_images(problem, shrink), field, False)
    level.evaluate()
    return level.objectives()[-1]


def _run_level(
    level: LevelOptimizer,
    steps: Steps,
    iterations: int,
    tolerance: float,
    title: str,
    progress: Progress,
    recorder: Recorder,
) -> tuple[int, str, bool]:
    """Iterate; return the number of iterations, the stop condition, and whether the objective got worse."""
    values: list[float] = []
    for number in range(iterations):
        level.evaluate()
        if (number + 1) % level.patience and number + 1 < iterations:
            progress.check()
            level.advance(steps)
            continue
        for value in level.objectives():
            recorder.trace(title, len(values), value)
            values.append(value)
        progress.report(number / iterations, title, metric=values[-1], iteration=number)
        if tolerance > 0 and settled(values, window=WINDOW, tolerance=tolerance):
            worse = values[-1] > values[0]
            return number, ", no improvement" if worse else ", converged", worse
        level.advance(steps)
    worse = len(values) > WINDOW and values[-1] > values[0]
    return iterations, ", no improvement" if worse else "", worse


Plan = Sequence[tuple[tuple[int, int, int], int]]


def make_plan(
    pair: Pair,
    problem: OptimizationProblem,
    settings: InstanceSettings,
    backend: Backend,
    *,
    back: bool,
    check_cancelled: Callable[[], None] = nothing,
) -> tuple[Plan, LevelMaker]:
    """Return the levels with their iterations, and the function that creates a level.

    With `back`, fixed and moving of the problem are swapped: labels are swapped as well, landmarks are not used.
    `check_cancelled` is called between the parts of the work and raises when the user cancels.
    """
    levels = shrinks(problem.grid, len(settings.iterations))
    plan = list(zip(levels, settings.iterations[-len(levels) :], strict=True))
    similarity = settings.similarity
    segments = _segments(pair, problem, settings, back)
    landmarks = make_landmarks(pair, problem) if settings.landmark_weight > 0 and not back else None
    if settings.landmark_weight > 0 and landmarks is None and not back:
        raise RegistrationError(
            "The landmark weight is set, but the pair has no landmarks.", hint="Give both lists, or set it to 0."
        )

    bodies = None if back else make_bodies(pair, problem, excluded=settings.excluded)

    def make(images: LevelImages, start: Field | None, finest: bool) -> LevelOptimizer:
        terms = [(_term(similarity, images, settings.radius_vox, backend), 1.0)]
        if settings.second_radius_vox and similarity == "lncc" and images.shrink == levels[-1]:
            terms.append((_term(similarity, images, settings.second_radius_vox, backend, beside=terms[0][0]), 1.0))
        check_cancelled()
        if segments is not None:
            terms.append((_overlap(segments, images, backend), settings.label_weight))
        pull = None
        if landmarks is not None:

            def pull(u: Field, longest: float) -> Field:
                most = longest * settings.landmark_weight
                return landmarks.pull(u, images.shrink, reach=settings.landmark_reach, longest=most)

        place = (terms, images.region, start, images.fixed.shape, images.spacing)
        held = None if bodies is None else bodies.on_level(images.shrink)
        if backend.kind == NUMBA:
            from .numba_level import NumbaLevel

            return NumbaLevel(*place, backend.threads, pull=pull, bodies=held, check_cancelled=check_cancelled)
        from .torch_level import TorchLevel

        return TorchLevel(*place, backend.device, pull=pull, bodies=held, check_cancelled=check_cancelled)

    return plan, make


def _segments(pair: Pair, problem: OptimizationProblem, settings: InstanceSettings, back: bool) -> Segments | None:
    if settings.label_weight == 0:
        return None
    segments = make_segments(pair, problem, back=back)
    if segments is None:
        raise RegistrationError(
            "The label weight is set, but the two segmentations have no common label.",
            hint="Use two segmentations with the same label numbers, or set the label weight to 0.",
        )
    return segments


def _term(similarity: str, images: LevelImages, radius: int, backend: Backend, *, beside: Any = None) -> Any:
    """Return the similarity term of a level; `beside` is the term of other windows whose warped image it uses."""
    masks: dict[str, Any] = {"weight": images.fixed_mask, "moving_weight": images.moving_mask}
    if backend.kind != NUMBA:
        from . import torch_level

        return torch_level.make_term(similarity, images, radius, backend.device)
    from . import numba_level
    from .descriptors import mind_ssc

    if similarity == "lncc":
        return numba_level.Lncc(
            images.fixed, images.moving, images.region, radius=radius, threads=backend.threads, beside=beside, **masks
        )
    if similarity == "mi":
        return numba_level.InformationTerm(images.fixed, images.moving, images.region, **masks)
    if similarity == "mse":
        return numba_level.Residual(images.fixed[None], images.moving[None], images.region, **masks)
    return numba_level.Residual(mind_ssc(images.fixed), mind_ssc(images.moving), images.region, **masks)


def _overlap(segments: Segments, images: LevelImages, backend: Backend) -> Any:
    fixed, moving = segments.members(images.shrink)
    if backend.kind == NUMBA:
        from .numba_level import Overlap

        return Overlap(fixed, moving, images.region)
    from .torch_level import make_overlap

    return make_overlap(fixed, moving, backend.device)
