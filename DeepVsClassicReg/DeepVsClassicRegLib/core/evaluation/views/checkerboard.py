"""Checkerboard: squares of the fixed and the warped volume in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ..plotting import Draw, gray
from .base import View

if TYPE_CHECKING:
    from ..figures import Pictures, Side

SQUARES = 7  # along the longer edge of a picture of the report


def checkerboard(first: npt.NDArray[Any], second: npt.NDArray[Any], grid: Grid, tile_mm: float) -> npt.NDArray[Any]:
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
    caption="Fixed and warped in alternate squares: edges should run on across the squares.",
    options={"tile": "Square size:"},
    row=_row,
)
