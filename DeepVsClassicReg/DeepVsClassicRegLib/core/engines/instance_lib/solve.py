"""From a problem to its field: global start, pyramid, and both directions when they are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import EngineFailed
from ...images.volume import Pair
from ...progress import Progress
from ..base import Recorder
from .adapt import chosen_regularity
from .backend import Backend
from .discrete import discrete_start
from .folding import unfolded
from .optimize import run_levels
from .plan import make_plan
from .problem import Problem
from .schedule import Field, Steps
from .symmetric import composed, consistent, inverted, swapped

if TYPE_CHECKING:
    from ..instance import InstanceSettings

Endings = list[str]


def solve(
    pair: Pair,
    problem: Problem,
    settings: InstanceSettings,
    backend: Backend,
    progress: Progress,
    recorder: Recorder,
) -> tuple[Field, Endings]:
    """Return the displacements (3, Z, Y, X) in voxels of the working lattice and how the levels ended."""
    if _match_already(problem):
        recorder.notes.append("The volumes are the same after the start; nothing was deformed.")
        return np.zeros((3, *problem.fixed.shape), np.float32), ["nothing to do"]
    sigma_field = settings.sigma_field
    if settings.adapt:
        regularity = chosen_regularity(problem, sigma_field)
        sigma_field = regularity.sigma_field
        if regularity.reason:
            recorder.notes.append(regularity.reason)
    steps = Steps(settings.sigma_update, sigma_field, settings.step, settings.momentum, settings.softness)
    start: Field | None = None
    part = progress
    if settings.search_mm > 0:
        with recorder.stage("Search of large displacements"):
            found = discrete_start(problem, reach_mm=settings.search_mm, progress=progress.part(0.0, 0.25))
            start = unfolded(found.field, lowest=0.1)[0]
        recorder.notes.append(
            f"Searched displacements up to {found.reach_mm:.0f} mm; the start moves up to {found.largest_mm:.0f} mm."
        )
        part = progress.part(0.25, 1.0)
    if not settings.symmetric:
        return _one_way(pair, problem, settings, steps, backend, start, part, recorder)
    forward, endings = _one_way(pair, problem, settings, steps, backend, start, part.part(0.0, 0.5), recorder)
    other = pair.replace(
        fixed_labels=pair.moving_labels,
        moving_labels=pair.fixed_labels,
        fixed_points=None,
        moving_points=None,
    )
    back_start = None if start is None else inverted(start, backend)
    backward, back_endings = _one_way(
        other, swapped(problem), settings, steps, backend, back_start, part.part(0.5, 0.97), recorder, back=True
    )
    with recorder.stage("Making both directions consistent"):
        forward, backward = consistent(forward, backward, backend)
        if settings.min_determinant > 0:
            forward, repair = unfolded(forward, lowest=settings.min_determinant)
            if repair.left:
                raise EngineFailed("Both directions contradict each other.", hint="Switch the symmetric option off.")
        gap = _gap_mm(forward, backward, problem, backend)
    recorder.notes.append(f"Both directions were registered; going there and back misses by {gap:.2f} mm on average.")
    return forward, [*endings, *(f"back: {ending}" for ending in back_endings)]


def _match_already(problem: Problem) -> bool:
    """Return whether the volumes differ by no more than a ten-thousandth of their range.

    Steps have a given length and windows of almost no contrast reward any change, so equal volumes must
    be recognized before.
    """
    inside = problem.foreground
    return bool(inside.any() and np.abs(problem.fixed - problem.moving)[inside].mean() < 1e-4)


def _one_way(
    pair: Pair,
    problem: Problem,
    settings: InstanceSettings,
    steps: Steps,
    backend: Backend,
    start: Field | None,
    progress: Progress,
    recorder: Recorder,
    *,
    back: bool = False,
) -> tuple[Field, Endings]:
    plan, maker = make_plan(pair, problem, settings, backend, back=back, pause=progress.check)
    return run_levels(
        problem,
        plan,
        maker,
        steps,
        start,
        tolerance=settings.tolerance,
        lowest=settings.min_determinant,
        progress=progress,
        recorder=recorder,
    )


def _gap_mm(forward: Field, backward: Field, problem: Problem, backend: Backend) -> float:
    missed = composed(forward, backward, backend) * np.array(problem.grid.spacing_mm[::-1])[:, None, None, None]
    return float(np.sqrt((missed**2).sum(axis=0))[problem.foreground].mean())
