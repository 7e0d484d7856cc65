"""Random affine maps, and smooth warps without folds from stationary velocities of several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...networks.flow import integrate
from . import separable
from .draws import Draws
from .noise import multiscale_noise
from .settings import SynthesisSettings

Tensor = torch.Tensor
STEPS = 6
COARSE = 2


def random_warp(draws: Draws, shape: Sequence[int], *, scales: Sequence[float], strengths: Sequence[float]) -> Tensor:
    """Return a smooth random displacement without folds.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    shape : sequence of int
        Spatial shape, 2 or 3 axes.
    scales : sequence of float
        Distances of control points, voxels.
    strengths : sequence of float
        Standard deviation of each component of the velocity at each scale, voxels.

    Returns
    -------
    (D, *shape) tensor
        Displacement in voxels, components in the order of the axes.

    Notes
    -----
    The velocity is integrated by scaling and squaring on a grid of half the resolution.
    """
    return _flows(draws, shape, scales, strengths, (1.0,))[0]


def random_warp_and_inverse(
    draws: Draws, shape: Sequence[int], *, scales: Sequence[float], strengths: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the warp of `random_warp` and its inverse, the flow along the opposite velocity."""
    forward, backward = _flows(draws, shape, scales, strengths, (1.0, -1.0))
    return forward, backward


def _flows(
    draws: Draws, shape: Sequence[int], scales: Sequence[float], strengths: Sequence[float], signs: Sequence[float]
) -> list[Tensor]:
    coarse = [max(4, math.ceil(count / COARSE)) for count in shape]
    ratio = [(count - 1) / (small - 1) for count, small in zip(shape, coarse, strict=True)]
    mean_ratio = sum(ratio) / len(ratio)
    velocity = multiscale_noise(
        draws, coarse, scales=[scale / mean_ratio for scale in scales], weights=strengths, channels=len(shape)
    )
    ratios = torch.tensor(ratio, device=draws.device).reshape(-1, *[1] * len(shape))
    matrices = [separable.linear(n, small, draws.device) for n, small in zip(shape, coarse, strict=True)]
    fields = [integrate(sign * (velocity / ratios)[None], steps=STEPS)[0] for sign in signs]
    return [separable.along_axes(field, matrices) * ratios for field in fields]


def random_affine(
    draws: Draws, dimensions: int, *, rotation_deg: float, scale: float, shear: float, translation_mm: float
) -> Tensor:
    """Return a random affine map of mm around the origin.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    dimensions : int
        2 or 3.
    rotation_deg, scale, shear, translation_mm : float
        Largest angle about each axis, relative change of size along each axis, shear, shift along each axis.

    Returns
    -------
    (D, D + 1) float64 tensor on the CPU
        Linear part and translation.
    """
    linear = torch.eye(dimensions, dtype=torch.float64)
    for first in range(dimensions):
        for second in range(first + 1, dimensions):
            angle = math.radians(draws.uniform(-rotation_deg, rotation_deg))
            turn = torch.eye(dimensions, dtype=torch.float64)
            turn[first, first] = turn[second, second] = math.cos(angle)
            turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
            linear = linear @ turn
    stretch = torch.eye(dimensions, dtype=torch.float64)
    for row in range(dimensions):
        stretch[row, row] = math.exp(draws.uniform(-scale, scale))
        for column in range(row + 1, dimensions):
            stretch[row, column] = draws.uniform(-shear, shear)
    shift = [draws.uniform(-translation_mm, translation_mm) for _ in range(dimensions)]
    return torch.cat([linear @ stretch, torch.tensor(shift, dtype=torch.float64)[:, None]], dim=1)


def chain(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the affine map that applies `inner` first, then `outer`; both (D, D + 1)."""
    linear = outer[:, :-1] @ inner[:, :-1]
    shift = outer[:, :-1] @ inner[:, -1:] + outer[:, -1:]
    return torch.cat([linear, shift], dim=1)


def mm_of_grid(shape: Sequence[int], spacing_mm: float) -> Tensor:
    """Return the affine map from grid indices to mm around the center of the grid, (D, D + 1)."""
    half = (torch.tensor(list(shape), dtype=torch.float64) - 1) / 2
    return spacing_mm * torch.cat([torch.eye(len(shape), dtype=torch.float64), -half[:, None]], dim=1)


def grid_of_mm(shape: Sequence[int], spacing_mm: float) -> Tensor:
    """Return the inverse of `mm_of_grid`."""
    half = (torch.tensor(list(shape), dtype=torch.float64) - 1) / 2
    return torch.cat([torch.eye(len(shape), dtype=torch.float64) / spacing_mm, half[:, None]], dim=1)


def warp_of(draws: Draws, shape: Sequence[int], spacing_mm: float, settings: SynthesisSettings) -> Tensor:
    """Return a random warp with the scales and, at most, the strengths of the settings; voxels of the grid."""
    return random_warp(draws, shape, **_scales_and_strengths(draws, spacing_mm, settings))


def warp_and_inverse_of(
    draws: Draws, shape: Sequence[int], spacing_mm: float, settings: SynthesisSettings
) -> tuple[Tensor, Tensor]:
    """Return the warp of `warp_of` and its inverse."""
    return random_warp_and_inverse(draws, shape, **_scales_and_strengths(draws, spacing_mm, settings))


def _scales_and_strengths(draws: Draws, spacing_mm: float, settings: SynthesisSettings) -> dict[str, list[float]]:
    return {
        "scales": [scale / spacing_mm for scale in settings.warp_scales_mm],
        "strengths": [draws.uniform(0, most) / spacing_mm for most in settings.warp_mm],
    }


def jitter_of(draws: Draws, dimensions: int, settings: SynthesisSettings) -> Tensor:
    """Return the residual of an imperfect linear alignment: a small affine map in mm around the center."""
    return random_affine(
        draws,
        dimensions,
        rotation_deg=settings.jitter_rotation_deg,
        scale=settings.jitter_scale,
        shear=settings.jitter_scale / 2,
        translation_mm=settings.jitter_translation_mm,
    )


def pose_of(draws: Draws, dimensions: int, settings: SynthesisSettings) -> Tensor:
    """Return the pose of a pair in its grid: an affine map in mm around the center."""
    return random_affine(
        draws,
        dimensions,
        rotation_deg=settings.pose_rotation_deg,
        scale=settings.pose_scale,
        shear=settings.pose_scale / 3,
        translation_mm=settings.pose_translation_mm,
    )
