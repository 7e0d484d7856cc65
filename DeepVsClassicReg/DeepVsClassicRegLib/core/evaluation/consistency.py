"""Inverse consistency: distance of a point from its start after the transform and its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..transforms.transform import Affine, Transform, fit_affine, is_flat
from .region import Ready

Array = npt.NDArray[np.floating]
NODES = 56
ITERATIONS = 40
STEP = 0.8
TOLERANCE = 1e-3  # in units of the grid, mm for a head


def round_trip_measures(
    transform: Transform, grid: Grid, inside: npt.NDArray[np.bool_], ready: Ready | None = None
) -> dict[str, Any]:
    """Return mean and maximum round-trip error of a transform with its numerical inverse.

    The transform is sampled on at most 56 nodes per axis of the fixed grid; each mapped node is inverted by
    fixed-point iteration from a linear initial guess. Where the transform folds it has no inverse and the error is
    large.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving transform.
    grid : Grid
        The fixed grid.
    inside : (Z, Y, X) bool array
        Nodes in this region are evaluated.
    ready : Ready, optional
        The same transform, where it has been converted already.
    """
    if transform.affine is not None:
        return {"inverse_residual_mm": 0.0, "inverse_residual_mm_max": 0.0}
    coarse = grid.with_spacing([max(s, e / NODES) for s, e in zip(grid.spacing_mm, grid.extent_mm, strict=True)])
    points = coarse.points()
    mapped = points + (ready or Ready(transform)).displacement_on(coarse).array_mm
    nearest = np.clip(np.rint(grid.point_to_index(points)).astype(int), 0, np.array(grid.size) - 1)
    chosen = inside[nearest[..., 2], nearest[..., 1], nearest[..., 0]]
    linear = _linear_part(points[chosen], mapped[chosen])
    rest = linear.inverse().apply(mapped) - points
    found = _solved(rest, coarse, points[chosen] + rest[chosen])
    errors = np.linalg.norm(found - points[chosen], axis=1)
    return {"inverse_residual_mm": float(errors.mean()), "inverse_residual_mm_max": float(errors.max())}


def _solved(rest: Array, grid: Grid, target: Array) -> Array:
    """Return the points x with x + rest(x) = target, (N, 3), found by a limited number of iterations."""
    # One row per index axis, in voxels: every operation runs over contiguous numbers.
    rest_vox = (rest.reshape(-1, 3) @ np.linalg.inv(grid.matrix[:3, :3]).T).T
    table = _Table.of(rest_vox, grid)
    wanted = grid.point_to_index(target).T.copy()
    tolerance = (TOLERANCE * grid.unit_mm / np.array(grid.spacing_mm))[:, None]
    found = wanted.copy()
    active = np.arange(wanted.shape[1])
    for _ in range(ITERATIONS):
        here = found[:, active]
        step = wanted[:, active] - table.at(here) - here
        found[:, active] = here + STEP * step
        active = active[(np.abs(step) > tolerance).any(axis=0)]
        if not len(active):
            break
    return grid.index_to_point(found.T)


@dataclass(frozen=True, eq=False)
class _Table:
    """Values on a grid for linear interpolation; outside the grid the border values.

    Attributes
    ----------
    values : (C, N) array
        Of a grid with one more, equal layer at each upper end, flattened.
    last, steps : (3, 1) and (3,) arrays
        Highest index of the grid, and steps between neighbors along i, j, k.
    """

    values: Array
    last: npt.NDArray[np.intp]
    steps: npt.NDArray[np.intp]

    @classmethod
    def of(cls, values: Array, grid: Grid) -> _Table:
        """Return the table of values (C, N) on a grid."""
        padded = np.pad(values.reshape(-1, *grid.shape), ((0, 0), *[(0, 1)] * 3), mode="edge")
        width, height = grid.size[0] + 1, grid.size[1] + 1
        last = np.array(grid.size)[:, None] - 1
        return cls(padded.reshape(len(padded), -1), last, np.array([1, width, width * height]))

    def at(self, index: Array) -> Array:
        """Return the values at continuous indices (i, j, k), (3, N), as (C, N)."""
        index = np.clip(index, 0, self.last)
        low = index.astype(np.intp)
        share, base = index - low, self.steps @ low
        corners = [self.values.take(base + step, axis=1) for step in self._corner_steps]
        for axis in range(3):
            corners = [a + share[axis] * (b - a) for a, b in zip(corners[::2], corners[1::2], strict=True)]
        return corners[0]

    @property
    def _corner_steps(self) -> list[int]:
        return [int(self.steps @ (i, j, k)) for k in (0, 1) for j in (0, 1) for i in (0, 1)]


def _linear_part(points: Array, mapped: Array) -> Affine:
    """Return the least-squares affine map, so that the iteration only inverts the remaining deformation."""
    if len(points) < 50:
        return Affine.shift((mapped - points).mean(axis=0) if len(points) else np.zeros(3))
    step = max(1, len(points) // 5000)
    chosen = points[::step]
    return fit_affine(chosen, mapped[::step], kind="rigid" if is_flat(chosen) else "affine")
