"""Displacements from cubic B-spline control points, by a separable transposed convolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional

from ..losses.sampling import at_least_single

Tensor = torch.Tensor


def control_shape(shape: Sequence[int], spacing: int) -> tuple[int, ...]:
    """Return the number of control points per axis for a grid of `shape` voxels.

    Control point k is at voxel (k - 1) * spacing, so that every voxel has its four per axis.
    """
    return tuple((size - 1) // spacing + 4 for size in shape)


def spline_field(coefficients: Tensor, spacing: int, shape: Sequence[int]) -> Tensor:
    """Return the spline at every voxel.

    Parameters
    ----------
    coefficients : (N, C, *control) tensor
        One value per control point; `control` is `control_shape(shape, spacing)`.
    spacing : int
        Voxels between neighboring control points.
    shape : sequence of int
        Size of the grid.

    Reference
    ---------
    Rueckert et al., IEEE TMI 18:712-721, 1999, doi 10.1109/42.796284.
    """
    result = at_least_single(coefficients)
    kernel = _cubic(spacing, result)
    # Mixed precision would compute these convolutions with 16 bits, which are too few for positions.
    with torch.autocast(result.device.type, enabled=False):
        for number, size in enumerate(shape):
            result = _along(result, kernel, number + 2, spacing, size)
    return result


def _along(values: Tensor, kernel: Tensor, axis: int, spacing: int, size: int) -> Tensor:
    lines = values.movedim(axis, -1)
    flat = lines.reshape(-1, 1, lines.shape[-1])
    # Control point 1 sits on voxel 0: drop what its left half and control point 0 reach beyond it.
    wide = functional.conv_transpose1d(flat, kernel, stride=spacing)[..., 3 * spacing - 1 :][..., :size]
    return wide.reshape(*lines.shape[:-1], size).movedim(-1, axis)


def _cubic(spacing: int, like: Tensor) -> Tensor:
    """Return the cubic B-spline at every `spacing`-th part of its support, (1, 1, 4 * spacing - 1)."""
    steps = torch.arange(1 - 2 * spacing, 2 * spacing, dtype=like.dtype, device=like.device)
    x = steps.abs() / spacing
    inner = 2 / 3 - x**2 + x**3 / 2
    outer = (2 - x) ** 3 / 6
    return torch.where(x < 1, inner, outer).view(1, 1, -1)
