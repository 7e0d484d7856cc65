"""Keeping a displacement field free of folds: find nodes whose cells turn over, and relax the field there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.intensity import widened
from ..numba_setup import numba_loaded

Field = npt.NDArray[np.float32]
Array = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
OFFSETS = np.array([(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)])
BINOMIAL = np.array([2.0 ** -(3 + abs(z) + abs(y) + abs(x)) for z, y, x in OFFSETS], np.float32)


@dataclass(frozen=True)
class Repair:
    """What the relaxation did.

    Attributes
    ----------
    folded : int
        Nodes below the wanted determinant before.
    left : int
        Nodes still below it afterwards (0 unless the relaxation gave up).
    rounds : int
        How often the field was relaxed around them.
    """

    folded: int
    left: int
    rounds: int


def unfolded(
    u: Field, *, lowest: float, rounds: int = 200, check_cancelled: Callable[[], None] | None = None
) -> tuple[Field, Repair]:
    """Return the field with every corner determinant of every cell at least `lowest`.

    Parameters
    ----------
    u : (3, Z, Y, X) array
        Displacements z, y, x in voxels of their own grid; relaxed in place, so it must be the caller's own.
    lowest : float
        Determinant wanted at least, above 0.
    rounds : int
        Most relaxations.
    check_cancelled : callable, optional
        Called before each of them; raises when the user cancels.

    Notes
    -----
    A node is looked at with all eight combinations of one-sided differences. When all of them are
    positive, so are the central differences that are usually reported, and the trilinear map of each
    cell keeps its corners in order. Around other nodes the field is averaged with its neighbors, again
    and again, over a neighborhood that grows where this does not help.
    """
    flagged = nodes_below(u, lowest)[0]
    first = len(flagged)
    if first == 0:
        return u, Repair(0, 0, 0)
    done = 0
    while len(flagged) and done < rounds:
        if check_cancelled is not None:
            check_cancelled()
        around = _around(flagged, 1 + min(done // 10, 6), u.shape[1:])
        _relax(u, around)
        near = _around(around, 1, u.shape[1:])
        flagged = near[_at_points(u, near) < lowest]
        done += 1
    return u, Repair(first, len(flagged), done)


def nodes_below(u: Field, lowest: float) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Return the nodes whose smallest corner determinant is below `lowest`, and these determinants.

    Parameters
    ----------
    u : (3, Z, Y, X) array
        Displacements z, y, x in voxels of their own grid.
    lowest : float
        At most 1.

    Returns
    -------
    (N, 3) int64 array and (N,) float32 array
        Nodes z, y, x in the order of the array; determinants.
    """
    if numba_loaded():  # not worth loading it for this
        from .unfold_kernels import smallest_determinants

        determinants = np.empty(u.shape[1:], np.float32)
        smallest_determinants(np.ascontiguousarray(u), determinants)
        points = np.argwhere(determinants < lowest)
        return points, determinants[tuple(points.T)]
    doubtful = np.argwhere(_largest_slope(u) > 1 - max(lowest, 0.0) ** (1 / 3))
    if not len(doubtful):
        return doubtful, np.zeros(0, np.float32)
    determinants = _at_points(u, doubtful)
    below = determinants < lowest
    return doubtful[below], determinants[below]


def _largest_slope(u: Field) -> npt.NDArray[np.float32]:
    """Return at every node the largest sum, over the axes, of a component's one-sided differences.

    With s below 1 in every row of a gradient, the eigenvalues of identity plus gradient are at least 1 - s away from 0
    (Gershgorin), and its determinant is at least (1 - s)^3.
    """
    largest = np.zeros(u.shape[1:], np.float32)
    for component in u:
        slopes = np.zeros(u.shape[1:], np.float32)
        for axis in range(3):
            along, change = np.moveaxis(slopes, axis, 0), np.abs(np.diff(np.moveaxis(component, axis, 0), axis=0))
            if len(change):
                along[0] += change[0]
                along[-1] += change[-1]
                along[1:-1] += np.maximum(change[1:], change[:-1])
        np.maximum(largest, slopes, out=largest)
    return largest


def _at_points(u: Field, points: Ints) -> npt.NDArray[np.float32]:
    """Return the smallest corner determinant at these nodes (z, y, x)."""
    last = np.array(u.shape[1:]) - 1
    here = u[(slice(None), *points.T)]
    sides = []
    for axis in range(3):
        step = np.zeros(3, np.int64)
        step[axis] = 1
        ahead = u[(slice(None), *np.minimum(points + step, last).T)] - here
        behind = here - u[(slice(None), *np.maximum(points - step, 0).T)]
        at_end, at_start = points[:, axis] == last[axis], points[:, axis] == 0
        ahead = np.where(at_end, behind, ahead)
        behind = np.where(at_start, ahead, behind)
        sides.append((ahead, behind))
    smallest = np.full(len(points), np.inf, np.float32)
    for a in sides[0]:
        for b in sides[1]:
            for c in sides[2]:
                smallest = np.minimum(smallest, _determinant(a, b, c))
    return smallest


def _determinant(a: Array, b: Array, c: Array) -> Array:
    """Determinant of identity plus the gradient whose columns are the slopes along z, y and x."""
    return np.asarray(
        (1 + a[0]) * ((1 + b[1]) * (1 + c[2]) - c[1] * b[2])
        - b[0] * (a[1] * (1 + c[2]) - c[1] * a[2])
        + c[0] * (a[1] * b[2] - (1 + b[1]) * a[2])
    )


def _around(points: Ints, reach: int, shape: tuple[int, ...]) -> Ints:
    """Return the nodes within a cube of `reach` around the points, each once."""
    low = np.maximum(points.min(axis=0) - reach, 0)
    high = np.minimum(points.max(axis=0) + reach + 1, shape)
    mask = np.zeros(tuple(high - low), bool)
    mask[tuple((points - low).T)] = True
    return np.asarray(np.argwhere(widened(mask, reach)) + low)


def _relax(u: Field, points: Ints) -> None:
    last = np.array(u.shape[1:]) - 1
    mean = np.zeros((3, len(points)), np.float32)
    for offset, share in zip(OFFSETS, BINOMIAL, strict=True):
        mean += share * u[(slice(None), *np.clip(points + offset, 0, last).T)]
    u[(slice(None), *points.T)] = mean
