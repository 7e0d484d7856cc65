"""The coarse-to-fine loop: one level after the other until each has settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from ...errors import EngineFailed
from ...progress import Progress
from ..base import Recorder
from .folding import Repair, unfolded
from .problem import Image, Mask, Problem, pooled
from .region import Region, region_of
from .schedule import Field, Level, Steps, settled

MARGIN = 3
WINDOW = 6


@dataclass(frozen=True, eq=False)
class LevelImages:
    """What a level works on.

    Attributes
    ----------
    fixed, moving : (Z, Y, X) float32 arrays
        Block means of the working images.
    region : Region
        What is computed.
    fixed_mask, moving_mask : (Z, Y, X) float32 arrays or None
        Masks as shares of each block.
    spacing : (z, y, x)
        mm.
    shrink : (z, y, x)
        Block sizes.
    """

    fixed: Image
    moving: Image
    region: Region
    fixed_mask: Image | None
    moving_mask: Image | None
    spacing: tuple[float, float, float]
    shrink: tuple[int, int, int]


LevelMaker = Callable[[LevelImages, Field | None, bool], Level]
# Several beginnings pass through the same levels; they are forgotten with their problem.
LEVELS: WeakKeyDictionary[Problem, dict[tuple[int, int, int], LevelImages]] = WeakKeyDictionary()


def level_images(problem: Problem, shrink: tuple[int, int, int]) -> LevelImages:
    """Return the images of the level with these block sizes, made once per problem."""
    made = LEVELS.setdefault(problem, {})
    if shrink not in made:
        made[shrink] = _level_images(problem, shrink)
    return made[shrink]


def _level_images(problem: Problem, shrink: tuple[int, int, int]) -> LevelImages:
    spacing = [s * f for s, f in zip(problem.grid.spacing_mm[::-1], shrink, strict=True)]
    foreground = pooled(problem.foreground.astype(np.float32), shrink) > 0
    return LevelImages(
        pooled(problem.fixed, shrink),
        pooled(problem.moving, shrink),
        region_of(foreground, margin=MARGIN),
        _pooled_mask(problem.fixed_mask, shrink),
        _pooled_mask(problem.moving_mask, shrink),
        (spacing[0], spacing[1], spacing[2]),
        shrink,
    )


def run_levels(
    problem: Problem,
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
    """Register over the levels; return the finest field, how each level ended, and the nodes relaxed in the last.

    Parameters
    ----------
    plan : sequence of (shrink, iterations)
        Coarsest first.
    make_level : callable
        Makes a back end's level of its images, the coarser field, and whether it is the finest.
    start : (3, z, y, x) array or None
        Field over the same box to start from, on any lattice.
    tolerance : float
        A level ends when its objective falls by less than this share per iteration; 0 never.
    lowest : float
        Least Jacobian determinant of the field after every level; 0 to allow folds.
    name : str
        What this is, for the progress and the stages.
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
                # Steps have a given length, so volumes that match already can only get worse: begin anew.
                level = make_level(images, field, last)
            field = level.field()
            if lowest > 0:
                # Folds of a coarse level would only grow on the finer ones.
                field, repair = unfolded(field, lowest=lowest, pause=part.check)
        endings.append(f"level {number + 1}: {done} iterations{ending}")
    if repair.left:
        raise EngineFailed(
            f"The field keeps {repair.left} folded nodes after {repair.rounds} relaxations.",
            hint="Raise the field smoothing, or set the least determinant to 0 to accept folds.",
        )
    if field is None:
        field = np.zeros((3, *problem.fixed.shape), np.float32)
    return field, endings, repair.folded


def objective_at(problem: Problem, shrink: tuple[int, int, int], make_level: LevelMaker, field: Field) -> float:
    """Return the objective (lower is better) of a field, judged on the level with these block sizes."""
    level = make_level(level_images(problem, shrink), field, False)
    level.evaluate()
    return level.objectives()[-1]


def _run_level(
    level: Level,
    steps: Steps,
    iterations: int,
    tolerance: float,
    title: str,
    progress: Progress,
    recorder: Recorder,
) -> tuple[int, str, bool]:
    """Iterate and return the iterations done, how it ended in words, and whether the objective got worse."""
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
            return number, ", nothing to gain" if worse else ", settled", worse
        level.advance(steps)
    worse = len(values) > WINDOW and values[-1] > values[0]
    return iterations, ", nothing to gain" if worse else "", worse


def _pooled_mask(mask: Mask | None, shrink: tuple[int, int, int]) -> Image | None:
    return None if mask is None else pooled(mask.astype(np.float32), shrink)
