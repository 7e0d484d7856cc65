"""The grid of a network: isotropic, along the patient axes, around the foreground of the volumes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import SettingsError
from ...images.grid import Grid
from ...images.intensity import robust_range
from ...images.resample import warp_volume
from ...pair import Pair
from ...transforms.transform import Transform

Array = npt.NDArray[np.floating]
TOWARD = {
    "L": (1, 0, 0),
    "R": (-1, 0, 0),
    "P": (0, 1, 0),
    "A": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}
PROBE = 64
FOREGROUND = 0.1
MARGIN_VOX = 4
STRAIGHT = 1e-4
SAME_SPACING = 0.01
FINEST = 0.5


def model_grid(
    pair: Pair, start: Transform, *, spacing_mm: float, orientation: str = "LPS", multiple: int = 16
) -> Grid:
    """Return the grid of a network for a pair, a box around the foreground.

    Parameters
    ----------
    pair : Pair
        The pair to register; grids of any spacing, orientation and size.
    start : Transform
        Fixed-to-moving transform of the start.
    spacing_mm : float
        Voxel size, the same along all axes.
    orientation : str
        Directions of the index axes, for example 'LPS'.
    multiple : int
        Sizes are rounded up to a multiple of it.

    Notes
    -----
    The box contains the foreground of both volumes inside the fixed field of view, with a margin; empty voxels beyond
    it are not computed. When the fixed volume has the same axes and voxel size, its voxel centers are the nodes, so
    that it is not blurred.
    """
    axes = orientation_axes(orientation)
    low, high = _foreground_bounds(pair, start, axes, MARGIN_VOX * spacing_mm)
    steps, anchor = _nodes(pair.fixed.grid, axes, spacing_mm)
    first = np.floor((low - anchor) / steps + 0.5)
    size = np.maximum(np.ceil((high - anchor) / steps - 0.5) - first + 1, 1)
    rounded = np.ceil(size / multiple) * multiple
    first -= np.floor((rounded - size) / 2)
    origin = axes @ (anchor + first * steps)
    nx, ny, nz = (int(n) for n in rounded)
    return Grid((nx, ny, nz), tuple(steps.tolist()), tuple(origin.tolist()), tuple(axes.ravel().tolist()))


def plane_grid(fixed: Grid, *, spacing_mm: float, multiple: int = 16) -> Grid:
    """Return the grid of a 2D network for a fixed volume that is a single slice.

    Parameters
    ----------
    fixed : Grid
        A grid with one voxel along one axis, which becomes the third axis.
    spacing_mm : float
        Pixel size, the same along both axes.
    multiple : int
        Both sizes are rounded up to a multiple of it.
    """
    flat = fixed.size.index(1)
    order = [axis for axis in range(3) if axis != flat] + [flat]
    axes = fixed.axes[:, order]
    own = np.array(fixed.spacing_mm)[order]
    extent = (np.array(fixed.size)[order] * own)[:2]
    steps = own.copy()
    if not np.allclose(own[:2], spacing_mm, rtol=SAME_SPACING):
        steps[:2] = spacing_mm
    size = np.ceil(np.ceil(extent / steps[:2] - SAME_SPACING) / multiple) * multiple
    # With the pixel size of the fixed image the pixel centers are kept, otherwise the edges of the image.
    origin = np.asarray(fixed.origin_mm) + axes[:, :2] @ ((steps - own)[:2] / 2)
    return Grid((int(size[0]), int(size[1]), 1), tuple(steps.tolist()), tuple(origin.tolist()), tuple(axes.ravel()))


def affordable_spacing(grid: Grid, pair: Pair, *, voxels: float) -> float:
    """Return the voxel size at which the box of a grid has about `voxels` voxels.

    It is at least half of the finest voxel edge of the fixed volume, because finer voxels show no more details.
    """
    box_mm3 = float(np.prod(np.array(grid.size) * grid.spacing_mm))
    return max((box_mm3 / voxels) ** (1 / 3), FINEST * min(pair.fixed.grid.spacing_mm))


def orientation_axes(code: str) -> Array:
    """Return the (3, 3) direction matrix of axis codes; column a is the LPS direction of index axis a.

    Raises
    ------
    SettingsError
        When the code does not name three different axes.

    Examples
    --------
    >>> orientation_axes("LPS").tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if len(code) != 3 or any(letter not in TOWARD for letter in code.upper()):
        raise SettingsError(f"'{code}' is not an orientation, expected three letters like 'LPS'.")
    axes = np.array([TOWARD[letter] for letter in code.upper()], dtype=float).T
    if abs(np.linalg.det(axes)) < 0.5:
        raise SettingsError(f"The orientation '{code}' contains an axis twice.")
    return axes + 0.0


def _foreground_bounds(pair: Pair, start: Transform, axes: Array, margin_mm: float) -> tuple[Array, Array]:
    """Return the lowest and highest coordinates along `axes` of the foreground inside the fixed field of view.

    The margin around it does not exceed the field of view.
    """
    grid = pair.fixed.grid
    ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * grid.size - 0.5
    corners = grid.index_to_point(ends) @ axes
    low, high = corners.min(axis=0), corners.max(axis=0)
    step = np.maximum((high - low) / PROBE, min(grid.spacing_mm))
    size = np.maximum(np.ceil((high - low) / step - 1e-6).astype(int), 1)
    middle_of_first = low + step / 2
    probe = Grid(
        (int(size[0]), int(size[1]), int(size[2])),
        tuple(step.tolist()),
        tuple((axes @ middle_of_first).tolist()),
        tuple(axes.ravel().tolist()),
    )
    shows = _shown(warp_volume(pair.fixed, probe).array) | _shown(warp_volume(pair.moving, probe, start).array)
    index = grid.point_to_index(probe.points())
    shows &= ((index > -0.5) & (index < np.array(grid.size) - 0.5)).all(axis=-1)
    if not shows.any():
        return low, high
    used = [np.flatnonzero(shows.any(axis=tuple(other for other in range(3) if other != axis))) for axis in (2, 1, 0)]
    first = np.array([indices[0] for indices in used])
    last = np.array([indices[-1] for indices in used])
    return (
        np.maximum(low + (first - 1) * step - margin_mm, low),
        np.minimum(low + (last + 2) * step + margin_mm, high),
    )


def _shown(array: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    lower, upper = robust_range(array)
    return np.asarray(array > lower + FOREGROUND * (upper - lower))


def _nodes(fixed: Grid, axes: Array, spacing_mm: float) -> tuple[Array, Array]:
    """Return the spacing of the nodes along `axes` and the coordinates of one node."""
    turned = axes.T @ fixed.axes
    straight = np.allclose(np.abs(turned).max(axis=0), 1, atol=STRAIGHT)
    origin = np.asarray(fixed.origin_mm) @ axes
    if straight:
        spacing = np.abs(turned).round() @ np.array(fixed.spacing_mm)
        if np.allclose(spacing, spacing_mm, rtol=SAME_SPACING):
            return spacing, origin
    return np.full(3, float(spacing_mm)), origin
