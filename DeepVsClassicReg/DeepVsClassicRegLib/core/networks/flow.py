"""Displacements in voxels as tensors, 2D and 3D: sampling, composition, integration, resizing, derivatives.

A displacement is (N, D, *spatial) with components in the order of the spatial axes (z, y, x). The centers of the first
and last voxels of two grids over the same box coincide (torch's `align_corners=True`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional

from ..losses.sampling import at_least_single, warp

__all__ = [
    "compose",
    "determinant",
    "identity_grid",
    "integrate",
    "jacobian_determinant",
    "jacobian_rows",
    "resize_field",
    "upsample_field",
    "velocity_to_displacement",
    "warp",
]

Tensor = torch.Tensor
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return the composition of displacements: first `first`, then `second`.

    u(x) = first(x) + second(x + first(x)); outside of its grid `second` has its border values. Warping with u equals
    warping with `second`, then warping the result with `first`.
    """
    return first + warp(second, first)


def integrate(velocity: Tensor, *, steps: int = 7) -> Tensor:
    """Return the displacement after unit time along a stationary velocity, by scaling and squaring.

    Parameters
    ----------
    velocity : (N, D, *spatial) tensor
        Voxels of its own grid per unit time.
    steps : int
        Number of squarings; 2 ** steps is the number of small steps.

    Reference
    ---------
    Arsigny et al., MICCAI 2006, doi 10.1007/11866565_113.
    """
    u = at_least_single(velocity) / 2**steps
    for _ in range(steps):
        u = compose(u, u)
    return u


def resize_field(u: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a displacement on another grid over the same box, in voxels of that grid.

    Parameters
    ----------
    u : (N, D, *spatial) tensor
        In voxels of its own grid.
    shape : sequence of D int
        Size of the new grid.
    """
    old, new = tuple(u.shape[2:]), tuple(shape)
    if old == new:
        return u
    resized = functional.interpolate(at_least_single(u), size=new, mode=LINEAR[len(new)], align_corners=True)
    gains = [(n - 1) / max(m - 1, 1) for n, m in zip(new, old, strict=True)]
    if len(set(gains)) == 1:
        return resized * gains[0]
    return resized * resized.new_tensor(gains).view(1, -1, *[1] * len(new))


def upsample_field(u: Tensor, stride: int, shape: Sequence[int]) -> Tensor:
    """Return a displacement from the grid of strided convolutions on the grid of the image.

    Voxel k of the coarse grid is exactly at voxel k * stride of the image. `resize_field`, which scales both grids to
    one box, would have an error of up to `stride - 1` voxels at the far end.

    Parameters
    ----------
    u : (N, D, *coarse) tensor
        In voxels of the coarse grid.
    stride : int
        Voxels of the image per voxel of the coarse grid.
    shape : sequence of D int
        Size of the image, at most `coarse * stride`; voxels after the last coarse one repeat it.
    """
    fine = at_least_single(u)
    if stride > 1:
        size = [(n - 1) * stride + 1 for n in u.shape[2:]]
        fine = functional.interpolate(fine, size=size, mode=LINEAR[len(size)], align_corners=True) * stride
    margins: list[int] = []
    for old, new in zip(reversed(fine.shape[2:]), reversed(tuple(shape)), strict=True):
        margins += [0, max(new - old, 0)]
    if any(margins):
        fine = functional.pad(fine, margins, mode="replicate")
    return fine[(slice(None), slice(None), *(slice(0, n) for n in shape))]


def velocity_to_displacement(velocity: Tensor, *, steps: int, stride: int, shape: Sequence[int]) -> Tensor:
    """Return the displacement at every voxel of the image.

    Parameters
    ----------
    velocity : (N, D, *coarse) tensor
        In voxels of its own grid, which has one voxel per `stride` voxels of the image.
    steps : int
        Squarings; 0 uses the velocity as the displacement.
    stride : int
        Voxels of the image per voxel of the velocity.
    shape : sequence of D int
        Size of the image.
    """
    coarse = integrate(velocity, steps=steps) if steps else at_least_single(velocity)
    return upsample_field(coarse, stride, shape)


def jacobian_rows(u: Tensor) -> list[list[Tensor]]:
    """Return the derivative of x -> x + u(x): entry [i][j] is that of component i along axis j, (N, *spatial).

    Central differences, one-sided at the border.
    """
    axes = list(range(1, u.ndim - 1))
    rows = [list(torch.gradient(u[:, component], dim=axes)) for component in range(len(axes))]
    for number, row in enumerate(rows):
        row[number] = row[number] + 1
    return rows


def determinant(rows: list[list[Tensor]]) -> Tensor:
    """Return the determinant of a matrix of tensors of one shape, by its rows."""
    if len(rows) == 1:
        return rows[0][0]
    total = torch.zeros_like(rows[0][0])
    for number, first in enumerate(rows[0]):
        minor = [row[:number] + row[number + 1 :] for row in rows[1:]]
        total = total + (-1) ** number * first * determinant(minor)
    return total


def jacobian_determinant(u: Tensor) -> Tensor:
    """Return the determinant of the derivative of x -> x + u(x), (N, 1, *spatial).

    Central differences, one-sided at the border; 1 keeps the volume, 0 or less folds.
    """
    return determinant(jacobian_rows(u))[:, None]


def identity_grid(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return the voxel indices of a grid, (1, D, *shape), with the dtype and device of `like`."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
