"""The parts of a predicted map as tensors: affine, cubic B-spline, stationary velocity, displacement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from .affine import affine_displacement
from .bspline import spline_field
from .flow import compose, velocity_to_displacement
from .heads import sample

Tensor = torch.Tensor


@dataclass(frozen=True)
class AffinePart:
    """x -> A (x - c) + c + t, c the middle of the image's grid.

    Attributes
    ----------
    matrix : (N, D, D) tensor
        A, in voxels of the image.
    translation : (N, D) tensor
        t, voxels of the image.
    """

    matrix: Tensor
    translation: Tensor

    def displacement(self, shape: Sequence[int]) -> Tensor:
        """Return (N, D, *shape), voxels of the image."""
        return affine_displacement(self.matrix, self.translation, shape)


@dataclass(frozen=True)
class SplinePart:
    """x -> x + s(x), s a cubic B-spline.

    Attributes
    ----------
    coefficients : (N, D, *control) tensor
        Voxels of the image; control point k is at voxel (k - 1) * spacing.
    spacing : int
        Voxels of the image between neighboring control points.
    """

    coefficients: Tensor
    spacing: int

    def displacement(self, shape: Sequence[int]) -> Tensor:
        """Return (N, D, *shape), voxels of the image."""
        return spline_field(self.coefficients, self.spacing, shape)


@dataclass(frozen=True)
class VelocityPart:
    """x -> exp(v)(x), the flow along a stationary velocity after unit time.

    Attributes
    ----------
    velocity : (N, D, *coarse) tensor
        Voxels of its own grid, whose voxel k is at voxel k * stride of the image.
    steps : int
        Squarings; 2 ** steps is the number of small steps.
    stride : int
        Voxels of the image per voxel of the velocity.
    """

    velocity: Tensor
    steps: int = 7
    stride: int = 1

    def displacement(self, shape: Sequence[int]) -> Tensor:
        """Return (N, D, *shape), voxels of the image."""
        return velocity_to_displacement(self.velocity, steps=self.steps, stride=self.stride, shape=shape)


@dataclass(frozen=True)
class DisplacementPart:
    """x -> x + u(x).

    Attributes
    ----------
    values : (N, D, *coarse) tensor
        u in voxels of its own grid, whose voxel k is at voxel k * stride of the image.
    stride : int
        Voxels of the image per voxel of the field.
    """

    values: Tensor
    stride: int = 1

    def displacement(self, shape: Sequence[int]) -> Tensor:
        """Return (N, D, *shape), voxels of the image."""
        return velocity_to_displacement(self.values, steps=0, stride=self.stride, shape=shape)


Part = AffinePart | SplinePart | VelocityPart | DisplacementPart


def total_displacement(parts: Sequence[Part], shape: Sequence[int]) -> Tensor:
    """Return the displacement (N, D, *shape) of parts applied one after another, the first part first."""
    total = parts[-1].displacement(shape)
    for part in reversed(parts[:-1]):
        total = compose(part.displacement(shape), total)
    return total


class Distribution(Protocol):
    """A distribution of maps, predicted for a pair."""

    def sample(self, seed: int) -> Tensor:
        """Return a displacement (N, D, *spatial), voxels of the image; the same for the same seed."""
        ...


@dataclass(frozen=True)
class GaussianVelocity:
    """Independent Gaussian velocities per voxel.

    Attributes
    ----------
    mean, log_variance : (N, D, *coarse) tensors
        Mean and log-variance of the velocity, in voxels of its grid.
    shape : tuple of int
        Spatial shape of the image.
    steps, stride : int
        As in `VelocityPart`; with 0 steps the sampled field is the displacement itself.

    Reference
    ---------
    Dalca et al., Med. Image Anal. 57:226-236, 2019, doi 10.1016/j.media.2019.07.006.
    """

    mean: Tensor
    log_variance: Tensor
    shape: tuple[int, ...]
    steps: int = 7
    stride: int = 1

    def sample(self, seed: int) -> Tensor:
        """Return a random displacement (N, D, *shape)."""
        velocity = sample(self.mean, self.log_variance, seed=seed)
        return velocity_to_displacement(velocity, steps=self.steps, stride=self.stride, shape=self.shape)
