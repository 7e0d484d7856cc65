"""Smooth motion: transforms of neighboring frames averaged over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm

from ..images.grid import Grid
from ..transforms.mean import affine_logarithm
from ..transforms.transform import Affine, DisplacementField, Transform

REACH = 3  # standard deviations of the Gaussian
Array = npt.NDArray[np.float64]


def time_weights(count: int, sigma_frames: float, *, cyclic: bool = False) -> Array:
    """Return the weight of every frame in the smoothed motion of every frame, (T, T); rows add up to 1.

    Parameters
    ----------
    count : int
        Number of frames.
    sigma_frames : float
        Standard deviation of the Gaussian in frames; 0 gives the identity.
    cyclic : bool
        Whether the first frame follows the last one.

    Examples
    --------
    >>> time_weights(3, 1.0).round(2)
    array([[0.57, 0.35, 0.08],
           [0.27, 0.45, 0.27],
           [0.08, 0.35, 0.57]])
    """
    if sigma_frames <= 0:
        return np.eye(count)
    apart = np.abs(np.arange(count)[:, None] - np.arange(count)).astype(np.float64)
    if cyclic:
        apart = np.minimum(apart, count - apart)
    weights = np.where(apart <= REACH * sigma_frames, np.exp(-0.5 * (apart / sigma_frames) ** 2), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def smoothed(
    read: Sequence[Callable[[], Transform]], weights: Array, grid: Grid, *, fixed_frame: int | None = None
) -> list[Callable[[], Transform]]:
    """Return functions that give the smoothed transforms, one per frame; each is computed when it is called.

    Linear maps are averaged by their logarithms and stay linear (rigid ones rigid), others by their displacements on
    the grid.

    Parameters
    ----------
    read : sequence of callable
        Give the transform of each frame.
    weights : (T, T) array
        See `time_weights`.
    grid : Grid
        Grid of the reference.
    fixed_frame : int, optional
        The reference frame, whose transform stays the identity; it takes part in the averages of the others.
    """
    window = int((weights > 0).sum(axis=1).max())
    linear = [transform().affine for transform in read]
    if all(affine is not None for affine in linear):
        logs = np.stack([affine_logarithm(affine) for affine in linear if affine is not None])

        def averaged(number: int) -> Transform:
            mean = np.einsum("t,tab->ab", weights[number], logs)
            return Transform((Affine.from_homogeneous(np.asarray(expm(mean), dtype=np.float64)),))
    else:
        field = lru_cache(maxsize=window)(lambda number: read[number]().displacement_on(grid).array_mm)

        def averaged(number: int) -> Transform:
            total = np.zeros((*grid.shape, 3), np.float32)
            for other in np.flatnonzero(weights[number]):
                total += np.float32(weights[number, other]) * field(int(other))
            return Transform((DisplacementField(total, grid),))

    def frame(number: int) -> Callable[[], Transform]:
        return Transform if number == fixed_frame else lambda: averaged(number)

    return [frame(number) for number in range(len(read))]
