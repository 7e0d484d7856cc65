"""A global start for large motion: a discrete search over coarse blocks, coupled with a smoothness constraint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.resample import warp_volume
from ...images.volume import Volume
from ...progress import Progress
from .descriptors import box_mean, mind_ssc
from .level import Field
from .problem import OptimizationProblem

Array = npt.NDArray[np.float32]
NODES = 36
# Weight of the mean cost, as a fraction of a node's neighborhood, and its increase per displacement step.
UNSEEN = np.float32(0.1)
SHORTER = 1e-3
COUPLING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class DiscreteSearchResult:
    """The result of the search.

    Attributes
    ----------
    field : (3, z, y, x) array
        Displacements in voxels of a coarse grid over the same box as the working grid.
    reach_mm : float
        Largest displacement along an axis in the search.
    largest_mm : float
        Largest displacement of the result.
    """

    field: Field
    reach_mm: float
    largest_mm: float


def discrete_start(problem: OptimizationProblem, *, reach_mm: float, progress: Progress) -> DiscreteSearchResult:
    """Return the field that best matches both volumes among displacements up to `reach_mm` per axis.

    Parameters
    ----------
    problem : OptimizationProblem
        The pair on its working grid.
    reach_mm : float
        Search range along each axis.
    progress : Progress
        Receives progress updates.

    References
    ----------
    Heinrich et al., MICCAI 2014, doi 10.1007/978-3-319-10404-1_67 (coupled convex optimization);
    Siebert et al., 2021, doi 10.1007/978-3-030-97281-3_25 (ConvexAdam).
    """
    spacing = max(problem.grid.extent_mm) / NODES
    grid = problem.grid.with_spacing([max(spacing, s) for s in problem.grid.spacing_mm])
    fixed = mind_ssc(_coarse(problem.fixed, problem.grid, grid), radius=1, dilation=1)
    moving = mind_ssc(_coarse(problem.moving, problem.grid, grid), radius=1, dilation=1)
    radius = [max(1, min(round(reach_mm / s), 8, n // 2)) for s, n in zip(grid.spacing_mm, grid.size, strict=True)]
    radius = radius[::-1]
    offsets = np.stack(
        np.meshgrid(*(np.arange(-r, r + 1, dtype=np.float32) for r in radius), indexing="ij"), -1
    ).reshape(-1, 3)
    masks = (_coarse_mask(mask, problem.grid, grid) for mask in (problem.fixed_mask, problem.moving_mask))
    costs = _costs(fixed, moving, offsets.astype(int), progress, *masks)
    field = _coupled(costs, offsets, grid)
    length = np.abs(field).reshape(3, -1).max(axis=1) * np.array(grid.spacing_mm[::-1])
    return DiscreteSearchResult(
        field, float((np.array(radius) * np.array(grid.spacing_mm[::-1])).max()), float(length.max())
    )


def _coarse(array: Array, fine: Grid, grid: Grid) -> Array:
    """Return the array averaged over the blocks of a coarser grid."""
    ratio = np.array(grid.spacing_mm) / fine.spacing_mm
    smooth = array
    radius = int(max(ratio.max() / 2 - 0.5, 0) + 0.5)
    if radius:
        smooth = box_mean(array, radius)
    return np.array(warp_volume(Volume(smooth, fine), grid, fill=float(smooth.min())).array)


def _coarse_mask(mask: npt.NDArray[np.bool_] | None, fine: Grid, grid: Grid) -> Array | None:
    """Return the fraction of each node of the coarser grid inside the mask; None without a mask."""
    return None if mask is None else _coarse(mask.astype(np.float32), fine, grid)


def _costs(
    fixed: Array,
    moving: Array,
    offsets: npt.NDArray[np.int_],
    progress: Progress,
    fixed_mask: Array | None,
    moving_mask: Array | None,
) -> Array:
    """Return the descriptor distance of every node for every displacement, (D, nodes).

    Only voxels inside both masks are compared. The smaller this part of a node's neighborhood, the closer its cost is
    to the mean cost at the start: displacements without evidence have the same cost, short ones a slightly lower one.
    """
    reach = np.abs(offsets).max(axis=0)
    shape = fixed.shape[1:]

    def shifted(wide: Array, offset: npt.NDArray[np.int_]) -> Array:
        z, y, x = (slice(int(f), int(f) + n) for f, n in zip(offset + reach, shape, strict=True))
        return wide[..., z, y, x]

    margins = [(int(r), int(r)) for r in reach]
    wide = np.pad(moving, [(0, 0), *margins], mode="edge")
    masked = fixed_mask is not None or moving_mask is not None
    own = np.ones(shape, np.float32) if fixed_mask is None else fixed_mask
    other = None if moving_mask is None else np.pad(moving_mask, margins, mode="edge")

    def compared(offset: npt.NDArray[np.int_]) -> tuple[Array, Array]:
        difference = fixed - shifted(wide, offset)
        seen = own if other is None else own * shifted(other, offset)
        return np.einsum("czyx,czyx->zyx", difference, difference), seen

    usual = np.float32(0)
    if masked:
        distance, seen = compared(np.zeros(3, int))
        usual = np.float32((distance * seen).sum() / max(float(seen.sum()), 1e-6))
    costs = np.empty((len(offsets), int(np.prod(shape))), np.float32)
    for number, offset in enumerate(offsets):
        distance, seen = compared(offset)
        if masked:
            prior = usual * np.float32(1 + SHORTER * float((offset**2).sum()))
            cost = (box_mean(distance * seen, 1) + UNSEEN * prior) / (box_mean(seen, 1) + UNSEEN)
        else:
            cost = box_mean(distance, 1)
        costs[number] = cost.ravel()
        if number % 50 == 0:
            progress.report(number / len(offsets), "Searching large displacements")
    return costs


def _coupled(costs: Array, offsets: Array, grid: Grid) -> Field:
    """Alternate between the best displacement of each node and a smooth field, with increasing coupling."""
    shape = grid.shape
    best = offsets[costs.argmin(axis=0)]
    field = _smooth(best.T.reshape(3, *shape))
    for coupling in COUPLING:
        flat = field.reshape(3, -1)
        lowest = np.full(flat.shape[1], np.inf, np.float32)
        chosen = np.zeros(flat.shape[1], np.int64)
        for number, offset in enumerate(offsets):
            total = costs[number] + np.float32(coupling) * ((flat - offset[:, None]) ** 2).sum(axis=0)
            better = total < lowest
            lowest[better] = total[better]
            chosen[better] = number
        field = _smooth(offsets[chosen].T.reshape(3, *shape))
    return field


def _smooth(field: Field) -> Field:
    return np.stack([box_mean(box_mean(np.ascontiguousarray(part, dtype=np.float32), 1), 1) for part in field])
