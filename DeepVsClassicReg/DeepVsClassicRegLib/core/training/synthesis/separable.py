"""Smoothing, slice profiles and interpolation along the axes as small matrices, fast on CPU and GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

Tensor = torch.Tensor


def along_axes(image: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Multiply every spatial axis with its matrix.

    Parameters
    ----------
    image : (C, *spatial) tensor
        Channels first.
    matrices : one (out, in) tensor or None per spatial axis
        None does not change the axis.

    Returns
    -------
    (C, *out) tensor
    """
    for axis, matrix in enumerate(matrices, start=1):
        if matrix is None:
            continue
        shape = list(image.shape)
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        shape[axis] = matrix.shape[0]
        if after == 1:
            image = (image.reshape(before, -1) @ matrix.T).reshape(shape)
        else:
            stacked = image.reshape(before, -1, after)
            image = torch.bmm(matrix.expand(before, *matrix.shape), stacked).reshape(shape)
    return image


def gaussian(count: int, sigma: float, device: torch.device | str = "cpu") -> Tensor:
    """Return the (count, count) matrix of a Gaussian blur of `sigma` voxels; rows sum to one at the border too."""
    index = torch.arange(count, dtype=torch.float32, device=device)
    weights = torch.exp(-0.5 * ((index[:, None] - index[None, :]) / max(sigma, 1e-3)) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def slices(count: int, thickness: float, offset: float, device: torch.device | str = "cpu") -> Tensor:
    """Return the (count, count) matrix of a scan with thick slices, interpolated back linearly.

    Parameters
    ----------
    count : int
        Voxels along the axis.
    thickness : float
        Slice thickness and distance, voxels, at least 1.
    offset : float
        Position of the first slice as a fraction of the thickness.
    """
    number = max(2, math.ceil(count / thickness) + 1)
    centers = (torch.arange(number, dtype=torch.float32, device=device) + offset - 0.5) * thickness
    index = torch.arange(count, dtype=torch.float32, device=device)
    # Fraction of each voxel (width 1) inside the slice (width `thickness`).
    overlap = (thickness + 1) / 2 - (centers[:, None] - index[None, :]).abs()
    profile = overlap.clamp(0, 1) + 1e-6 * torch.exp(-(centers[:, None] - index[None, :]).abs())
    profile = profile / profile.sum(dim=1, keepdim=True)
    hats = (1 - (index[:, None] - centers[None, :]).abs() / thickness).clamp(min=0) + 1e-9
    return (hats / hats.sum(dim=1, keepdim=True)) @ profile


def low_pass(count: int, fraction: float, device: torch.device | str = "cpu") -> Tensor:
    """Return the (count, count) matrix that keeps this fraction of k-space, with the ringing of a real scanner.

    The axis is mirrored at both ends, so that opposite borders do not mix.
    """
    index = torch.arange(count, dtype=torch.float32, device=device)
    cosines = torch.cos(math.pi * (index[:, None] + 0.5) * index[None, :] / count)
    cosines = cosines * math.sqrt(2 / count)
    cosines[:, 0] = math.sqrt(1 / count)
    kept = cosines[:, : max(1, round(fraction * count))]
    return kept @ kept.T


def linear(count: int, coarse: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the (count, coarse) matrix of linear interpolation with the end points aligned."""
    position = torch.linspace(0, coarse - 1, count, device=device)
    knots = torch.arange(coarse, dtype=torch.float32, device=device)
    return (1 - (position[:, None] - knots[None, :]).abs()).clamp(min=0)


def bspline(count: int, scale: float, phase: float = 0.0, device: torch.device | str = "cpu") -> Tensor:
    """Return the (count, controls) matrix that turns independent unit normals into smooth unit normals.

    Parameters
    ----------
    count : int
        Voxels along the axis.
    scale : float
        Distance of the control points of the cubic B-spline, voxels.
    phase : float
        Shift of the grid, 0 to 1 control distances.
    """
    controls = math.ceil((count - 1) / scale + 1) + 3
    position = torch.arange(count, dtype=torch.float32, device=device) / scale + 1 + phase
    t = (position[:, None] - torch.arange(controls, dtype=torch.float32, device=device)[None, :]).abs()
    inner = 2 / 3 - t**2 + t**3 / 2
    outer = (2 - t).clamp(min=0) ** 3 / 6
    weights = torch.where(t < 1, inner, outer)
    return weights / weights.square().sum(dim=1, keepdim=True).sqrt()
