"""Simulated image artifacts: bias field, blur, thick slices, ringing, noise, gamma, windowing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from . import separable
from .draws import Draws
from .noise import smooth_noise
from .settings import SynthesisSettings

Tensor = torch.Tensor
PERCENTILES = (0.5, 99.5)
_COUNTED = 60_000


def degraded(draws: Draws, image: Tensor, spacing_mm: float, settings: SynthesisSettings) -> Tensor:
    """Return the image with random artifacts.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    image : (*shape) tensor
        Intensities about 0 to 1.
    spacing_mm : float
        Voxel size.
    settings : SynthesisSettings
        Strengths and probabilities.

    Returns
    -------
    (*shape) tensor, 0 to 1
    """
    image = biased(draws, image, spacing_mm, settings)
    image = resolved(draws, image, spacing_mm, settings)
    image = image + draws.uniform(0, settings.noise) * draws.voxels(image.shape)
    return normalized(image).pow(math.exp(settings.gamma * draws.normal()))


def biased(draws: Draws, image: Tensor, spacing_mm: float, settings: SynthesisSettings) -> Tensor:
    """Return the image times a smooth positive field."""
    strength = draws.uniform(0, settings.bias)
    scale = settings.bias_scale_mm * draws.uniform(0.7, 2.0) / spacing_mm
    return image * torch.exp(strength * smooth_noise(draws, image.shape, scale=scale)[0])


def resolved(draws: Draws, image: Tensor, spacing_mm: float, settings: SynthesisSettings) -> Tensor:
    """Return the image at a lower resolution: blur, thick slices along one axis, truncated k-space."""
    blur = draws.uniform(0, settings.blur_mm) / spacing_mm
    sigmas = [blur * draws.uniform(0.5, 1.0) for _ in image.shape]
    thick_axis = draws.integer(0, image.ndim - 1) if draws.chance(settings.thick) else -1
    thickness = draws.uniform(spacing_mm, max(spacing_mm, settings.thickness_mm)) / spacing_mm
    offset = draws.uniform(0, 1)
    ringing = draws.chance(settings.ringing)
    kept = [draws.uniform(0.5, 0.9) for _ in image.shape]
    matrices: list[Tensor | None] = []
    for axis, count in enumerate(image.shape):
        matrix = separable.gaussian(count, sigmas[axis], image.device) if sigmas[axis] > 0.2 else None
        if axis == thick_axis and thickness > 1.05:
            matrix = _after(separable.slices(count, thickness, offset, image.device), matrix)
        elif ringing:
            matrix = _after(separable.low_pass(count, kept[axis], image.device), matrix)
        matrices.append(matrix)
    return separable.along_axes(image[None], matrices)[0]


def normalized(image: Tensor) -> Tensor:
    """Return the image with its robust range mapped to 0..1 and clipped there.

    The percentiles are those of `core.images.intensity.normalized`, which prepares real images, computed on a regular
    subset of some ten thousand voxels.
    """
    flat = image.reshape(-1)
    # An odd stride that is not a multiple of the row length covers all columns.
    stride = max(1, flat.numel() // _COUNTED) | 1
    ordered = flat[::stride].sort().values
    low, high = (ordered[round(p / 100 * (len(ordered) - 1))] for p in PERCENTILES)
    if high <= low:
        low, high = ordered[0], ordered[-1]
    if high <= low:
        return torch.zeros_like(image)
    return ((image - low) / (high - low)).clamp_(0, 1)


def field_of_view(draws: Draws, shape: Sequence[int], settings: SynthesisSettings) -> tuple[slice, ...]:
    """Return the common field of view of both images: the whole grid, or a box."""
    whole = tuple(slice(0, count) for count in shape)
    if not draws.chance(settings.cropped):
        return whole
    part = []
    for count in shape:
        start, stop = (draws.uniform(0, settings.crop) * draws.chance(0.5) for _ in range(2))
        part.append(slice(round(start * count), count - round(stop * count)))
    return tuple(part)


def only_inside(tensor: Tensor, part: tuple[slice, ...]) -> Tensor:
    """Return the tensor (last axes spatial) with zeros outside a box."""
    if all(cut.start == 0 and cut.stop == n for cut, n in zip(part, tensor.shape[-len(part) :], strict=True)):
        return tensor
    inside = torch.zeros_like(tensor)
    box: tuple[Any, ...] = (..., *part)
    inside[box] = tensor[box]
    return inside


def _after(outer: Tensor, inner: Tensor | None) -> Tensor:
    return outer if inner is None else outer @ inner
