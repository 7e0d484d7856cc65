"""Grid: a regular grid of fixed space, deformed by the deformable part of the transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid, nearest_step
from ..colors import LINES
from ..plotting import EXTENT, Draw
from .base import UPPER, View

if TYPE_CHECKING:
    from ...transforms.transform import Affine, Transform
    from ..figures import Pictures, Plane, Side
    from ..region import Ready

GRID_LINES = 24
SPACING = 3.0  # of the displayed field, in units of the grid (mm for a head)


def deformable_part(transform: Transform, grid: Grid) -> Transform:
    """Return the deformable part of a transform on a grid, sampled coarsely: its linear part is removed.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.
    grid : Grid
        Region of the samples.
    """
    from ...transforms.transform import DisplacementField, Transform

    coarse = _coarse(grid)
    points, moved = coarse.points(), _moved(transform, coarse)
    rest = _linear_part(points, moved).inverse().apply(moved) - points
    return Transform((DisplacementField(rest.astype(np.float32), coarse),))


def _coarse(grid: Grid) -> Grid:
    return grid.with_spacing([max(s, SPACING * grid.view_unit_mm) for s in grid.spacing_mm])


def _moved(transform: Transform | Ready, grid: Grid) -> npt.NDArray[np.floating]:
    return grid.points() + transform.displacement_on(grid).array_mm


def _linear_part(points: npt.NDArray[np.floating], moved: npt.NDArray[np.floating]) -> Affine:
    from ...transforms.transform import fit_affine, is_flat

    chosen = points[::3, ::3, ::3]
    # A single slice does not determine the component perpendicular to it.
    return fit_affine(chosen, moved[::3, ::3, ::3], kind="rigid" if is_flat(chosen.reshape(-1, 3)) else "affine")


def _row(pictures: Pictures, side: Side) -> Draw:
    coarse = _coarse(pictures.pair.fixed.grid)
    undone = _linear_part(coarse.points(), _moved(pictures.transform, coarse)).inverse()
    step_mm = nearest_step(max(max(p.width_mm, p.height_mm) for p in pictures.planes) / GRID_LINES)
    shown = [_moved_pixels(plane, pictures.transform, undone) for plane in pictures.planes]

    from matplotlib.collections import LineCollection

    def draw(axes: Any, n: int) -> None:
        axes.imshow(0.75 * side.volumes[n], cmap="gray", vmin=0, vmax=1, **EXTENT)
        every = max(1, round(step_mm / pictures.planes[n].grid.spacing_mm[0]))
        across, down = shown[n][every // 2 :: every], shown[n][:, every // 2 :: every].swapaxes(0, 1)
        axes.add_collection(LineCollection([*across, *down], colors=[LINES], linewidths=0.7, alpha=0.95))

    return draw


def _moved_pixels(plane: Plane, transform: Ready, undone: Affine) -> npt.NDArray[np.float64]:
    """Return the mapped position of each pixel, (rows, columns, 2), in pixels (x, y) of the picture."""
    moved = undone.apply(_moved(transform, plane.grid)[0])
    return np.asarray(plane.grid.point_to_index(moved)[..., :2], dtype=np.float64)


VIEW = View(
    name="grid",
    title="Grid",
    caption="A regular grid of the fixed volume, deformed by the transform to the moving volume; shift, rotation, "
    "scale and shear are removed. Crossing lines are folds.",
    needs=("fixed", UPPER, "transform"),
    options={"spacing": "Line distance:"},
    row=_row,
    before=False,
)
