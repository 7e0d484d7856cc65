"""Overlap of soft segmentations as a torch loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .windows import separable

Tensor = torch.Tensor
SIGMAS_VOX = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)


def soft_dice(fixed: Tensor, warped: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Return 1 minus the mean soft Dice over labels and batch.

    Parameters
    ----------
    fixed, warped : (N, labels, *spatial) tensors
        Memberships, 0 to 1. A label absent from both counts as perfect.

    References
    ----------
    Milletari et al., 3DV 2016, doi 10.1109/3DV.2016.79.
    """
    axes = tuple(range(2, fixed.ndim))
    both = (fixed * warped).sum(axes)
    whole = fixed.sum(axes) + warped.sum(axes)
    return 1 - ((2 * both + eps) / (whole + eps)).mean()


def squared_dice(fixed: Tensor, warped: Tensor, *, eps: float = 1e-2) -> Tensor:
    """Return 1 minus the mean overlap 2 sum(ab) / (sum(a^2) + sum(b^2)), 0 for equal memberships, hard or soft.

    Labels absent from the fixed image are ignored.

    Parameters
    ----------
    fixed, warped : (N, K, *spatial) tensors
        Memberships, 0 to 1.

    References
    ----------
    Milletari et al., 3DV 2016, doi 10.1109/3DV.2016.79.
    """
    axes = tuple(range(2, fixed.ndim))
    both = (fixed * warped).sum(axes)
    size = fixed.square().sum(axes) + warped.square().sum(axes)
    there = (fixed.amax(axes) > 0).to(size.dtype)
    return 1 - (there * (2 * both + eps) / (size + eps)).sum() / there.sum().clamp_min(1)


def multiscale_dice(fixed: Tensor, warped: Tensor, *, sigmas_vox: Sequence[float] = SIGMAS_VOX) -> Tensor:
    """Return 1 minus the mean overlap of Gaussian-blurred memberships, which has gradients for distant labels as well.

    The overlap is 2 sum(ab) / (sum(a^2) + sum(b^2)). With the squares, which the paper does not use, equal labels
    overlap perfectly at any blur, so that every scale has the same weight for small structures as well.

    Parameters
    ----------
    fixed, warped : (N, labels, *spatial) tensors
        Memberships, 0 to 1. A label absent from both counts as perfect.
    sigmas_vox : sequence of float
        Standard deviations of the blurs in voxels; 0 for no blur.

    References
    ----------
    Hu et al., Med. Image Anal. 49:1-13, 2018, doi 10.1016/j.media.2018.07.002.
    """
    total = fixed.new_zeros(())
    for sigma in sigmas_vox:
        total = total + 1 - _squared_overlap(_blurred(fixed, sigma), _blurred(warped, sigma))
    return total / len(sigmas_vox)


def _squared_overlap(fixed: Tensor, warped: Tensor, *, eps: float = 1e-6) -> Tensor:
    axes = tuple(range(2, fixed.ndim))
    both = (fixed * warped).sum(axes)
    size = fixed.square().sum(axes) + warped.square().sum(axes)
    return ((2 * both + eps) / (size + eps)).mean()


def _blurred(image: Tensor, sigma: float) -> Tensor:
    if sigma == 0:
        return image
    steps = torch.arange(math.ceil(3 * sigma) + 1, dtype=image.dtype, device=image.device)
    half = torch.exp(-0.5 * (steps / sigma) ** 2)
    half = half / (2 * half.sum() - half[0])
    return separable(image, [half] * (image.ndim - 2))
