"""The levels of a pyramid: which ones a volume is large enough for, and how much of the work they are."""

from __future__ import annotations

from collections.abc import Sequence

from ...images.grid import Grid


def usable_levels(grid: Grid, shrink: Sequence[int], *, fewest: int) -> list[int]:
    """Return the numbers of the levels whose shrunk volume keeps `fewest` voxels along every axis.

    The last level always stays. Axes with thicker voxels are shrunk less (ANTs does so). Small crops would
    otherwise crash back ends whose windows do not fit (a hippocampus of 35 voxels shrunk by 8 has 4).
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
    """Return the done part of the whole work, 0 to 1, with a share of a level done and all levels before it.

    Parameters
    ----------
    costs : sequence of float
        Work of each level in any unit, in the order in which they run.
    level : int
        The level that is running.
    share : float
        Done part of this level; more than 1 counts as 1.
    """
    return (sum(costs[:level]) + costs[level] * min(1.0, share)) / sum(costs)
