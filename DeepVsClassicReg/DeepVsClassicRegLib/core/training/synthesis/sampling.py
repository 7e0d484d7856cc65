"""Samples label maps with an affine map and a warp, at several points per voxel for partial volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

Tensor = torch.Tensor
# The corners of a tetrahedron (in the plane, of a square), then the center.
_POINTS = {
    2: ((-1, -1), (1, 1), (-1, 1), (1, -1), (0, 0)),
    3: ((-1, -1, -1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (0, 0, 0)),
}


def lookup(
    labels: Tensor, affine: Tensor, displacement: Tensor, *, points: int = 4, beyond: Literal["zero", "border"] = "zero"
) -> Tensor:
    """Return the label at several points of every voxel of the training grid.

    Parameters
    ----------
    labels : integer tensor, 2 or 3 axes
        A label map.
    affine : (D, D + 1) tensor
        Maps indices of the training grid to indices of the label map.
    displacement : (D, *shape) tensor
        Applied first, voxels of the training grid.
    points : int
        1: the voxel's center; up to 4: points a quarter voxel off along each axis; 5: those and the center.
    beyond : 'zero' or 'border'
        Label of points outside the label map: 0 or that of the nearest voxel.

    Returns
    -------
    (points, *shape) int64 tensor
    """
    shape = displacement.shape[1:]
    dimensions = len(shape)
    device = displacement.device
    where = displacement.reshape(dimensions, *shape).clone()
    for axis, count in enumerate(shape):
        where[axis] += torch.arange(count, device=device).reshape([-1 if a == axis else 1 for a in range(dimensions)])
    linear = affine[:, :-1].to(device, torch.float32)
    where = linear @ where.reshape(dimensions, -1)
    flat = labels.reshape(-1)
    found = []
    for offset in _offsets(dimensions, points):
        shift = affine[:, -1].to(device, torch.float32) + linear @ torch.tensor(offset, device=device)
        found.append(_nearest(flat, labels.shape, where, shift, beyond == "border"))
    return torch.stack(found).reshape(len(found), *shape)


def memberships(samples: Tensor, channel_of: Tensor, channels: int) -> Tensor:
    """Return the fraction of every voxel that belongs to each structure.

    Parameters
    ----------
    samples : (points, *shape) int64 tensor
        Labels from `lookup`.
    channel_of : (labels,) int64 tensor
        Channel of every label, 1..channels; 0 for labels without a channel.
    channels : int
        Number of structures.

    Returns
    -------
    (channels, *shape) tensor, 0 to 1
    """
    flat = samples.reshape(len(samples), -1)
    shares = torch.zeros((channels + 1, flat.shape[1]), device=samples.device)
    share = torch.full((1, flat.shape[1]), 1 / len(flat), device=samples.device)
    for point in flat:
        shares.scatter_add_(0, channel_of[point][None], share)
    return shares[1:].reshape(channels, *samples.shape[1:])


def _offsets(dimensions: int, points: int) -> Sequence[Sequence[float]]:
    if points == 1:
        return [[0.0] * dimensions]
    return [[0.25 * step for step in corner] for corner in _POINTS[dimensions][:points]]


def _nearest(flat: Tensor, shape: Sequence[int], where: Tensor, shift: Tensor, clamped: bool) -> Tensor:
    """Look up the nearest voxels; coordinates (D, V) plus a common shift, 0 outside unless clamped."""
    index = torch.zeros(where.shape[1], dtype=torch.int64, device=where.device)
    inside = torch.ones(where.shape[1], dtype=torch.bool, device=where.device)
    for axis, count in enumerate(shape):
        nearest = (where[axis] + (shift[axis] + 0.5)).floor()
        if not clamped:
            inside &= (nearest >= 0) & (nearest < count)
        index += nearest.clamp_(0, count - 1).to(torch.int64) * math.prod(shape[axis + 1 :])
    found = flat[index].to(torch.int64)
    return found if clamped else found * inside
