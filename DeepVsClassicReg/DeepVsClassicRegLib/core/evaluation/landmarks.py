"""Target registration error of corresponding landmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..transforms.transform import Transform

Array = npt.NDArray[np.float64]


def landmark_errors(transform: Transform, fixed_points: npt.ArrayLike, moving_points: npt.ArrayLike) -> Array:
    """Return the distance of each mapped fixed landmark from its moving landmark, mm, shape (N,).

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving transform.
    fixed_points, moving_points : (N, 3) arrays
        Corresponding landmarks, LPS mm.

    Examples
    --------
    >>> landmark_errors(Transform(), [[0, 0, 0]], [[3, 4, 0]])
    array([5.])
    """
    mapped = transform.apply(np.asarray(fixed_points, dtype=float).reshape(-1, 3))
    return np.asarray(np.linalg.norm(mapped - np.asarray(moving_points, dtype=float).reshape(-1, 3), axis=1))


def landmark_measures(transform: Transform, fixed_points: Array, moving_points: Array) -> dict[str, Any]:
    """Return mean, median, maximum and individual landmark errors; empty when there are no landmarks."""
    errors = landmark_errors(transform, fixed_points, moving_points)
    if not len(errors):
        return {}
    return {
        "tre_mm_mean": float(errors.mean()),
        "tre_mm_median": float(np.median(errors)),
        "tre_mm_max": float(errors.max()),
        "tre_mm_per_point": [float(error) for error in errors],
    }
