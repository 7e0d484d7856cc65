"""Sampling along displacements in torch; fields are (1, 3, Z, Y, X), z, y, x in voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

Tensor = torch.Tensor


def warp(image: Tensor, u: Tensor) -> Tensor:
    """Return image(x + u(x)) of a (1, C, Z, Y, X) image, trilinear, the border continued."""
    shape = u.shape[2:]
    axes = [torch.arange(n, dtype=u.dtype, device=u.device) for n in shape]
    parts = []
    for axis in (2, 1, 0):
        sizes = [1, 1, 1]
        sizes[axis] = shape[axis]
        position = u[0, axis] + axes[axis].view(sizes)
        parts.append(position * (2.0 / max(shape[axis] - 1, 1)) - 1.0)
    grid = torch.stack(parts, -1)[None]
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return first(x) + second(x + first(x))."""
    return first + warp(second, first)


def slopes(image: Tensor) -> Tensor:
    """Return the central differences of a (1, C, Z, Y, X) image, (1, C, 3, Z, Y, X), 0 at the x border."""
    parts = []
    for axis in (2, 3, 4):
        count = image.shape[axis]
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, count - 1, 1)
        wide = torch.cat([first, image, last], axis)
        parts.append(0.5 * (wide.narrow(axis, 2, count) - wide.narrow(axis, 0, count)))
    return torch.stack(parts, 2)


def upsample(coarse: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return a voxel field on a finer lattice over the same box, in the finer lattice's voxels."""
    gain = torch.tensor([n / c for n, c in zip(shape, coarse.shape[2:], strict=True)], device=coarse.device)
    fine = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=False)
    return fine * gain.to(fine.dtype).view(1, 3, 1, 1, 1)
