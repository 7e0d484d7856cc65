"""Locations where two volumes on one grid match worst, independent of contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.intensity import robust_range

# In units of the grid (mm for a head).
BLOCK, SAMPLE = 10.0, 2.5
LEAST_INSIDE = 0.5
COUNT = 200


@dataclass(frozen=True)
class Mismatch:
    """A block in which volumes do not match.

    Attributes
    ----------
    point_mm : tuple of 3 float
        LPS coordinates of its center.
    percent : float
        Standard deviation of the residuals of the best linear fit, in percent of the range of the fixed intensities.
    """

    point_mm: tuple[float, float, float]
    percent: float


def mismatches_of(
    fixed: npt.NDArray[np.generic],
    warped: npt.NDArray[np.generic],
    inside: npt.NDArray[np.bool_],
    grid: Grid,
    *,
    count: int = COUNT,
) -> list[Mismatch]:
    """Return the blocks in which the warped volume predicts the fixed volume worst, worst first.

    In blocks of about 10 mm (for a head; otherwise in proportion) the fixed intensities are fitted linearly by the
    warped ones. The residual does not depend on the contrast, so that T1 and T2 can be compared; unlike a correlation
    it is small in blocks that contain mostly noise.

    Parameters
    ----------
    fixed, warped : (Z, Y, X) arrays
        Volumes on the same grid.
    inside : (Z, Y, X) bool array
        Region of the comparison; a block is used when at least half of it is inside.
    grid : Grid
        Grid of both volumes.
    count : int
        Maximum number of blocks.
    """
    if not inside.any():
        return []
    unit = grid.view_unit_mm
    step = [max(1, int(SAMPLE * unit / s)) for s in grid.spacing_mm]
    edge = [max(2, round(BLOCK * unit / (s * n))) for s, n in zip(grid.spacing_mm, step, strict=True)]
    every = tuple(slice(None, None, n) for n in step[::-1])
    mask = inside[every]
    if not mask.any():
        return []
    (f, spread), (w, _) = (_clipped(array[every], mask) for array in (fixed, warped))
    if spread <= 0:
        return []
    f, w, m = _blocks(f, edge), _blocks(w, edge), _blocks(mask, edge)
    voxels = m.sum(axis=-1)
    safe = np.maximum(voxels, 1)
    f = m * (f - (m * f).sum(axis=-1, keepdims=True) / safe[..., None])
    w = m * (w - (m * w).sum(axis=-1, keepdims=True) / safe[..., None])
    common = (f * w).sum(axis=-1) ** 2 / np.maximum((w * w).sum(axis=-1), 1e-12)
    left = 100 * np.sqrt(np.maximum((f * f).sum(axis=-1) - common, 0) / safe) / spread
    left[voxels < LEAST_INSIDE * m.shape[-1]] = -1
    order = np.argsort(-left, axis=None, kind="stable")[:count]
    order = order[left.reshape(-1)[order] >= 0]
    k, j, i = np.unravel_index(order, left.shape)
    centers = (np.stack([i, j, k], axis=-1) + 0.5) * np.array(edge) * np.array(step) - 0.5
    points = grid.index_to_point(np.minimum(centers, np.array(grid.size) - 1))
    return [
        Mismatch((float(x), float(y), float(z)), float(left.flat[place]))
        for (x, y, z), place in zip(points, order, strict=True)
    ]


def _clipped(array: npt.NDArray[np.generic], inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], float]:
    """Return the array clipped to its robust range in the region, and the width of that range."""
    values = array.astype(np.float64)
    low, high = robust_range(values[inside])
    return np.clip(values, low, high), high - low


def _blocks(array: npt.NDArray[np.generic], edge: list[int]) -> npt.NDArray[np.float64]:
    """Return (blocks z, y, x, voxels of a block); incomplete blocks at the upper border are omitted."""
    sizes = [max(1, n // e) for n, e in zip(array.shape, edge[::-1], strict=True)]
    steps = [min(e, n) for n, e in zip(array.shape, edge[::-1], strict=True)]
    cut = array[tuple(slice(0, s * e) for s, e in zip(sizes, steps, strict=True))]
    parts = cut.reshape(sizes[0], steps[0], sizes[1], steps[1], sizes[2], steps[2]).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(*sizes, -1).astype(np.float64)
