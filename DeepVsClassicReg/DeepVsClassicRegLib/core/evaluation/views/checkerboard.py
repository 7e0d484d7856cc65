"""Checkerboard: alternating squares of the fixed and the warped volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ..plotting import Draw, gray
from .base import View

if TYPE_CHECKING:
    from ..figures import Pictures, Side

SQUARES = 7  # along the longer edge of a picture in the report


def checkerboard(first: npt.NDArray[Any], second: npt.NDArray[Any], grid: Grid, tile_mm: float) -> npt.NDArray[Any]:
    """Return alternating squares of the first and the second volume, (Z, Y, X).

    Parameters
    ----------
    first, second : (Z, Y, X) array
        The corner voxel is of the first volume.
    grid : Grid
        Grid of both volumes.
    tile_mm : float
        Edge length of a square; at least one voxel.
    """
    odd = [(np.arange(n) // max(1, round(tile_mm / s))) % 2 for n, s in zip(grid.size, grid.spacing_mm, strict=True)]
    mixed = first.copy()
    plane = (odd[1][:, None] ^ odd[0][None, :]).astype(bool)
    for index, flip in enumerate(odd[2]):
        np.copyto(mixed[index], second[index], where=plane ^ bool(flip))
    return mixed


def _row(pictures: Pictures, side: Side) -> Draw:
    return gray(
        [
            checkerboard(fixed[None], upper[None], plane.grid, max(plane.width_mm, plane.height_mm) / SQUARES)[0]
            for plane, fixed, upper in zip(pictures.planes, pictures.fixed, side.volumes, strict=True)
        ]
    )


VIEW = View(
    name="checkerboard",
    title="Checkerboard",
    caption="Fixed and warped volume in alternating squares: edges should continue across the squares.",
    options={"tile": "Square size:"},
    row=_row,
)
