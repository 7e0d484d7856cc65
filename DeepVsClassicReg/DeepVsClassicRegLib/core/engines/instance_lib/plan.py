"""From settings to a plan: which levels, which similarity, made by which back end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..base import Recorder
from .backend import NUMBA, Backend
from .optimize import LevelImages, LevelMaker
from .problem import Problem, shrinks
from .schedule import Field, Level

if TYPE_CHECKING:
    from ..instance import InstanceSettings

Plan = Sequence[tuple[tuple[int, int, int], int]]


def make_plan(
    problem: Problem, settings: InstanceSettings, backend: Backend, recorder: Recorder
) -> tuple[Plan, LevelMaker]:
    """Return the levels with their iterations, and what makes a level."""
    levels = shrinks(problem.grid, len(settings.iterations))
    plan = list(zip(levels, settings.iterations[-len(levels) :], strict=True))
    if backend.kind == NUMBA:
        return plan, _numba_maker(settings, backend.threads)
    raise NotImplementedError


def _numba_maker(settings: InstanceSettings, threads: int) -> LevelMaker:
    from .numba_level import NumbaLevel
    from .numba_terms import Lncc

    def make(images: LevelImages, start: Field | None, finest: bool) -> Level:
        term = Lncc(
            images.fixed,
            images.moving,
            images.region,
            radius=settings.radius_vox,
            threads=threads,
            weight=images.fixed_mask,
            moving_weight=images.moving_mask,
        )
        return NumbaLevel([(term, 1.0)], images.region, start, images.fixed.shape, images.spacing, threads)

    return make
