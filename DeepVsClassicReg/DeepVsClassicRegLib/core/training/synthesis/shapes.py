"""Random label maps: smooth shapes, thin sheets between them, an empty background around them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .draws import Draws
from .noise import multiscale_noise, smooth_noise
from .settings import SynthesisSettings

Tensor = torch.Tensor


def random_shapes(
    draws: Draws, shape: Sequence[int], spacing_mm: float, settings: SynthesisSettings
) -> tuple[Tensor, int]:
    """Return a label map of smooth random shapes.

    Every label has a noise image with several scales; a voxel gets the label with the highest noise. Some maps get
    sheets (level sets of another noise image, as thin as a cortex) and a background around a round body.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    shape : sequence of int
        Spatial shape of the map.
    spacing_mm : float
        Its voxel size.
    settings : SynthesisSettings
        Number and sizes of shapes.

    Returns
    -------
    labels : uint8 tensor of `shape`
        0 is background, only in maps with a body.
    count : int
        Number of labels; some may be absent.
    """
    count = draws.integer(settings.shapes_low, settings.shapes_high)
    labels = _highest(draws, shape, spacing_mm, settings, count)
    if draws.chance(settings.ribbons):
        labels = _with_sheets(draws, labels, spacing_mm, settings, count + 1)
        count += 1
    if draws.chance(settings.body):
        labels = labels * _body(draws, shape, spacing_mm, settings)
    return labels, count


def _highest(draws: Draws, shape: Sequence[int], spacing_mm: float, settings: SynthesisSettings, count: int) -> Tensor:
    scales = [scale / spacing_mm for scale in settings.shape_scales_mm]
    weights = [draws.uniform(0.2, 1.0) for _ in scales]
    best = torch.full(tuple(shape), -torch.inf, device=draws.device)
    labels = torch.zeros(tuple(shape), dtype=torch.uint8, device=draws.device)
    for label in range(1, count + 1):
        values = multiscale_noise(draws, shape, scales=scales, weights=weights)[0]
        labels.masked_fill_(values > best, label)
        best = torch.maximum(best, values)
    return labels


def _with_sheets(draws: Draws, labels: Tensor, spacing_mm: float, settings: SynthesisSettings, label: int) -> Tensor:
    """Add a label along level sets of a noise image, one to a few voxels thick."""
    scale = settings.shape_scales_mm[0] / spacing_mm
    values = smooth_noise(draws, labels.shape, scale=scale)[0]
    # Unit variance over about two control distances: the slope is about 1 / scale per voxel.
    half = draws.uniform(0.6, 2.0) / scale
    phase = draws.uniform(0, 1)
    nearest = (values + phase) - torch.round(values + phase)
    return labels.masked_fill(nearest.abs() < half, label)


def _body(draws: Draws, shape: Sequence[int], spacing_mm: float, settings: SynthesisSettings) -> Tensor:
    """Return a round body with a bumpy outline, 1 inside."""
    distance = torch.zeros(tuple(shape), device=draws.device)
    for axis, count in enumerate(shape):
        radius = draws.uniform(0.32, 0.5)
        ramp = torch.linspace(-0.5, 0.5, count, device=draws.device) / radius
        distance += (ramp**2).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    bumps = smooth_noise(draws, shape, scale=settings.shape_scales_mm[-1] / 2 / spacing_mm)[0]
    return (distance.sqrt() + draws.uniform(0.03, 0.15) * bumps < 1).to(torch.uint8)
