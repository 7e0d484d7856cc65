"""Inverses: of whole transforms with the error that is left, of single points, and the iteration behind all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..images.grid import Grid
from ..images.resample import field_image
from .transform import Affine, BSpline, DisplacementField, Part, Transform, VelocityField

Array = npt.NDArray[np.floating]
INVERSE_TOLERANCE = 0.005  # in units of the grid, mm for a head
# Shortened steps converge where the plain iteration would swing between two states.
SHORT_STEP = 0.75
POLISHING_STEPS = 40
POINT_TOLERANCE = 1e-5  # in units of the field's grid


@dataclass(frozen=True)
class Inverse:
    """An inverse with the error that was left.

    Attributes
    ----------
    transform : Transform
        The moving-to-fixed map.
    residual_max_mm, residual_mean_mm : float
        Length of T(T^-1(y)) - y over the voxels of the given grid.
    """

    transform: Transform
    residual_max_mm: float
    residual_mean_mm: float


def invert(transform: Transform, grid: Grid, *, iterations: int = 60, tolerance_mm: float | None = None) -> Inverse:
    """Invert a transform and say how well that went.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.
    grid : Grid
        The moving volume's grid; the residual is measured on its voxels.
    iterations : int
        Most fixed-point iterations for a displacement field (a folded field never converges; its
        residual says so).
    tolerance_mm : float, optional
        Largest error of a step at which the iteration stops; 0.005 mm for a head, in proportion for other grids.
    """
    tolerance = INVERSE_TOLERANCE * grid.unit_mm if tolerance_mm is None else tolerance_mm
    parts = [_inverse_part(part, iterations, tolerance) for part in reversed(transform.parts)]
    inverse = Transform.of(parts)
    coarse = grid.with_spacing([max(s, e / 96) for s, e in zip(grid.spacing_mm, grid.extent_mm, strict=True)])
    error = np.linalg.norm(Transform.of([inverse, transform]).displacement_on(coarse).array_mm, axis=-1)
    return Inverse(inverse, float(error.max()), float(error.mean()))


class PointInverse:
    """The inverse of a transform at single points, for landmarks and vertices; prepared once, used many times.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.

    References
    ----------
    Chen et al., Med. Phys. 35:81-88, 2008, doi 10.1118/1.2816107.
    """

    def __init__(self, transform: Transform) -> None:
        # Velocities are integrated once instead of at every step.
        parts = (part.exponential() if isinstance(part, VelocityField) else part for part in transform.parts)
        self.transform = Transform(tuple(parts))
        spacings = [part.grid.unit_mm for part in transform.parts if not isinstance(part, Affine)]
        self.tolerance_mm = POINT_TOLERANCE * min(spacings, default=1.0)
        self._linear = _inverse_linear_part(transform).T

    @cached_property
    def _start(self) -> Transform:
        """The inverse, sampled coarsely: it only starts the iteration at the points themselves."""
        return Transform.of([_inverse_part(part, 30, 0.2) for part in reversed(self.transform.parts)])

    def __call__(self, points_mm: npt.ArrayLike, *, near_mm: npt.ArrayLike | None = None) -> tuple[Array, Array]:
        """Return the fixed points that the transform maps to these moving points, and the error left for each.

        Parameters
        ----------
        points_mm : (N, 3) array
            Moving points, LPS mm.
        near_mm : (N, 3) array, optional
            Fixed points near the wanted ones, such as corresponding landmarks: no inverse of the whole transform is
            computed to start from.

        Returns
        -------
        points, residual : arrays of shape (N, 3) and (N,)
            Fixed points in LPS mm, and |T(point) - moving point| in mm.
        """
        wanted = np.asarray(points_mm, dtype=float)
        best = self._start.apply(wanted) if near_mm is None else np.array(near_mm, dtype=float)
        error = self.transform.apply(best) - wanted
        for _ in range(POLISHING_STEPS):
            open_ = np.flatnonzero(np.linalg.norm(error, axis=1) > self.tolerance_mm)
            trial = best[open_] - SHORT_STEP * error[open_] @ self._linear
            trial_error = self.transform.apply(trial) - wanted[open_]
            closer = np.linalg.norm(trial_error, axis=1) < np.linalg.norm(error[open_], axis=1)
            if not closer.any():
                break
            best[open_[closer]], error[open_[closer]] = trial[closer], trial_error[closer]
        return best, np.asarray(np.linalg.norm(error, axis=1))


def invert_points(transform: Transform, points_mm: Array) -> tuple[Array, Array]:
    """Return the fixed points of these moving points and the error left, see `PointInverse`."""
    return PointInverse(transform)(points_mm)


def fixed_point_inverse(
    start: Array, error_of: Callable[[Array], Array], *, step: float, iterations: int, is_done: Callable[[Array], bool]
) -> Array:
    """Return v at which an error vanishes, by the iteration v <- v - step * error(v).

    Parameters
    ----------
    start : array
        First guess of the inverse; it is not changed.
    error_of : callable
        v + u(x + v) for the inverse v of displacements u; how the field is sampled is the caller's choice.
    step : float
        1 is the plain iteration.
    iterations : int
        Most of them.
    is_done : callable
        Gets the error before every step; True ends the iteration after it.

    References
    ----------
    Chen et al., Med. Phys. 35:81-88, 2008, doi 10.1118/1.2816107.
    """
    found = start.copy()
    for _ in range(iterations):
        error = error_of(found)
        found -= found.dtype.type(step) * error
        if is_done(error):
            break
    return found


def _inverse_part(part: Part, iterations: int, tolerance_mm: float) -> Part:
    if isinstance(part, (Affine, VelocityField)):
        return part.inverse()
    if isinstance(part, BSpline):
        fine = part.grid.with_spacing([s / 2 for s in part.grid.spacing_mm])
        part = Transform((part,)).displacement_on(fine)
    return _inverse_field(part, iterations, tolerance_mm)


def _inverse_field(field: DisplacementField, iterations: int, tolerance_mm: float) -> DisplacementField:
    """Return the inverse on the field's grid, padded by the largest displacement."""
    reach = np.abs(field.array_mm).max() / np.array(field.grid.spacing_mm)
    grid = field.grid.padded([int(n) for n in np.minimum(np.ceil(reach), np.array(field.grid.size))])
    forward = field.image()

    def error_of(inverse: Array) -> Array:
        through = sitk.DisplacementFieldTransform(field_image(inverse, grid))
        moved = sitk.Resample(forward, field_image(inverse, grid), through, sitk.sitkLinear, 0.0)
        return np.asarray(sitk.GetArrayViewFromImage(moved) + inverse)

    def is_done(error: Array) -> bool:
        lengths = np.linalg.norm(error, axis=-1)
        return bool(lengths.mean() < tolerance_mm / 10 and lengths.max() < tolerance_mm)

    inverse = fixed_point_inverse(
        np.zeros((*grid.shape, 3)), error_of, step=SHORT_STEP, iterations=iterations, is_done=is_done
    )
    return DisplacementField(inverse.astype(np.float32), grid)


def _inverse_linear_part(transform: Transform) -> Array:
    """Return the inverse of the product of the linear parts, which turns an error in moving into one in fixed space."""
    matrix = np.eye(3)
    for part in transform.parts:
        if isinstance(part, Affine):
            matrix = part.matrix @ matrix
    return np.asarray(np.linalg.inv(matrix))
