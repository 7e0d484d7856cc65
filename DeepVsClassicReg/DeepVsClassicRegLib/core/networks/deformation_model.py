"""A statistical deformation model: the mean and the main modes of the B-splines of many displacements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import RegistrationError

Tensor = torch.Tensor
FEWEST_PAIRS = 4
SMALL = 1e-6
LIMIT = 3.0  # standard deviations


class DeformationModel(nn.Module):
    """x -> x + u(x), u the spline of mean + sum of c_k times mode k, each mode one standard deviation long.

    Mean and modes are part of the state of the network, not learned by gradients; 0 until `fit`.

    Parameters
    ----------
    modes : int
        Number of modes.
    control : sequence of int
        Control points per axis, on images of any size.

    References
    ----------
    Rueckert et al., IEEE TMI 22:1014-1025, 2003, doi 10.1109/TMI.2003.815865; Krebs et al., MICCAI 2017,
    doi 10.1007/978-3-319-66182-7_40.
    """

    mean: Tensor
    vectors: Tensor
    deviations: Tensor
    explained: Tensor

    def __init__(self, modes: int, control: Sequence[int]) -> None:
        super().__init__()
        dimensions = len(control)
        self.register_buffer("mean", torch.zeros(dimensions, *control))
        self.register_buffer("vectors", torch.zeros(modes, dimensions, *control))
        self.register_buffer("deviations", torch.zeros(modes))
        self.register_buffer("explained", torch.zeros(1))

    @torch.no_grad()
    def fit(self, displacements: Sequence[Tensor]) -> None:
        """Set mean and modes to those of displacements, each (D, *spatial) voxels.

        Raises
        ------
        RegistrationError
            When there are fewer displacements than modes.
        """
        needed = max(FEWEST_PAIRS, len(self.vectors) + 1)
        if len(displacements) < needed:
            raise RegistrationError(
                f"{len(self.vectors)} modes of deformation need at least {needed} pairs, got {len(displacements)}.",
                hint="Set fewer 'modes' or more 'pairs'.",
            )
        samples = torch.stack([self.control_points(each[None])[0] for each in displacements])
        self.mean.copy_(samples.mean(0))
        flat = (samples - self.mean).flatten(1)
        _, lengths, directions = torch.linalg.svd(flat.double(), full_matrices=False)
        count = len(self.vectors)
        self.vectors.copy_(directions[:count].reshape(self.vectors.shape))
        self.deviations.copy_(lengths[:count] / (len(samples) - 1) ** 0.5)
        self.explained.copy_(lengths[:count].square().sum() / lengths.square().sum().clamp(min=SMALL))

    def control_points(self, displacement: Tensor) -> Tensor:
        """Return the B-spline nearest to displacements (least squares), (N, D, *control) of (N, D, *spatial)."""
        return _along_axes(displacement, [torch.linalg.pinv(matrix) for matrix in self._bases(displacement.shape[2:])])

    def coefficients(self, displacement: Tensor) -> Tensor:
        """Return the coefficients (N, K) nearest to displacements, in standard deviations, at most `LIMIT`."""
        around = (self.control_points(displacement) - self.mean).flatten(1)
        found = around @ self.vectors.flatten(1).T / self.deviations.clamp(min=SMALL)
        return torch.where(self.deviations > SMALL, found, 0.0).clamp(-LIMIT, LIMIT)

    def displacement(self, coefficients: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the displacement (N, D, *shape) voxels of coefficients (N, K)."""
        spline = self.mean + torch.tensordot(coefficients * self.deviations, self.vectors, dims=1)
        return _along_axes(spline, self._bases(shape))

    def _bases(self, shape: Sequence[int]) -> list[Tensor]:
        return [basis(size, count) for size, count in zip(shape, self.mean.shape[1:], strict=True)]


def basis(size: int, count: int) -> Tensor:
    """Return the value of each cubic B-spline at each voxel of an axis, (size, count).

    The control points are equally spaced; the second one is at the first voxel, the last but one at the last voxel.
    """
    place = torch.linspace(1, count - 2, size, dtype=torch.float64)[:, None]
    x = (place - torch.arange(count, dtype=torch.float64)).abs()
    inner, outer = 2 / 3 - x**2 + x**3 / 2, (2 - x).clamp(min=0) ** 3 / 6
    return torch.where(x < 1, inner, outer)


def _along_axes(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return (N, D, *in) values multiplied along each spatial axis by a matrix (out, in)."""
    for axis, matrix in enumerate(matrices, start=2):
        values = torch.tensordot(values, matrix.to(values), dims=([axis], [1])).movedim(-1, axis)
    return values
