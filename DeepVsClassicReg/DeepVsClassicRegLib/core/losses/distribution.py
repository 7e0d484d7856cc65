"""Divergence of a predicted Gaussian from a prior, as torch losses for 2D and 3D."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def kl_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of N(mean, variance) from N(0, 1), averaged over the entries."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()


def kl_graph_prior(mean: Tensor, log_variance: Tensor, *, precision: float) -> Tensor:
    """Return the divergence of an independent Gaussian field from a smooth one, per voxel.

    The inverse covariance of the prior is `precision` times the Laplacian (degree minus adjacency) of the voxel grid:
    it favors equal neighbors and does not constrain the mean. The (infinite) normalization constant is omitted.

    Parameters
    ----------
    mean, log_variance : (N, D, *spatial) tensors
        Mean and log variance of the velocity.
    precision : float
        Larger values give smoother fields; the optimal variance is 1 / (precision * number of neighbors).

    Reference
    ---------
    Dalca et al., Med. Image Anal. 57:226-236, 2019, doi 10.1016/j.media.2019.07.006.
    """
    axes = tuple(range(2, mean.ndim))
    voxels = mean[0, 0].numel()
    trace = (precision * _degree(mean) * log_variance.exp()).sum(axes)
    roughness = mean.new_zeros(mean.shape[:2])
    for axis in axes:
        roughness = roughness + mean.diff(dim=axis).square().sum(axes)
    total = trace - log_variance.sum(axes) + precision * roughness
    return 0.5 * total.sum(1).mean() / voxels


def _degree(like: Tensor) -> Tensor:
    """Return the number of axis neighbors of each voxel, (1, 1, *spatial)."""
    degree = like.new_zeros((1, 1, *like.shape[2:]))
    for axis in range(2, like.ndim):
        count = like.shape[axis]
        degree.narrow(axis, 0, count - 1).add_(1)
        degree.narrow(axis, 1, count - 1).add_(1)
    return degree
