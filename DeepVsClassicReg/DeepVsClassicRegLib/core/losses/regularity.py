"""Smoothness of displacement fields, as torch losses for 2D and 3D."""

from __future__ import annotations

import torch

from .sampling import warp

Tensor = torch.Tensor


def diffusion(u: Tensor) -> Tensor:
    """Return the mean squared first derivative of a field.

    Parameters
    ----------
    u : (N, D, *spatial) tensor
        Displacements, any unit.
    """
    total = u.new_zeros(())
    for axis in range(2, u.ndim):
        total = total + u.diff(dim=axis).square().mean()
    return total / (u.ndim - 2)


def bending(u: Tensor) -> Tensor:
    """Return the mean squared second derivative of a field, mixed ones counted twice.

    References
    ----------
    Rueckert et al., IEEE TMI 18:712-721, 1999, doi 10.1109/42.796284.
    """
    total = u.new_zeros(())
    for a in range(2, u.ndim):
        total = total + u.diff(n=2, dim=a).square().mean()
        for b in range(a + 1, u.ndim):
            total = total + 2 * u.diff(dim=a).diff(dim=b).square().mean()
    return total


def folding(u: Tensor) -> Tensor:
    """Return the mean of max(0, -det) of x -> x + u(x), by forward differences.

    `u` (N, D, *spatial) contains voxels, its components in the order of the spatial axes.
    """
    count = u.ndim - 2
    inner = [slice(None), slice(None), *(slice(0, n - 1) for n in u.shape[2:])]
    slopes = []
    for axis in range(count):
        part = list(inner)
        part[axis + 2] = slice(None)
        slopes.append(u[tuple(part)].diff(dim=axis + 2))
    matrix = torch.stack(slopes, -1).movedim(1, -2)
    determinant = torch.linalg.det(matrix + torch.eye(count, dtype=u.dtype, device=u.device))
    return torch.relu(-determinant).mean()


def antifold(u: Tensor) -> Tensor:
    """Return the penalty on voxels mapped beyond their axis neighbors: mean of max(0, -(1 + du_i/dx_i)) ** 3, summed.

    Faster than `folding`, but does not detect folds by shear or rotation. `u` (N, D, *spatial) is in voxels, with
    components in the order of the spatial axes.

    References
    ----------
    Zhang, Inverse-consistent deep networks, arXiv 1809.03443.
    """
    total = u.new_zeros(())
    for axis in range(u.ndim - 2):
        slope = u[:, axis].diff(dim=axis + 1)
        total = total + torch.relu(-1 - slope).pow(3).mean()
    return total


def inverse_consistency(forward: Tensor, backward: Tensor) -> Tensor:
    """Return the mean squared distance between a voxel and its image under both maps, one after another.

    Parameters
    ----------
    forward, backward : (N, D, *spatial) tensors
        Displacements in voxels, approximately inverse to each other; both orders are averaged.

    References
    ----------
    Christensen and Johnson, IEEE TMI 20:568-582, 2001, doi 10.1109/42.932742.
    """
    there = forward + warp(backward, forward)
    back = backward + warp(forward, backward)
    return 0.5 * (there.square().sum(1).mean() + back.square().sum(1).mean())
