"""Output layers: convert features to a displacement, velocity, distribution of velocities, affine map or spline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.sampling import at_least_single, warp
from .affine import AffineBounds, affine_matrix, parameter_count
from .blocks import SLOPE, convolution, small_start
from .bspline import control_shape
from .flow import identity_grid

Tensor = torch.Tensor
AVERAGE = {2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}


class FieldHead(nn.Module):
    """A displacement or velocity on the grid of the features, in its voxels, initially nearly 0.

    Parameters
    ----------
    dimensions, inputs : int
        2 or 3; channels of the features.
    """

    def __init__(self, dimensions: int, inputs: int) -> None:
        super().__init__()
        self.layer = small_start(convolution(dimensions, inputs, dimensions))

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, D, *features)."""
        return self.layer(features)


class GaussianHead(nn.Module):
    """Mean and log-variance of an independent Gaussian velocity per voxel; initially small with low variance.

    Reference
    ---------
    Dalca et al., Med. Image Anal. 57:226-236, 2019, doi 10.1016/j.media.2019.07.006.
    """

    def __init__(self, dimensions: int, inputs: int, *, first_log_variance: float = -10.0) -> None:
        super().__init__()
        self.mean = small_start(convolution(dimensions, inputs, dimensions))
        self.log_variance = small_start(convolution(dimensions, inputs, dimensions), bias=first_log_variance)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, both (N, D, *features)."""
        return self.mean(features), self.log_variance(features)


class AffineHead(nn.Module):
    """One bounded affine map per pair, initially (nearly) the identity.

    The features are averaged over a coarse grid of cells, not globally, because a translation depends on positions.

    Parameters
    ----------
    dimensions, inputs : int
        2 or 3; channels of the features.
    bounds : AffineBounds
        Bounds of its parameters.
    cells : int
        Cells per axis.
    hidden : int
        Width of the layer between the cells and the parameters.
    """

    def __init__(
        self, dimensions: int, inputs: int, *, bounds: AffineBounds | None = None, cells: int = 4, hidden: int = 32
    ) -> None:
        super().__init__()
        self.dimensions, self.cells = dimensions, cells
        self.bounds = bounds or AffineBounds()
        self.hidden = nn.Linear(inputs * cells**dimensions, hidden)
        self.layer = small_start(nn.Linear(hidden, parameter_count(dimensions)), scale=1e-4)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the matrix (N, D, D) and the translation (N, D; fractions of the longest side)."""
        pooled = AVERAGE[self.dimensions](features, self.cells)
        raw = self.layer(functional.leaky_relu(self.hidden(pooled.flatten(1)), SLOPE))
        return affine_matrix(raw.float(), self.dimensions, self.bounds)


class SplineHead(nn.Module):
    """A cubic B-spline displacement, initially nearly 0.

    Parameters
    ----------
    dimensions, inputs : int
        2 or 3; channels of the features.
    spacing : int
        Voxels of the image between neighboring control points.
    stride : int
        Voxels of the image per voxel of the features.
    """

    def __init__(self, dimensions: int, inputs: int, *, spacing: int = 8, stride: int = 2) -> None:
        super().__init__()
        self.spacing, self.stride = spacing, stride
        self.layer = small_start(convolution(dimensions, inputs, dimensions))

    def forward(self, features: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the control points (N, D, *control) in voxels of the image; see `parts.SplinePart`."""
        field = at_least_single(self.layer(features))
        points = identity_grid(control_shape(shape, self.spacing), field)
        where = (points - 1) * (self.spacing / self.stride)
        return warp(field, (where - points).expand(field.shape[0], *where.shape[1:]))


def sample(mean: Tensor, log_variance: Tensor, *, seed: int | None = None) -> Tensor:
    """Return one sample of a Gaussian, differentiable by mean and variance; without seed from the global generator."""
    if seed is None:
        noise = torch.randn_like(mean)
    else:
        generator = torch.Generator(device=mean.device).manual_seed(seed)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + torch.exp(0.5 * log_variance) * noise
