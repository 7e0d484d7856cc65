"""Random invertible maps of a grid: an affine map after a smooth warp, and the inverse of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...networks.flow import identity_grid, warp
from . import warps
from .draws import Draws

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class RandomMap:
    """x -> affine(x + warp(x)), voxels of a grid.

    Attributes
    ----------
    affine : (D, D + 1) float64 tensor on the CPU
        Linear part and translation.
    warp, inverse_warp : (D, *shape) tensor or None
        A displacement and that of the inverse map.
    """

    affine: Tensor
    warp: Tensor | None = None
    inverse_warp: Tensor | None = None

    def applied(self, points: Tensor) -> Tensor:
        """Return the mapped points of (1, D, *shape) points in voxels."""
        return _affine(self.affine, _moved(points, self.warp))

    def undone(self, points: Tensor) -> Tensor:
        """Return the points that are mapped to the given ones."""
        return _moved(_affine(inverted(self.affine), points), self.inverse_warp)


def random_map(
    draws: Draws,
    shape: Sequence[int],
    spacing_mm: float,
    *,
    rotation_deg: float,
    scale: float,
    shear: float,
    translation_mm: float,
    elastic_mm: tuple[float, float] = (0.0, 1.0),
    after: RandomMap | None = None,
) -> RandomMap:
    """Return a random map about the middle of a grid.

    Parameters
    ----------
    draws : Draws
        Where the random numbers come from.
    shape : sequence of int
        Shape of the grid.
    spacing_mm : float
        Its voxel size.
    rotation_deg, scale, shear, translation_mm : float
        As in `warps.random_affine`.
    elastic_mm : tuple of 2 float
        Standard deviation of the velocity of a smooth warp, applied first, and the distance of its control points.
    after : RandomMap, optional
        An affine map to apply afterwards.
    """
    affine = warps.random_affine(
        draws, len(shape), rotation_deg=rotation_deg, scale=scale, shear=shear, translation_mm=translation_mm
    )
    to_mm, from_mm = warps.mm_of_grid(shape, spacing_mm), warps.grid_of_mm(shape, spacing_mm)
    affine = warps.chain(from_mm, warps.chain(affine, to_mm))
    if after is not None:
        affine = warps.chain(after.affine, affine)
    strength, distance = elastic_mm
    if not strength:
        return RandomMap(affine)
    forward, backward = warps.random_warp_and_inverse(
        draws, shape, scales=[distance / spacing_mm], strengths=[strength / spacing_mm]
    )
    return RandomMap(affine, forward, backward)


def known_displacement(fixed_map: RandomMap, moving_map: RandomMap, shape: Sequence[int], like: Tensor) -> Tensor:
    """Return the displacement (D, *shape) between two images of the same scene, each with its own map.

    The fixed image at x shows the scene at fixed_map(x), the moving image at y shows it at moving_map(y).
    """
    x = identity_grid(shape, like)
    return (moving_map.undone(fixed_map.applied(x)) - x)[0]


def inverted(affine: Tensor) -> Tensor:
    """Return the inverse of an affine map, (D, D + 1) both."""
    linear = torch.linalg.inv(affine[:, :-1])
    return torch.cat([linear, -linear @ affine[:, -1:]], dim=1)


def _affine(affine: Tensor, points: Tensor) -> Tensor:
    linear, shift = affine[:, :-1].to(points), affine[:, -1].to(points)
    return torch.einsum("ij,nj...->ni...", linear, points) + shift.view(1, -1, *[1] * (points.ndim - 2))


def _moved(points: Tensor, displacement: Tensor | None) -> Tensor:
    if displacement is None:
        return points
    return points + warp(displacement[None], points - identity_grid(points.shape[2:], points))
