"""Where a transform can be relied on: points at which it folds, was extrapolated, or that leave the view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from .transform import Affine, Transform

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
# An inverse is reported as inaccurate from this error on, in units of the destination's grid.
INACCURATE = 0.5
STEP = 0.25  # of the finest field spacing, for derivatives


@dataclass(frozen=True)
class Reliability:
    """How many of some points a transform maps unreliably.

    Attributes
    ----------
    count : int
        Number of points.
    folded : int
        The determinant of the Jacobian is 0 or less there.
    extrapolated : int
        They lie beyond the fields of the transform, where only its affine parts apply.
    outside : int
        After mapping they lie outside the volume that is the destination.
    inaccurate : int
        The inverse could not be computed accurately.
    inverse_error_mm, inverse_error_mean_mm : float
        Largest and mean error of the inverse.
    """

    count: int
    folded: int = 0
    extrapolated: int = 0
    outside: int = 0
    inaccurate: int = 0
    inverse_error_mm: float = 0.0
    inverse_error_mean_mm: float = 0.0

    def notes(self, view: str) -> tuple[str, ...]:
        """Return a sentence for each problem; `view` names the destination's volume."""
        found = []
        if self.folded:
            found.append(f"The transform folds at {self._share(self.folded)}; what is there may be turned inside out.")
        if self.inaccurate:
            found.append(
                f"The inverse is inaccurate at {self._share(self.inaccurate)} "
                f"(error up to {self.inverse_error_mm:.2f} mm)."
            )
        if self.extrapolated:
            found.append(
                f"{self._share(self.extrapolated).capitalize()} lie beyond the field of the transform, where it is "
                "extrapolated."
            )
        if self.outside == self.count and self.count:
            found.append(f"It lies completely outside {view}.")
        elif self.outside:
            found.append(f"{self._share(self.outside).capitalize()} lie outside {view}.")
        return tuple(found)

    def _share(self, number: int) -> str:
        percent = 100 * number / self.count
        shown = "less than 1 %" if percent < 1 else f"{percent:.0f} %"
        return f"{shown} of its points"


def reliability(
    transform: Transform,
    fixed_mm: npt.ArrayLike,
    *,
    shown_mm: npt.ArrayLike,
    view: Grid | None,
    inverse_error_mm: npt.ArrayLike = 0.0,
) -> Reliability:
    """Return how reliable a map is at some points.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.
    fixed_mm : (N, 3) array
        The points on the fixed side, LPS mm.
    shown_mm : (N, 3) array
        The same points on the side of the destination.
    view : Grid or None
        Grid of the volume on that side; None when there is none.
    inverse_error_mm : (N,) array, optional
        Error of the inverse at the points.
    """
    points, shown = (np.asarray(array, dtype=float).reshape(-1, 3) for array in (fixed_mm, shown_mm))
    errors = np.broadcast_to(np.asarray(inverse_error_mm, dtype=float), len(points))
    if not len(points):
        return Reliability(0)
    unit = view.unit_mm if view is not None else 1.0
    return Reliability(
        count=len(points),
        folded=int((determinants(transform, points) <= 0).sum()),
        extrapolated=int(is_extrapolated(transform, points).sum()),
        outside=0 if view is None else int((~view.contains(shown)).sum()),
        inaccurate=int((errors > INACCURATE * unit).sum()),
        inverse_error_mm=float(errors.max()),
        inverse_error_mean_mm=float(errors.mean()),
    )


def is_extrapolated(transform: Transform, points_mm: npt.ArrayLike) -> Flags:
    """Return which fixed points lie outside one of the fields when they reach it, (N,)."""
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    beyond = np.zeros(len(points), dtype=bool)
    for part in transform.parts:
        if not isinstance(part, Affine):
            beyond |= ~part.grid.contains(points)
        points = part.apply(points)
    return beyond


def determinants(transform: Transform, points_mm: npt.ArrayLike) -> Array:
    """Return the determinant of the Jacobian at fixed points, (N,)."""
    return np.asarray(np.linalg.det(jacobians(transform, points_mm)))


def jacobians(transform: Transform, points_mm: npt.ArrayLike) -> Array:
    """Return the Jacobian matrices at fixed points, (N, 3, 3), by central differences; exact for linear maps."""
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    if transform.affine is not None:
        return np.broadcast_to(transform.affine.matrix, (len(points), 3, 3))
    finest = min(min(part.grid.spacing_mm) for part in transform.parts if not isinstance(part, Affine))
    step = STEP * finest
    columns = []
    for axis in np.eye(3) * step:
        columns.append((transform.apply(points + axis) - transform.apply(points - axis)) / (2 * step))
    return np.stack(columns, axis=-1)
