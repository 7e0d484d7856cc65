"""Grid: regular lines of the fixed space where the deformable part of the map takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.lengths import nearest_step
from ..colors import LINES
from ..plotting import EXTENT, Draw
from .base import UPPER, View

if TYPE_CHECKING:
    from ...transforms.affine import Affine
    from ...transforms.transform import Transform
    from ..figures import Pictures, Side
    from ..planes import Plane

GRID_LINES = 24
SPACING = 3.0  # of the field that is shown, in units of the grid, mm for a head


def deformable_part(transform: Transform, grid: Grid) -> Transform:
    """Return what is left of a map on a grid, sampled coarsely, when its linear part is undone.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.
    grid : Grid
        Where it is looked at.
    """
    from ...transforms.field import DisplacementField
    from ...transforms.transform import Transform

    coarse = _coarse(grid)
    points, moved = coarse.points(), _moved(transform, coarse)
    rest = _linear_part(points, moved).inverse().apply(moved) - points
    return Transform((DisplacementField(rest.astype(np.float32), coarse),))


def _coarse(grid: Grid) -> Grid:
    return grid.with_spacing([max(s, SPACING * grid.view_unit_mm) for s in grid.spacing_mm])


def _moved(transform: Transform, grid: Grid) -> npt.NDArray[np.floating]:
    return grid.points() + transform.displacement_on(grid).array_mm


def _linear_part(points: npt.NDArray[np.floating], moved: npt.NDArray[np.floating]) -> Affine:
    from ...transforms.affine import fit_affine, is_flat

    chosen = points[::3, ::3, ::3]
    # A single slice says nothing about the direction across it.
    return fit_affine(chosen, moved[::3, ::3, ::3], kind="rigid" if is_flat(chosen.reshape(-1, 3)) else "affine")


def _row(pictures: Pictures, side: Side) -> Draw:
    coarse = _coarse(pictures.pair.fixed.grid)
    undone = _linear_part(coarse.points(), _moved(pictures.transform, coarse)).inverse()
    step_mm = nearest_step(max(max(p.width_mm, p.height_mm) for p in pictures.planes) / GRID_LINES)
    shown = [_moved_pixels(plane, pictures.transform, undone) for plane in pictures.planes]

    def draw(axes: Any, n: int) -> None:
        axes.imshow(0.75 * side.volumes[n], cmap="gray", vmin=0, vmax=1, **EXTENT)
        every = max(1, round(step_mm / pictures.planes[n].grid.spacing_mm[0]))
        across, down = shown[n][every // 2 :: every], shown[n][:, every // 2 :: every].swapaxes(0, 1)
        for line in (*across, *down):
            axes.plot(line[:, 0], line[:, 1], color=LINES, linewidth=0.7, alpha=0.95)

    return draw


def _moved_pixels(plane: Plane, transform: Transform, undone: Affine) -> npt.NDArray[np.float64]:
    """Return where each pixel of a picture goes, (rows, columns, 2), in pixels (x, y) of the picture."""
    moved = undone.apply(_moved(transform, plane.grid)[0])
    return np.asarray(plane.grid.point_to_index(moved)[..., :2], dtype=np.float64)


VIEW = View(
    name="grid",
    title="Grid",
    caption="A regular grid on the fixed volume, carried along by the map to the moving volume; shift, rotation, scale "
    "and shear are taken away. Lines that cross are folds.",
    needs=("fixed", UPPER, "transform"),
    options={"spacing": "Line distance:"},
    row=_row,
    before=False,
)
