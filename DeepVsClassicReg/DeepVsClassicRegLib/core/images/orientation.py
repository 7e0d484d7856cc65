"""From matrices of file headers to grids: rounded direction cosines become the nearest rotation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import GeometryError
from .grid import Grid

# Cosines rounded to three decimals make this deviation of the axes from right angles at most (cosine between two axes).
MOST_ROUNDING = 4e-3
# Below this part of a voxel a shift by rounding is not worth a note.
_NOTED_VOX = 0.05


def grid_from_ras(matrix: npt.NDArray[np.float64], size: tuple[int, int, int], name: str, notes: list[str]) -> Grid:
    """Return the grid of a (4, 4) matrix from indices to RAS mm; see `grid_from_lps`."""
    return grid_from_lps(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix, size, name, notes)


def grid_from_lps(matrix: npt.NDArray[np.float64], size: tuple[int, int, int], name: str, notes: list[str]) -> Grid:
    """Return the grid of a (4, 4) matrix from indices to LPS mm.

    Parameters
    ----------
    matrix : (4, 4) array
        Its columns may deviate from right angles as far as rounding explains (`MOST_ROUNDING`).
    size : tuple of 3 int
        Voxels along i, j, k.
    name : str
        The file, for messages.
    notes : list of str
        Gets a sentence when the nearest rotation moves a corner visibly.

    Raises
    ------
    GeometryError
        When a number is not finite, a column is zero, or the axes are sheared.
    """
    columns = matrix[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(matrix).all() or (spacing <= 0).any():
        raise GeometryError(
            f"{name}: the header's orientation is not usable (voxel size {spacing.tolist()}, numbers that are zero or "
            "not finite).",
            hint="Repair the file's header, or export the image again.",
        )
    axes = columns / spacing
    u, _, vt = np.linalg.svd(axes)
    rotation = u @ vt
    if np.abs(axes.T @ axes - np.eye(3)).max() > MOST_ROUNDING:
        raise GeometryError(
            f"{name} has sheared axes: they are not at right angles.",
            hint="Resample it to an ordinary grid first (in Slicer: Harden transform, Resample).",
        )
    # The nearest rotation keeps the center of the image, so that the corners move least.
    center = (np.array(size) - 1) / 2
    origin = matrix[:3, 3] + (columns - rotation * spacing) @ center
    moved = float(np.linalg.norm((columns - rotation * spacing) @ _corners(center), axis=0).max())
    if moved > _NOTED_VOX * spacing.min():
        notes.append(
            f"The header's direction cosines are rounded; the nearest rotation moves the corners by {moved:.2g} mm."
        )
    if moved < 1e-3 * spacing.min():
        origin = matrix[:3, 3]
    x, y, z = (float(value) for value in spacing)
    a, b, c = (float(value) for value in origin)
    return Grid(size, (x, y, z), (a, b, c), tuple(float(value) for value in rotation.ravel()))


def _corners(half: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    return (signs * half).T
