"""Jacobian determinant of a map in physical space, and what it says about folding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.volume import Volume
from .transform import DisplacementField, Transform

LOG_FLOOR = 1e-9
SLAB = 16


@dataclass(frozen=True)
class Regularity:
    """How regular a map is over the voxels that were looked at.

    Attributes
    ----------
    folding_percent : float
        Share of voxels with determinant <= 0, percent.
    sd_log_jacobian : float
        Standard deviation of log(determinant), determinants clipped at 1e-9.
    lowest, highest : float
        Extreme determinants.
    """

    folding_percent: float
    sd_log_jacobian: float
    lowest: float
    highest: float


def jacobian_determinant(transform: Transform, grid: Grid, *, name: str = "Jacobian") -> Volume:
    """Return det(d phi / dx) of the fixed-to-moving map on the voxels of a grid.

    Derivatives are central differences of the displacements in mm along the grid's axes, rotated into
    the LPS frame; 1 keeps the volume, below 1 shrinks, 0 or less folds.
    """
    return field_jacobian(transform.displacement_on(grid), name=name)


def field_jacobian(field: DisplacementField, *, name: str = "Jacobian") -> Volume:
    """Return the determinant of x -> x + u(x) on the field's own grid."""
    count = field.grid.shape[0]
    slabs = [_slab(field, start, min(start + SLAB, count)) for start in range(0, count, SLAB)]
    return Volume(np.concatenate(slabs), field.grid, name)


def regularity(jacobian: Volume, mask: npt.NDArray[np.bool_] | None = None) -> Regularity:
    """Summarize a determinant map inside a mask (all voxels when there is none).

    References
    ----------
    Hering et al., Learn2Reg, IEEE TMI 42:697-712, 2023 (SD of the log Jacobian).
    """
    values = jacobian.array if mask is None or not mask.any() else jacobian.array[mask]
    logs = np.log(np.maximum(values.astype(np.float64), LOG_FLOOR))
    return Regularity(float(100.0 * np.mean(values <= 0)), float(logs.std()), float(values.min()), float(values.max()))


def _slab(field: DisplacementField, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Determinants of slices start..stop; slab by slab bounds the memory of the nine derivatives."""
    low, high = max(start - 1, 0), min(stop + 1, field.grid.shape[0])
    u = np.ascontiguousarray(np.moveaxis(field.array_mm[low:high], -1, 0))
    axes = field.grid.axes.astype(np.float32)
    # With the slopes G along the axes A (both columns) the determinant is det(I + G inv(A)) = det(A + G) / det(A).
    columns = np.empty((3, 3, stop - start, *u.shape[2:]), dtype=np.float32)
    for axis, (dimension, spacing) in enumerate(zip((3, 2, 1), field.grid.spacing_mm, strict=True)):
        columns[axis] = axes[:, axis].reshape(3, 1, 1, 1)
        if u.shape[dimension] > 1:
            columns[axis] += np.gradient(u, spacing, axis=dimension)[:, start - low : stop - low]
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = columns
    found = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    return np.asarray(found / np.float32(np.linalg.det(field.grid.axes)))
