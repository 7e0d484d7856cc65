"""Affine maps with bounded parameters as tensors, and their displacement on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .flow import identity_grid

Tensor = torch.Tensor


@dataclass(frozen=True)
class AffineBounds:
    """Bounds of the parameters of an affine map.

    Attributes
    ----------
    translation : float
        Fraction of the image's longest side.
    rotation : float
        Radians, about each axis.
    log_scale : float
        Natural logarithm, along each axis.
    shear : float
        Radians, for each pair of axes.
    """

    translation: float = 0.25
    rotation: float = math.pi / 4
    log_scale: float = 0.2
    shear: float = math.pi / 8


def parameter_count(dimensions: int) -> int:
    """Return the number of parameters of an affine map: translation, rotation, scale, shear."""
    planes = dimensions * (dimensions - 1) // 2
    return 2 * dimensions + 2 * planes


def affine_matrix(raw: Tensor, dimensions: int, bounds: AffineBounds) -> tuple[Tensor, Tensor]:
    """Return the matrix (N, D, D) and the translation (N, D; fractions of the longest side) from unbounded parameters.

    Parameters
    ----------
    raw : (N, parameter_count) tensor
        Unbounded parameters; tanh limits each one, and 0 is the identity. The matrix is rotation times shear times
        scale.
    """
    planes = dimensions * (dimensions - 1) // 2
    shift, turn, stretch, slant = torch.tanh(raw).split([dimensions, planes, dimensions, planes], 1)
    matrix = torch.diag_embed(torch.exp(bounds.log_scale * stretch))
    matrix = _sheared(torch.tan(bounds.shear * slant), dimensions) @ matrix
    for number, (a, b) in enumerate(_planes(dimensions)):
        matrix = _rotation(bounds.rotation * turn[:, number], a, b, dimensions) @ matrix
    return matrix, bounds.translation * shift


def affine_displacement(matrix: Tensor, translation: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the displacement of x -> A (x - c) + c + t, c the middle of the grid.

    Parameters
    ----------
    matrix : (N, D, D) tensor
        A, in voxels.
    translation : (N, D) tensor
        t, voxels.
    shape : sequence of D int
        The grid.

    Returns
    -------
    Tensor
        (N, D, *shape), voxels.
    """
    middle = matrix.new_tensor([(size - 1) / 2 for size in shape]).view(1, -1, *[1] * len(shape))
    x = identity_grid(shape, matrix) - middle
    slope = matrix - torch.eye(len(shape), dtype=matrix.dtype, device=matrix.device)
    moved = torch.einsum("nij,nj...->ni...", slope, x.expand(matrix.shape[0], *x.shape[1:]))
    return moved + translation.view(*translation.shape, *[1] * len(shape))


def _planes(dimensions: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(dimensions) for b in range(a + 1, dimensions)]


def _sheared(slopes: Tensor, dimensions: int) -> Tensor:
    matrix = torch.eye(dimensions, dtype=slopes.dtype, device=slopes.device).repeat(slopes.shape[0], 1, 1)
    rows, columns = zip(*_planes(dimensions), strict=True)
    matrix[:, list(rows), list(columns)] = slopes
    return matrix


def _rotation(angle: Tensor, a: int, b: int, dimensions: int) -> Tensor:
    matrix = torch.eye(dimensions, dtype=angle.dtype, device=angle.device).repeat(angle.shape[0], 1, 1)
    matrix[:, a, a] = matrix[:, b, b] = torch.cos(angle)
    matrix[:, a, b] = -torch.sin(angle)
    matrix[:, b, a] = torch.sin(angle)
    return matrix
