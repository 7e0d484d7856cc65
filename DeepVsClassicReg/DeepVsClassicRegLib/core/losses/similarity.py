"""Similarity of two images, as differentiable torch losses (lower is better) for 2D and 3D."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .windows import box_mean

Tensor = torch.Tensor
TINY = 1e-12


def mse(fixed: Tensor, warped: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the (weighted) mean squared difference.

    Parameters
    ----------
    fixed, warped : (N, C, *spatial) tensors
        Images or descriptors.
    weight : (N, 1, *spatial) tensor, optional
        Mask, 0 to 1.
    """
    return _mean((fixed - warped) ** 2, weight)


def ncc(fixed: Tensor, warped: Tensor, weight: Tensor | None = None, *, eps: float = 1e-8) -> Tensor:
    """Return 1 minus the mean (signed) correlation of the whole images, 0 to 2.

    Parameters
    ----------
    fixed, warped : (N, C, *spatial) tensors
        Images of any range; channels are independent.
    weight : (N, 1, *spatial) tensor, optional
        Mask, 0 to 1.
    eps : float
        Variance below which an image is treated as constant.
    """
    share = torch.ones_like(fixed[:, :1]) if weight is None else weight
    axes = tuple(range(2, fixed.ndim))
    share = share / share.sum(axes, keepdim=True).clamp_min(TINY)
    f = fixed - (fixed * share).sum(axes, keepdim=True)
    w = warped - (warped * share).sum(axes, keepdim=True)
    f_var, w_var = (f * f * share).sum(axes), (w * w * share).sum(axes)
    return 1 - ((f * w * share).sum(axes) / ((f_var + eps) * (w_var + eps)).sqrt()).mean()


def lncc(fixed: Tensor, warped: Tensor, weight: Tensor | None = None, *, radius: int = 2, eps: float = 1e-5) -> Tensor:
    """Return 1 minus the mean squared local correlation over cubes of `2 * radius + 1` voxels.

    Parameters
    ----------
    fixed, warped : (N, C, *spatial) tensors
        Images scaled to about 0..1.
    weight : (N, 1, *spatial) tensor, optional
        Weights of the cubes.
    eps : float
        Variance below which a cube is treated as constant.

    References
    ----------
    Avants et al., Med. Image Anal. 12:26-41, 2008, doi 10.1016/j.media.2007.06.004.
    """
    f_mean, w_mean = box_mean(fixed, radius), box_mean(warped, radius)
    f_var = (box_mean(fixed * fixed, radius) - f_mean**2).clamp_min(0)
    w_var = (box_mean(warped * warped, radius) - w_mean**2).clamp_min(0)
    covariance = box_mean(fixed * warped, radius) - f_mean * w_mean
    return 1 - _mean(covariance**2 / ((f_var + eps) * (w_var + eps)), weight)


def mutual_information(fixed: Tensor, warped: Tensor, weight: Tensor | None = None, *, bins: int = 32) -> Tensor:
    """Return the negative mutual information (nats) of a Parzen joint histogram.

    Parameters
    ----------
    fixed, warped : (N, 1, *spatial) tensors
        Images of any range.
    weight : (N, 1, *spatial) tensor, optional
        Mask, 0 to 1.
    bins : int
        Bins per axis, at least 8. `fixed` is in the nearest bin, `warped` is distributed by cubic splines.

    References
    ----------
    Mattes et al., IEEE TMI 22:120-128, 2003, doi 10.1109/TMI.2003.809072.
    """
    total = warped.new_zeros(())
    for joint in _joint_histograms(fixed, warped, weight, bins):
        expected = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        total = total - (joint * ((joint + TINY).log() - (expected + TINY).log())).sum()
    return total / fixed.shape[0]


def normalized_mutual_information(
    fixed: Tensor, warped: Tensor, weight: Tensor | None = None, *, bins: int = 32
) -> Tensor:
    """Return minus (H(fixed) + H(warped)) / H(fixed, warped), -1 (independent) to -2 (each determines the other).

    Histogram and parameters are those of `mutual_information`. The ratio depends less on the overlap of the images than
    the mutual information.

    References
    ----------
    Studholme et al., Pattern Recognition 32:71-86, 1999, doi 10.1016/S0031-3203(98)00091-0.
    """
    total = warped.new_zeros(())
    for joint in _joint_histograms(fixed, warped, weight, bins):
        alone = _entropy(joint.sum(1)) + _entropy(joint.sum(0))
        total = total - alone / _entropy(joint).clamp_min(TINY)
    return total / fixed.shape[0]


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * (shares + TINY).log()).sum()


def _joint_histograms(fixed: Tensor, warped: Tensor, weight: Tensor | None, bins: int) -> Iterator[Tensor]:
    """Yield the joint histogram of each pair of the batch."""
    for number in range(fixed.shape[0]):
        share = None if weight is None else weight[number].reshape(-1)
        yield _joint(fixed[number].reshape(-1), warped[number].reshape(-1), share, bins)


def _joint(fixed: Tensor, warped: Tensor, share: Tensor | None, bins: int) -> Tensor:
    """Return the joint histogram of two lists of intensities, (bins, bins), its sum 1."""
    row = _in_bins(fixed.detach(), fixed.detach(), bins).round().long()
    value = _in_bins(warped, warped.detach(), bins).clamp(1, bins - 2 - 1e-3)
    first = value.detach().floor()
    t = value - first
    s = 1 - t
    parts = (s**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * s**2 + 3 * s**3, t**3)
    joint = torch.zeros(bins * bins, dtype=warped.dtype, device=warped.device)
    for offset, part in zip((-1, 0, 1, 2), parts, strict=True):
        index = row * bins + first.long() + offset
        joint = joint.index_add(0, index, part / 6 if share is None else part * share / 6)
    return joint.view(bins, bins) / joint.sum().clamp_min(TINY)


def _in_bins(image: Tensor, like: Tensor, bins: int) -> Tensor:
    low, high = like.min(), like.max()
    return 1 + (image - low) * ((bins - 4) / (high - low).clamp_min(1e-6))


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return values.mean()
    return (values * weight).sum() / (weight.sum() * values.shape[1]).clamp_min(TINY)
