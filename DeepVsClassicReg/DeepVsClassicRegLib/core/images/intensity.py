"""Intensity preparation shared by engines: robust ranges, windows, foreground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .volume import Volume

Array = npt.NDArray[np.float32]


def robust_range(array: npt.NDArray[np.floating], *, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Return two percentiles of the values, widened to the full range when they coincide."""
    lower, upper = np.percentile(array, [low, high])
    if upper <= lower:
        lower, upper = float(array.min()), float(array.max())
    return float(lower), float(upper)


def normalized(volume: Volume, *, low: float = 0.5, high: float = 99.5) -> Array:
    """Return the intensities mapped so that the robust range becomes 0..1, clipped there."""
    lower, upper = robust_range(volume.array, low=low, high=high)
    if upper == lower:
        return np.zeros_like(volume.array)
    return np.clip((volume.array - lower) / np.float32(upper - lower), 0, 1).astype(np.float32)


def background_value(volume: Volume) -> float:
    """Return the intensity outside the body: the low end of the robust range.

    Air in CT, zero in skull-stripped MR; used to fill what lies beyond the moving volume.
    """
    return robust_range(volume.array)[0]


def foreground(volume: Volume, *, fraction: float = 0.1) -> npt.NDArray[np.bool_]:
    """Return voxels brighter than `fraction` of the robust range, (Z, Y, X).

    Skull-stripped volumes give the organ; volumes without a dark background give nearly everything.
    """
    lower, upper = robust_range(volume.array)
    return np.asarray(volume.array > lower + fraction * (upper - lower))
