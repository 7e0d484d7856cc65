"""MIND-SSC descriptors in torch, for 2D and 3D: the local structure around a voxel, independent of contrast."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from .windows import box_sum

Tensor = torch.Tensor


def mind_ssc(image: Tensor, *, radius: int = 1, dilation: int = 2) -> Tensor:
    """Return the self-similarity channels (12 in 3D, 4 in 2D), values in 0..1.

    Parameters
    ----------
    image : (N, 1, *spatial) tensor
        Intensities.
    radius : int
        Patches of 2 * radius + 1 voxels.
    dilation : int
        Distance of the compared patches from the voxel.

    References
    ----------
    Heinrich et al., MICCAI 2013, doi 10.1007/978-3-642-40811-3_24.
    """
    padded = _edge_padded(image, dilation)
    channels = []
    for first, second in _pairs(image.ndim - 2):
        difference = _shifted(padded, first, dilation, image) - _shifted(padded, second, dilation, image)
        channels.append(_edge_mean(difference * difference, radius))
    stack = torch.cat(channels, 1)
    stack = stack - stack.amin(1, keepdim=True)
    spread = stack.mean(1, keepdim=True)
    middle = float(spread.detach().mean())
    spread = spread.clamp(middle * 1e-3, middle * 1e3)
    return torch.exp(-stack / spread.clamp_min(1e-12))


def _pairs(dimensions: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    faces = []
    for axis in range(dimensions):
        for sign in (-1, 1):
            faces.append(tuple(sign if other == axis else 0 for other in range(dimensions)))
    return [
        (a, b)
        for number, a in enumerate(faces)
        for b in faces[number + 1 :]
        if sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) == 2
    ]


def _edge_padded(image: Tensor, width: int) -> Tensor:
    return functional.pad(image, [width] * (2 * (image.ndim - 2)), mode="replicate")


def _edge_mean(image: Tensor, radius: int) -> Tensor:
    wide = box_sum(_edge_padded(image, radius), radius)
    for axis in range(2, image.ndim):
        wide = wide.narrow(axis, radius, image.shape[axis])
    return wide / (2 * radius + 1) ** (image.ndim - 2)


def _shifted(padded: Tensor, offset: tuple[int, ...], dilation: int, like: Tensor) -> Tensor:
    result = padded
    for number, step in enumerate(offset):
        result = result.narrow(number + 2, dilation + step * dilation, like.shape[number + 2])
    return result
