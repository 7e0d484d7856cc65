"""Storing a field no finer than it needs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk

from ..images.grid import Grid
from ..images.resample import continued_image
from .field import DisplacementField

TOLERANCE = 0.05  # in units of the fixed grid, mm for a head


def compacted(field: DisplacementField, *, tolerance_mm: float | None = None) -> DisplacementField:
    """Return the field on the coarsest grid whose linear interpolation stays within the tolerance.

    Parameters
    ----------
    field : DisplacementField
        The field as the engine made it.
    tolerance_mm : float, optional
        Largest deviation allowed anywhere on the given grid; 0.05 mm for a head, in proportion for other grids.

    Returns
    -------
    DisplacementField
        On a grid 4, 3 or 2 times coarser, or the field itself.
    """
    tolerance = TOLERANCE * field.grid.unit_mm if tolerance_mm is None else tolerance_mm
    for factor in (4, 3, 2):
        coarse = _coarser(field, factor)
        # A few planes rule out most grids at a fraction of the price.
        if coarse is not None and all(deviation_mm(coarse, part) <= tolerance for part in (*_planes(field), field)):
            return coarse
    return field


def deviation_mm(coarse: DisplacementField, fine: DisplacementField) -> float:
    """Return the largest difference of two fields over the voxels of the finer one, mm."""
    back = sitk.GetArrayFromImage(continued_image(coarse.image(), fine.grid))  # a view would outlive the image
    return float(np.sqrt(((back - fine.array_mm) ** 2).sum(-1).max()))


def _planes(field: DisplacementField, *, count: int = 4) -> Iterator[DisplacementField]:
    """Yield planes across the last index axis, from the middle outward."""
    nx, ny, nz = field.grid.size
    for number in np.argsort(np.abs(np.arange(count) - (count - 1) / 2), kind="stable"):
        k = int((2 * number + 1) * nz / (2 * count))
        origin = tuple(field.grid.index_to_point([0, 0, k]).tolist())
        grid = Grid((nx, ny, 1), field.grid.spacing_mm, origin, field.grid.direction)
        yield DisplacementField(field.array_mm[k : k + 1], grid)


def _coarser(field: DisplacementField, factor: int) -> DisplacementField | None:
    if min(field.grid.size) < 4 * factor:
        return None
    # Nodes lie on every factor-th voxel center and reach past the last one, so no border is lost.
    size = [-(-(n - 1) // factor) + 1 for n in field.grid.size]
    spacing = [s * factor for s in field.grid.spacing_mm]
    grid = Grid(
        (size[0], size[1], size[2]), (spacing[0], spacing[1], spacing[2]), field.grid.origin_mm, field.grid.direction
    )
    return DisplacementField.from_sitk(continued_image(field.image(), grid))
