"""Arrays for looking: windowed volumes, checkerboards, differences, coded Jacobians; numpy only, any thread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.images.grid import Grid

Bytes = npt.NDArray[np.uint8]
LOG_RANGE = 1.5
FOLD_CODE = -2.0
SLAB = 16
# In units of the grid, mm for a head.
BLOCK, SAMPLE = 10.0, 2.5


def windowed(array: npt.NDArray[np.floating], window: float, level: float) -> Bytes:
    """Return what a display of this window and level shows, as 0..255."""
    result = np.empty(array.shape, dtype=np.uint8)
    scale = 255.0 / max(float(window), 1e-12)
    offset = 127.5 - level * scale
    # Slab by slab: the float temporaries of a whole volume would not fit the cache.
    for start in range(0, len(array), SLAB):
        part = array[start : start + SLAB] * np.float32(scale) + np.float32(offset)
        result[start : start + SLAB] = np.clip(part, 0, 255, out=part)
    return result


def checkerboard(first: Bytes, second: Bytes, grid: Grid, tile_mm: float) -> Bytes:
    """Return squares of the first and the second volume in turn, (Z, Y, X).

    Parameters
    ----------
    first, second : (Z, Y, X) array
        The corner voxel shows the first one.
    grid : Grid
        Of both.
    tile_mm : float
        Edge of a square; at least one voxel.
    """
    odd = [(np.arange(n) // max(1, round(tile_mm / s))) % 2 for n, s in zip(grid.size, grid.spacing_mm, strict=True)]
    mixed = first.copy()
    plane = (odd[1][:, None] ^ odd[0][None, :]).astype(bool)
    for index, flip in enumerate(odd[2]):
        np.copyto(mixed[index], second[index], where=plane ^ bool(flip))
    return mixed


def difference(fixed: Bytes, warped: Bytes) -> npt.NDArray[np.int16]:
    """Return warped minus fixed in percent of the display window, -100..100."""
    result = np.subtract(warped, fixed, dtype=np.int16)
    result *= 100
    result //= 255
    return result


def coded_log_jacobian(determinant: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the natural logarithm of the determinant, clipped to -1.5..1.5, and `FOLD_CODE` where it folds."""
    folded = determinant <= 0
    logs = np.log(np.where(folded, 1, determinant), dtype=np.float32)
    np.clip(logs, -LOG_RANGE, LOG_RANGE, out=logs)
    logs[folded] = FOLD_CODE
    return logs


def levels(fixed: Bytes) -> Bytes:
    """Return 1 for bright and 2 for the brightest tissue of a smoothed volume, whose outlines are iso contours."""
    import SimpleITK as sitk

    image = sitk.SmoothingRecursiveGaussian(sitk.Cast(sitk.GetImageFromArray(fixed), sitk.sitkFloat32), 1.2)
    smooth = sitk.GetArrayFromImage(image)
    body = smooth > 25
    bounds = (25.0, float(np.median(smooth[body])) if body.any() else 127.0)
    return np.digitize(smooth, bounds).astype(np.uint8)


def disagreement(fixed: Bytes, warped: Bytes, grid: Grid, *, count: int) -> list[tuple[npt.NDArray[np.float64], float]]:
    """Return where the warped volume explains the fixed one worst, worst first.

    In blocks of about 10 mm of a head (in proportion elsewhere) the fixed intensities are fitted linearly by the
    warped ones; what is left over (standard deviation, percent of the window) does not depend on the contrast, so T1
    and T2 can be compared.

    Returns
    -------
    list of (point, percent)
        LPS mm position of the block's center and what is left over there.
    """
    unit = grid.unit_mm
    step = [max(1, int(SAMPLE * unit / s)) for s in grid.spacing_mm]
    edge = [max(2, round(BLOCK * unit / (s * n))) for s, n in zip(grid.spacing_mm, step, strict=True)]
    f, w = (_blocks(array[:: step[2], :: step[1], :: step[0]], edge) for array in (fixed, warped))
    n = f.shape[-1]
    f -= f.mean(axis=-1, keepdims=True)
    w -= w.mean(axis=-1, keepdims=True)
    variance = (f * f).sum(axis=-1)
    common = (f * w).sum(axis=-1) ** 2 / np.maximum((w * w).sum(axis=-1), 1e-6)
    left = np.sqrt(np.maximum(variance - common, 0) / n) / 2.55
    order = np.argsort(left, axis=None)[::-1][:count]
    k, j, i = np.unravel_index(order, left.shape)
    centers = (np.stack([i, j, k], axis=-1) + 0.5) * np.array(edge) * np.array(step) - 0.5
    return [(point, float(left.flat[place])) for point, place in zip(grid.index_to_point(centers), order, strict=True)]


def _blocks(array: Bytes, edge: list[int]) -> npt.NDArray[np.float32]:
    """Return (blocks z, y, x, voxels of a block); what does not fill a block at the far border is left out."""
    sizes = [max(1, n // e) for n, e in zip(array.shape, edge[::-1], strict=True)]
    steps = [min(e, n) for n, e in zip(array.shape, edge[::-1], strict=True)]
    cut = array[tuple(slice(0, s * e) for s, e in zip(sizes, steps, strict=True))]
    parts = cut.reshape(sizes[0], steps[0], sizes[1], steps[1], sizes[2], steps[2]).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(*sizes, -1).astype(np.float32)


def separate(points_mm: npt.NDArray[np.float64], *, apart_mm: float, count: int) -> list[int]:
    """Return the indices of the first points that keep a distance from the ones taken before."""
    taken: list[int] = []
    free = np.ones(len(points_mm), dtype=bool)
    while len(taken) < count and free.any():
        index = int(np.argmax(free))
        taken.append(index)
        free &= np.linalg.norm(points_mm - points_mm[index], axis=1) > apart_mm
    return taken
