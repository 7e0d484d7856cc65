"""Smooth random fields of unit variance, used for shapes, warps and bias fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from . import separable
from .draws import Draws

Tensor = torch.Tensor


def smooth_noise(draws: Draws, shape: Sequence[int], *, scale: float, channels: int = 1) -> Tensor:
    """Return smooth Gaussian noise of unit variance at every voxel.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    shape : sequence of int
        Spatial shape, 2 or 3 axes.
    scale : float
        Distance of the control points, voxels; features are about twice as large.
    channels : int
        Independent fields.

    Returns
    -------
    (channels, *shape) tensor
    """
    matrices = [
        separable.bspline(count, min(scale, max(count - 1, 1)), draws.uniform(0, 1), draws.device) for count in shape
    ]
    grid = draws.control_points([channels, *(matrix.shape[1] for matrix in matrices)])
    return separable.along_axes(grid, matrices)


def multiscale_noise(
    draws: Draws, shape: Sequence[int], *, scales: Sequence[float], weights: Sequence[float], channels: int = 1
) -> Tensor:
    """Return the weighted sum of smooth noise of several scales (voxels), (channels, *shape)."""
    total = torch.zeros((channels, *shape), device=draws.device)
    for scale, weight in zip(scales, weights, strict=True):
        if weight:
            total += weight * smooth_noise(draws, shape, scale=scale, channels=channels)
    return total
