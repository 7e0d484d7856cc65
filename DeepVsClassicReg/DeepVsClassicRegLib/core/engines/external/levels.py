"""The levels of a pyramid: which ones are usable for a volume, and their fractions of the work."""

from __future__ import annotations

from collections.abc import Sequence

from ...images.grid import Grid


def usable_levels(grid: Grid, shrink: Sequence[int], *, fewest: int) -> list[int]:
    """Return the numbers of the levels whose reduced volume has at least `fewest` voxels along every axis.

    The last level is always used. Axes with thicker voxels are reduced less, as in ANTs. Small crops would otherwise
    crash back ends whose windows do not fit (a hippocampus of 35 voxels reduced by 8 has 4).
    """
    finest = min(grid.spacing_mm)
    relative = [spacing / finest for spacing in grid.spacing_mm]
    kept = [
        level
        for level, factor in enumerate(shrink)
        if all(n / max(1.0, factor / r) >= fewest for n, r in zip(grid.size, relative, strict=True))
    ]
    last = len(shrink) - 1
    return kept if last in kept else [*kept, last]


def work_done(costs: Sequence[float], level: int, share: float) -> float:
    """Return the completed fraction of the whole work, 0 to 1, from the fraction of the current level.

    Parameters
    ----------
    costs : sequence of float
        Work of each level in any unit, in the order in which they run.
    level : int
        The level that is running.
    share : float
        Completed fraction of this level; values above 1 are clipped.
    """
    return (sum(costs[:level]) + costs[level] * min(1.0, share)) / sum(costs)
