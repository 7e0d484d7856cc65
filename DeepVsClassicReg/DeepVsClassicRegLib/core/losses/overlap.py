"""Overlap of soft segmentations as a torch loss."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


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
