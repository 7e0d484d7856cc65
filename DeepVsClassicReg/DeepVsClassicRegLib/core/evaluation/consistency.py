"""Inverse consistency: distance of a point from its start after the transform and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..transforms.transform import Affine, Transform, fit_affine, is_flat
from .region import Ready

Array = npt.NDArray[np.float64]
NODES = 56
ITERATIONS = 40
STEP = 0.8
TOLERANCE = 1e-3  # in units of the grid, mm for a head


def round_trip_measures(transform: Transform, grid: Grid, inside: npt.NDArray[np.bool_]) -> dict[str, Any]:
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
    """
    if transform.affine is not None:
        return {"inverse_residual_mm": 0.0, "inverse_residual_mm_max": 0.0}
    coarse = grid.with_spacing([max(s, e / NODES) for s, e in zip(grid.spacing_mm, grid.extent_mm, strict=True)])
    points = coarse.points()
    mapped = points + Ready(transform).displacement_on(coarse).array_mm
    nearest = np.clip(np.rint(grid.point_to_index(points)).astype(int), 0, np.array(grid.size) - 1)
    chosen = inside[nearest[..., 2], nearest[..., 1], nearest[..., 0]]
    linear = _linear_part(points[chosen], mapped[chosen])
    rest = linear.inverse().apply(mapped) - points
    target = points[chosen] + rest[chosen]
    found = _solved(rest, coarse, target)
    errors = np.linalg.norm(found - points[chosen], axis=1)
    return {"inverse_residual_mm": float(errors.mean()), "inverse_residual_mm_max": float(errors.max())}


def _solved(rest: Array, grid: Grid, target: Array) -> Array:
    """Return the points x with x + rest(x) = target, found by a limited number of iterations."""
    found, tolerance = target.copy(), TOLERANCE * grid.unit_mm
    active = np.arange(len(target))
    for _ in range(ITERATIONS):
        step = target[active] - sampled(rest, grid, found[active]) - found[active]
        found[active] += STEP * step
        active = active[np.abs(step).max(axis=1) > tolerance]
        if not len(active):
            break
    return found


def sampled(values: Array, grid: Grid, points_mm: Array) -> Array:
    """Return (Z, Y, X, C) values interpolated linearly at points; outside the grid the border values."""
    last = np.array(grid.size) - 1
    index = np.clip(grid.point_to_index(points_mm), 0, last)
    low = index.astype(np.intp)
    share = (index - low).T
    steps = np.array([1, grid.size[0], grid.size[0] * grid.size[1]])
    base, step = low @ steps, np.where(low < last, steps, 0).T
    flat, found = values.reshape(-1, values.shape[-1]), np.zeros((len(index), values.shape[-1]))
    for corner in np.ndindex(2, 2, 2):
        weight, place = np.ones(len(index)), base
        for axis, high in enumerate(corner):
            weight = weight * (share[axis] if high else 1 - share[axis])
            place = place + step[axis] if high else place
        found += weight[:, None] * flat[place]
    return found


def _linear_part(points: Array, mapped: Array) -> Affine:
    """Return the least-squares affine map, so that the iteration only inverts the remaining deformation."""
    if len(points) < 50:
        return Affine.shift((mapped - points).mean(axis=0) if len(points) else np.zeros(3))
    step = max(1, len(points) // 5000)
    chosen = points[::step]
    return fit_affine(chosen, mapped[::step], kind="rigid" if is_flat(chosen) else "affine")
