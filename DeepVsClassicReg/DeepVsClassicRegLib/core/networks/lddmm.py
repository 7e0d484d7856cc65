"""Large deformations by geodesic shooting: a momentum at the start decides the whole flow of diffeomorphisms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from .blocks import halved
from .flow import compose, determinant, jacobian_determinant, jacobian_rows, upsample_field, warp

Tensor = torch.Tensor
FIRST_STEP = 0.5  # voxels that the velocity changes in the first iteration
LEAST = 0.1  # Jacobian determinant of a map


@dataclass(frozen=True)
class Fluid:
    """The operator L = (-alpha laplace - beta grad div + gamma)^order of momentum m = L v; a periodic grid, voxels.

    Attributes
    ----------
    alpha, beta, gamma : float
        sqrt(alpha / gamma) is the distance, voxels, over which a momentum moves what is around.
    order : float
        Below 2 the velocity of a momentum in space has no bounded slope.

    Reference
    ---------
    Christensen et al., IEEE Trans. Image Process. 5:1435-1447, 1996, doi 10.1109/83.536892.
    """

    alpha: float = 10.0
    beta: float = 10.0
    gamma: float = 1.0
    order: float = 2.0

    def velocity(self, momentum: Tensor) -> Tensor:
        """Return v = K m = L^-1 m, both (N, D, *spatial)."""
        return self.power(momentum, -1.0)

    def momentum(self, velocity: Tensor) -> Tensor:
        """Return m = L v, both (N, D, *spatial)."""
        return self.power(velocity, 1.0)

    def power(self, field: Tensor, exponent: float) -> Tensor:
        """Return L to a power of a field, through its Fourier transform."""
        shape = field.shape[2:]
        axes = list(range(2, field.ndim))
        waves = torch.fft.rfftn(field, dim=axes)
        plain, mixed, slopes = self._symbol(shape, field)
        exponent = self.order * exponent
        along = (waves * slopes).sum(1, keepdim=True)
        more = (plain + mixed).pow(exponent) - plain.pow(exponent)
        square = (slopes * slopes).sum(1, keepdim=True).clamp(min=1e-12)
        changed = plain.pow(exponent) * waves + more / square * slopes * along
        return torch.fft.irfftn(changed, s=shape, dim=axes)

    def coarser(self) -> Fluid:
        """Return the same operator on a grid of half the resolution."""
        return Fluid(self.alpha / 4, self.beta / 4, self.gamma, self.order)

    def _symbol(self, shape: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what L multiplies waves across and (more) along their direction with, and the central slopes."""
        count = len(shape)
        slopes, curvature = [], torch.zeros([1] * (count + 2), dtype=like.dtype, device=like.device)
        for axis, size in enumerate(shape):
            frequencies = torch.fft.rfftfreq(size) if axis == count - 1 else torch.fft.fftfreq(size)
            angle = 2 * torch.pi * frequencies.to(like)
            angle = angle.view([1, 1, *[-1 if other == axis else 1 for other in range(count)]])
            curvature = curvature + 2 - 2 * torch.cos(angle)
            slopes.append(torch.sin(angle))
        whole = torch.cat([slope.expand(curvature.shape) for slope in slopes], 1)
        mixed = self.beta * (whole * whole).sum(1, keepdim=True)
        return self.alpha * curvature + self.gamma, mixed, whole


@dataclass(frozen=True)
class Geodesic:
    """Where a shooting ends.

    Attributes
    ----------
    displacement : (N, D, *spatial) tensor
        From the fixed to the moving image, voxels: where the warped image is sampled.
    inverse : (N, D, *spatial) tensor or None
        From the moving to the fixed image; None when it was not asked for.
    """

    displacement: Tensor
    inverse: Tensor | None = None


def shoot(momentum: Tensor, fluid: Fluid, *, steps: int = 6, inverse: bool = True) -> Geodesic:
    """Return the end of the geodesic that begins with a momentum.

    The momentum moves with the flow, m(t) = |D psi| (D psi)^T m(0) o psi, with psi the map back to the beginning. Both
    maps grow by composition with small steps (midpoint rule), which is stable however far a step goes.

    Parameters
    ----------
    momentum : (N, D, *spatial) tensor
        At the beginning, on the grid of the moving image.
    fluid : Fluid
        Gives the velocity of a momentum.
    steps : int
        Of the integration.
    inverse : bool
        Whether the map from the moving to the fixed image is wanted.

    References
    ----------
    Miller et al., J. Math. Imaging Vis. 24:209-228, 2006, doi 10.1007/s10851-005-3624-0; Singh et al., ISBI 2013,
    doi 10.1109/ISBI.2013.6556700.
    """
    back, step = torch.zeros_like(momentum), 1 / steps
    there = torch.zeros_like(momentum) if inverse else None
    for _ in range(steps):
        first = carried_velocity(momentum, back, fluid)
        half = compose(-step / 2 * first, back)
        velocity = carried_velocity(momentum, half, fluid)
        back = compose(-step * warp(velocity, -step / 2 * velocity), back)
        if there is not None:
            there = there + step * warp(velocity, there + step / 2 * warp(velocity, there))
    return Geodesic(back, there)


def carried_velocity(momentum: Tensor, u: Tensor, fluid: Fluid) -> Tensor:
    """Return the velocity (N, D, *spatial) of a momentum that was carried along the flow with the map back x + u(x)."""
    rows, values = jacobian_rows(u), warp(momentum, u)
    axes, volume = range(len(rows)), determinant(rows)
    now = [volume * sum_of(rows[i][j] * values[:, i] for i in axes) for j in axes]
    return fluid.velocity(torch.stack(now, 1))


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape."""
    return torch.stack(list(tensors)).sum(0)


def solve_momentum(
    fixed: Tensor,
    moving: Tensor,
    fluid: Fluid,
    *,
    iterations: Sequence[int] = (20, 10),
    steps: int = 6,
    regularity: float = 1e-3,
) -> Tensor:
    """Return the initial momentum (N, D, *spatial) that registers pairs of images: LDDMM by optimization.

    Minimizes the mean squared difference of fixed and warped image plus `regularity` times the mean of m(0) v(0), by
    descent along the gradient, first at half the resolution.

    Parameters
    ----------
    fixed, moving : (N, 1, *spatial) tensors
        Intensities, 0 to 1.
    fluid : Fluid
        Of the full resolution.
    iterations : sequence of int
        Coarse to fine; every entry but the last halves the resolution once more.
    steps : int
        Of the integration.
    regularity : float
        Weight of the energy of the geodesic, per squared voxel.

    Reference
    ---------
    Vialard et al., Int. J. Comput. Vis. 97:229-241, 2012, doi 10.1007/s11263-011-0481-8.
    """
    images, fluids = [(fixed, moving)], [fluid]
    for _ in iterations[1:]:
        images.append((halved(images[-1][0]), halved(images[-1][1])))
        fluids.append(fluids[-1].coarser())
    momentum: Tensor | None = None
    for level, (count, (here, there), operator) in enumerate(
        zip(iterations, reversed(images), reversed(fluids), strict=True)
    ):
        # Voxels of a coarse grid are longer: the energy is measured in those of the finest one.
        weight = regularity * 4 ** (len(iterations) - 1 - level)
        shape = here.shape[2:]
        if momentum is None:
            momentum = here.new_zeros((len(here), len(shape), *shape))
        else:
            # Not the velocity: the kinks of linear interpolation would be an enormous momentum.
            momentum = upsample_field(momentum, 2, shape)
        momentum = _solved(here, there, operator, momentum, count, steps, weight)
    assert momentum is not None
    return momentum


def _solved(
    fixed: Tensor,
    moving: Tensor,
    fluid: Fluid,
    momentum: Tensor,
    iterations: int,
    steps: int,
    regularity: float,
) -> Tensor:
    """Return the initial momentum after so many iterations, from a given one.

    Descends along the gradient in w = L^(1/2) v, in which the energy is a plain sum of squares; a step that does not
    lower the objective of a pair, or comes near a fold, is taken back and halved.
    """
    white, reach = fluid.power(momentum, -0.5), momentum.new_full((len(fixed),), FIRST_STEP)
    lowest, slope, _ = _objective(white, fixed, moving, fluid, steps, regularity)
    for _ in range(iterations):
        direction = fluid.power(slope, -0.5)
        longest = direction.norm(dim=1).flatten(1).amax(1).clamp(min=1e-12)
        tried = white - _each(reach / longest, white) * slope
        value, other, sound = _objective(tried, fixed, moving, fluid, steps, regularity)
        better = (value < lowest) & sound  # not for what is no number
        keep = _each(better, white)
        white, slope = torch.where(keep, tried, white), torch.where(keep, other, slope)
        lowest, reach = torch.where(better, value, lowest), torch.where(better, 1.2 * reach, 0.5 * reach)
    return fluid.power(white, 0.5)


def _objective(
    white: Tensor, fixed: Tensor, moving: Tensor, fluid: Fluid, steps: int, regularity: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the objective of every pair (N,), its gradient, and whether the map stays away from folds."""
    with torch.enable_grad():
        variable = white.detach().requires_grad_(True)
        end = shoot(fluid.power(variable, 0.5), fluid, steps=steps, inverse=False)
        difference = (warp(moving, end.displacement) - fixed).square().flatten(1).mean(1)
        values = difference + regularity * variable.square().sum(1).flatten(1).mean(1)
        (slope,) = torch.autograd.grad(values.sum(), variable)
    shrinks = jacobian_determinant(end.displacement.detach()).flatten(1).amin(1)
    return values.detach(), slope, shrinks > LEAST


def _each(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
