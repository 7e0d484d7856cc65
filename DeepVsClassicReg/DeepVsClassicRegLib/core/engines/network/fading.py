"""Extends the field of a network's grid by a rim in which it decreases to 0 without folds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid

Field = npt.NDArray[np.float32]
# A cosine ramp this many times wider than the displacement across it does not cause folds.
RAMP = 2.6
WIDEST = 32


def faded(u: Field, grid: Grid) -> tuple[Field, Grid]:
    """Return the displacements extended by a rim in which they decrease to 0, and the grid with the rim.

    Parameters
    ----------
    u : (3, Z, Y, X) array
        z, y, x in voxels of `grid`.
    grid : Grid
        Grid of the displacements.
    """
    widths = []
    for axis in range(3):
        faces = [np.abs(u[axis].take(end, axis)).max() for end in (0, -1)]
        widths.append(tuple(int(min(np.ceil(RAMP * float(most)) + 2, WIDEST)) for most in faces))
    wide = np.pad(u, [(0, 0), *widths], mode="edge")
    for axis, (before, after) in enumerate(widths):
        weight = np.ones(wide.shape[axis + 1], np.float32)
        weight[:before] = _ramp(before)
        weight[weight.size - after :] = _ramp(after)[::-1]
        wide *= weight.reshape([-1 if dimension == axis + 1 else 1 for dimension in range(4)])
    first = [-before for before, _ in reversed(widths)]
    return wide, grid.cropped(first, list(wide.shape[:0:-1]))


def _ramp(count: int) -> Field:
    """Return weights that increase from 0 at the outermost node toward 1."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(count) / count), dtype=np.float32)
