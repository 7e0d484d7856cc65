"""Converts exact parts of a network's prediction, in voxels of its grid, to parts of a transform in LPS mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...networks.parts import AffinePart, DisplacementPart, SplinePart, VelocityPart
from ...networks.parts import Part as NetworkPart
from ...transforms.transform import Affine, BSpline, DisplacementField, Part, VelocityField
from ...transforms.units import channels_to_mm
from .fading import faded

Array = npt.NDArray[np.floating]
# A spline is 0 beyond three control points with value 0.
SUPPORT = 3


def exact_parts(parts: Sequence[NetworkPart], grid: Grid) -> tuple[Part, ...]:
    """Return the parts predicted by a 3D network as parts of a transform.

    Parameters
    ----------
    parts : sequence of network parts
        Parts of one sample, on the CPU; the first one is applied first.
    grid : Grid
        The network's grid. Fields and splines decrease to 0 outside of it; an affine part is valid everywhere.
    """
    return tuple(_exact(part, grid) for part in parts)


def _exact(part: NetworkPart, grid: Grid) -> Part:
    if isinstance(part, AffinePart):
        return affine_of(part.matrix[0].double().numpy(), part.translation[0].double().numpy(), grid)
    if isinstance(part, SplinePart):
        return _spline(part, grid)
    values = part.velocity if isinstance(part, VelocityPart) else part.values
    own = _coarse(grid, part.stride, tuple(values.shape[2:]))
    wide, around = faded(values[0].numpy(), own)
    array = channels_to_mm(wide, around)
    if isinstance(part, DisplacementPart) or part.steps == 0:
        return DisplacementField(array, around)
    return VelocityField(array, around, part.steps)


def affine_of(matrix_zyx: Array, translation_zyx: Array, grid: Grid) -> Affine:
    """Return x -> A (x - c) + c + t, given in voxels (z, y, x) of a grid about its middle c, as a map of points."""
    linear = grid.matrix[:3, :3]
    matrix = linear @ matrix_zyx[::-1, ::-1] @ np.linalg.inv(linear)
    return Affine.about(matrix, grid.center_mm, linear @ translation_zyx[::-1])


def _spline(part: SplinePart, grid: Grid) -> BSpline:
    values = part.coefficients[0].numpy()
    own = _coarse(grid, part.spacing, tuple(values.shape[1:]), first=-part.spacing)
    # Coefficients are in voxels of the image; `faded` expects voxels of their own grid.
    wide, around = faded((values / part.spacing).astype(np.float32), own)
    wide = np.pad(wide, [(0, 0), *[(SUPPORT, SUPPORT)] * 3])
    around = around.padded(SUPPORT)
    return BSpline(channels_to_mm(wide, around), around)


def _coarse(grid: Grid, stride: int, shape: tuple[int, ...], first: int = 0) -> Grid:
    """Return the grid whose voxel k is at voxel first + k * stride."""
    spacing = tuple(stride * spacing for spacing in grid.spacing_mm)
    origin = grid.index_to_point([first] * 3)
    return Grid(tuple(shape[::-1]), spacing, tuple(origin.tolist()), grid.direction)  # type: ignore[arg-type]
