"""Solves a problem: global start, pyramid and, if requested, consistency of both directions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ...errors import EngineFailed, RegistrationError
from ...pair import Pair
from ...progress import Progress
from ...transforms.invert import fixed_point_inverse
from ...transforms.unfold import unfolded
from ..base import Recorder
from .backend import NUMBA, Backend
from .bodies import keeps_bodies
from .discrete import discrete_start
from .level import Field, Steps
from .problem import OptimizationProblem, shrinks
from .pyramid import make_plan, objective_at, run_levels
from .regularization import field_smoothing
from .settings import InstanceSettings, is_trained

Endings = list[str]
ALL, COARSE, FINEST = slice(None), slice(None, -1), slice(-1, None)
# Sufficient for the mean of two fields that are optimized further.
ROUGH_VOX = 0.05


@dataclass(frozen=True, eq=False)
class RegistrationDirection:
    """One direction of a registration: problem, settings, back end and recorder.

    Attributes
    ----------
    back : bool
        Whether fixed and moving are swapped.
    """

    pair: Pair
    problem: OptimizationProblem
    settings: InstanceSettings
    steps: Steps
    backend: Backend
    recorder: Recorder
    back: bool = False

    def turned(self) -> RegistrationDirection:
        """Return the other direction on the same grid, without landmarks."""
        pair = self.pair.replace(
            fixed_labels=self.pair.moving_labels,
            moving_labels=self.pair.fixed_labels,
            fixed_points=None,
            moving_points=None,
        )
        return dataclasses.replace(self, pair=pair, problem=swapped(self.problem), back=True)


def solve(
    pair: Pair,
    problem: OptimizationProblem,
    settings: InstanceSettings,
    backend: Backend,
    progress: Progress,
    recorder: Recorder,
    start: Field | None = None,
) -> tuple[Field, Endings]:
    """Return the displacements (3, Z, Y, X) in voxels of the working grid and the stop conditions of the levels.

    `start` is the initial field on that grid.
    """
    if _match_already(problem):
        recorder.notes.append("The volumes are identical after the start; there is no deformation.")
        return np.zeros((3, *problem.fixed.shape), np.float32), ["nothing to do"]
    work = RegistrationDirection(pair, problem, settings, _steps(problem, settings, recorder), backend, recorder)
    part = progress
    if start is None and settings.search_vox > 0:
        start, part = _searched(work, progress.part(0.0, 0.25)), progress.part(0.25, 1.0)
    if settings.symmetric:
        if keeps_bodies(pair, settings):
            raise RegistrationError(
                "Bodies are kept in one direction only.", hint="Switch the option 'Both directions' off."
            )
        return _both_ways(work, start, part)
    if settings.consensus and _can_agree(problem, settings) and not keeps_bodies(pair, settings):
        return _by_consensus(work, start, part)
    return _one_way(work, start, part)


def _can_agree(problem: OptimizationProblem, settings: InstanceSettings) -> bool:
    """Return whether the mean of both directions can be better than a single one.

    Landmarks are used in one direction only. For different contrasts the mean of both directions was worse (see
    Testing/bench/INSTANCE_TRIES.md).
    """
    levels = len(shrinks(problem.grid, len(settings.iterations)))
    return (
        levels > 1
        and settings.landmark_weight == 0
        and settings.similarity != "mind"
        and not is_trained(settings.similarity)
    )


def _steps(problem: OptimizationProblem, settings: InstanceSettings, recorder: Recorder) -> Steps:
    sigma_field = settings.sigma_field
    if settings.adapt:
        regularity = field_smoothing(problem, sigma_field)
        sigma_field = regularity.sigma_field
        if regularity.reason:
            recorder.notes.append(regularity.reason)
    return Steps(settings.sigma_update, sigma_field, settings.step, settings.momentum, settings.softness)


def _searched(work: RegistrationDirection, progress: Progress) -> Field:
    """Return the start from a search of large displacements."""
    with work.recorder.stage("Search of large displacements"):
        reach = work.settings.search_vox * min(work.pair.fixed.grid.spacing_mm)
        found = discrete_start(work.problem, reach_mm=reach, progress=progress)
        start = unfolded(found.field, lowest=0.1)[0]
    work.recorder.notes.append(
        f"Searched displacements up to {found.reach_mm:.3g} mm; the start moves up to {found.largest_mm:.3g} mm."
    )
    return start


def _by_consensus(work: RegistrationDirection, start: Field | None, progress: Progress) -> tuple[Field, Endings]:
    """Register all levels except the finest in both directions, and start the finest from the mean.

    The two directions have different false matches. The mean keeps the common part, and the finest level restores the
    details blurred by averaging.
    """
    there, endings = _from_the_best_level(work, start, progress.part(0.0, 0.15), "Coarse deformation")
    back_start = None if start is None else inverted(start, work.backend)
    back, _ = _from_the_best_level(work.turned(), back_start, progress.part(0.15, 0.3), "Coarse deformation back")
    with work.recorder.stage("Agreeing on the coarse levels"):
        mean = np.float32(0.5) * (there + inverted(back, work.backend, tolerance_vox=ROUGH_VOX))
    found, more = _one_way(work, mean, progress.part(0.32, 1.0), levels=FINEST, name="Fine deformation")
    return found, [*(f"coarse {ending}" for ending in endings), *(f"fine {ending}" for ending in more)]


def _from_the_best_level(
    work: RegistrationDirection, start: Field | None, progress: Progress, name: str
) -> tuple[Field, Endings]:
    """Run the coarse levels from the best first level; return the field and the stop conditions.

    The coarsest levels find large motion, but can make a good start worse. They take little time, so the pyramid is
    started at each of them, and the results are compared on a common level.
    """
    plan, maker = make_plan(
        work.pair, work.problem, work.settings, work.backend, back=work.back, check_cancelled=progress.check
    )
    common = len(plan) - 3
    if common < 1:
        return _one_way(work, start, progress, levels=COARSE, name=name)
    tried: list[tuple[float, Field, Endings]] = []
    for first in range(common + 1):
        part = progress.part(0.3 * first / (common + 1), 0.3 * (first + 1) / (common + 1))
        title = f"{name} from level {first + 1}"
        field, endings = _one_way(work, start, part, levels=slice(first, common + 1), name=title)
        tried.append((objective_at(work.problem, plan[common][0], maker, field), field, endings))
    best = min(range(common + 1), key=lambda i: tried[i][0])
    field, more = _one_way(work, tried[best][1], progress.part(0.3, 1.0), levels=slice(common + 1, -1), name=name)
    return field, [f"from level {best + 1}", *tried[best][2], *more]


def _both_ways(work: RegistrationDirection, start: Field | None, progress: Progress) -> tuple[Field, Endings]:
    """Register in both directions on all levels and return the forward field, consistent with the backward field."""
    settings, backend, recorder = work.settings, work.backend, work.recorder
    forward, endings = _one_way(work, start, progress.part(0.0, 0.5))
    back_start = None if start is None else inverted(start, backend)
    backward, back_endings = _one_way(work.turned(), back_start, progress.part(0.5, 0.97), name="Deformation back")
    with recorder.stage("Making both directions consistent"):
        forward, backward = consistent(forward, backward, backend)
        if settings.min_determinant > 0:
            forward, repair = unfolded(forward, lowest=settings.min_determinant)
            if repair.left:
                raise EngineFailed("Both directions contradict each other.", hint="Switch the symmetric option off.")
        gap = _gap_mm(forward, backward, work.problem, backend)
    recorder.notes.append(f"Both directions were registered; their mean inverse consistency error is {gap:.2g} mm.")
    return forward, [*endings, *(f"back: {ending}" for ending in back_endings)]


def _match_already(problem: OptimizationProblem) -> bool:
    """Return whether the volumes differ by at most 1/10000 of their range.

    Steps have a fixed length, and windows with almost no contrast favor any change, so equal volumes must be detected
    first.
    """
    inside = problem.foreground if problem.compared is None else problem.foreground & problem.compared
    return bool(inside.any() and np.abs(problem.fixed - problem.moving)[inside].mean() < 1e-4)


def _one_way(
    work: RegistrationDirection,
    start: Field | None,
    progress: Progress,
    *,
    levels: slice = ALL,
    name: str = "Deformation",
) -> tuple[Field, Endings]:
    """Run some of the levels and note the number of nodes smoothed on the finest one."""
    settings = work.settings
    plan, maker = make_plan(
        work.pair, work.problem, settings, work.backend, back=work.back, check_cancelled=progress.check
    )
    field, endings, relaxed = run_levels(
        work.problem,
        plan[levels],
        maker,
        work.steps,
        start,
        tolerance=settings.tolerance,
        lowest=settings.min_determinant,
        progress=progress,
        recorder=work.recorder,
        name=name,
    )
    if relaxed and levels in (ALL, FINEST):
        work.recorder.notes.append(f"The field was smoothed around {relaxed} nodes that were nearly folded.")
    return field, endings


def _gap_mm(forward: Field, backward: Field, problem: OptimizationProblem, backend: Backend) -> float:
    missed = composed(forward, backward, backend) * np.array(problem.grid.spacing_mm[::-1])[:, None, None, None]
    return float(np.sqrt((missed**2).sum(axis=0))[problem.foreground].mean())


ITERATIONS = 30
TOLERANCE_VOX = 0.01
# Points mapped outside the box have no inverse and a constant residual, so stagnation also ends the iteration.
STANDSTILL = 0.97


def swapped(problem: OptimizationProblem) -> OptimizationProblem:
    """Return the problem with fixed and moving swapped, on the same grid."""
    return dataclasses.replace(
        problem,
        fixed=problem.moving,
        moving=problem.fixed,
        fixed_mask=problem.moving_mask,
        moving_mask=problem.fixed_mask,
    )


def consistent(forward: Field, backward: Field, backend: Backend) -> tuple[Field, Field]:
    """Return both fields, each as the mean of itself and the inverse of the other (voxels of one grid)."""
    inverse_of_backward = inverted(backward, backend)
    inverse_of_forward = inverted(forward, backend)
    half = np.float32(0.5)
    return half * (forward + inverse_of_backward), half * (backward + inverse_of_forward)


def inverted(u: Field, backend: Backend, *, tolerance_vox: float = TOLERANCE_VOX) -> Field:
    """Return v with u(x + v(x)) = -v(x), by fixed-point iteration up to this error at most points."""
    before = np.inf

    def is_done(error: Field) -> bool:
        nonlocal before
        missed, last = float(np.abs(error).mean()), before
        before = missed
        return missed < tolerance_vox / 4 or missed > STANDSTILL * last

    return fixed_point_inverse(-u, lambda v: composed(v, u, backend), step=0.8, iterations=ITERATIONS, is_done=is_done)


def composed(first: Field, second: Field, backend: Backend) -> Field:
    """Return first(x) + second(x + first(x))."""
    if backend.kind == NUMBA:
        from .numba_fields import compose

        rows = np.zeros((*first.shape[1:3], 2), np.int64)
        rows[..., 1] = first.shape[3]
        out = np.empty_like(first)
        compose(np.ascontiguousarray(first), np.ascontiguousarray(second), rows, out)
        return out
    from .torch_level import as_tensor
    from .torch_level import compose as torch_compose

    moved = torch_compose(as_tensor(first[None], backend.device), as_tensor(second[None], backend.device))
    return np.asarray(moved[0].cpu().numpy())
