"""A learned metric of the fixed and the warped image as a function of a linear map, with its derivative."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional

from ...images.grid import Grid
from ...images.intensity import normalized
from ...images.resample import sampled_on
from ...networks.patch import dissimilarity
from ...pair import Pair
from ...transforms.transform import Affine

Tensor = torch.Tensor
Array = npt.NDArray[np.floating]
FREE = {"rigid": 6, "affine": 12}


class MetricObjective:
    """The learned dissimilarity of a pair under a linear map; lower is better.

    Parameters
    ----------
    network : PatchNetwork
        In evaluation mode, on the device.
    pair : Pair
        The volumes.
    grid : Grid
        Isotropic grid over the fixed object; its center is the center of turns.
    start : Affine
        Map that follows the searched one.
    passes : int
        Shifts of the patches by parts of their distance over which the metric is averaged: it becomes smoother.
    device : str
        A torch device.

    Reference
    ---------
    Haskins et al., IJCARS 14:417-425, 2019, doi 10.1007/s11548-018-1875-7.
    """

    def __init__(
        self, network: Any, pair: Pair, grid: Grid, start: Affine, *, passes: int = 1, device: str = "cpu"
    ) -> None:
        self.network, self.start, self.device = network, start, device
        self.center = np.asarray(grid.center_mm, dtype=float)
        self.radius_mm = 0.5 * float(np.mean(grid.extent_mm))
        spacing = float(np.mean(grid.spacing_mm))
        moving = pair.moving.grid.with_spacing([max(spacing, own) for own in pair.moving.grid.spacing_mm])
        # Scaled before they are sampled: two equal volumes stay equal on every grid.
        first, second = (dataclasses.replace(each, array=normalized(each)) for each in (pair.fixed, pair.moving))
        self.moving = self._tensor(sampled_on(second, moving).array)
        self.to_index = np.linalg.inv(moving.matrix)
        self.seen: list[tuple[Tensor, Tensor]] = []
        for number in range(passes):
            shift = network.stride * number / passes * np.asarray(grid.spacing_mm)
            shifted = Grid(grid.size, grid.spacing_mm, tuple(grid.origin_mm - grid.axes @ shift), grid.direction)
            points = torch.from_numpy(shifted.points() - self.center).float().to(device)
            self.seen.append((self._tensor(sampled_on(first, shifted).array), points))

    def affine(self, parameters: Array) -> Affine:
        """Return the complete fixed-to-moving map of parameters (see `__call__`)."""
        with torch.no_grad():
            matrix, shift = _linear(torch.from_numpy(np.asarray(parameters, float)), self.radius_mm)
        inner = Affine.about(matrix.numpy(), self.center, shift.numpy())
        return inner.then(self.start)

    def __call__(self, parameters: Array) -> float:
        """Return the dissimilarity.

        Parameters
        ----------
        parameters : (6,) or (12,) array
            Shift (x, y, z), turn and, for affine maps, stretch, all in mm at the border of the fixed object.
        """
        with torch.no_grad():
            return float(self._value(torch.from_numpy(np.asarray(parameters, float))))

    def with_slope(self, parameters: Array) -> tuple[float, Array]:
        """Return the dissimilarity and its derivative by the parameters."""
        free = torch.from_numpy(np.array(parameters, float)).requires_grad_(True)
        with torch.enable_grad():
            value = self._value(free)
            (slope,) = torch.autograd.grad(value, free)
        return float(value.detach()), slope.numpy().astype(float)

    def _value(self, parameters: Tensor) -> Tensor:
        matrix, shift = _linear(parameters, self.radius_mm)
        outer = torch.from_numpy(self.to_index[:3, :3] @ self.start.matrix)
        middle = torch.from_numpy(self.to_index @ np.append(self.start.apply(self.center), 1.0))[:3]
        linear, offset = (outer @ matrix).float().to(self.device), (outer @ shift + middle).float().to(self.device)
        values = [
            dissimilarity(self.network, fixed, self._sampled(points @ linear.T + offset)) for fixed, points in self.seen
        ]
        return torch.stack(values).mean()

    def _sampled(self, index: Tensor) -> Tensor:
        size = torch.tensor(self.moving.shape[:1:-1], device=self.device)
        where = 2 * index / (size - 1).clamp(min=1) - 1
        return functional.grid_sample(self.moving, where[None], padding_mode="border", align_corners=True)

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32))[None, None].to(self.device)


def bounds(kind: str, translation_mm: float, rotation_deg: float, stretch: float, radius_mm: float) -> list[Any]:
    """Return the range (low, high) of each parameter, in mm at the border of the fixed object.

    Parameters
    ----------
    kind : str
        Degrees of freedom, a key of `FREE`.
    translation_mm, rotation_deg, stretch : float
        Largest shift and turn per axis, and largest relative change of size.
    radius_mm : float
        Radius of the fixed object.
    """
    limits: Sequence[float] = [translation_mm] * 3 + [math.radians(rotation_deg) * radius_mm] * 3
    limits = [*limits, *[stretch * radius_mm] * (FREE[kind] - 6)]
    return [(-limit, limit) for limit in limits]


def _linear(parameters: Tensor, radius_mm: float) -> tuple[Tensor, Tensor]:
    """Return matrix (3, 3) and shift (3,) of a turn after a symmetric stretch, about the center."""
    x, y, z = parameters[3:6] / radius_mm
    zero = torch.zeros_like(x)
    turn = torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3))
    if len(parameters) > FREE["rigid"]:
        a, b, c, d, e, f = parameters[6:] / radius_mm
        turn = turn @ torch.linalg.matrix_exp(torch.stack([a, d, e, d, b, f, e, f, c]).reshape(3, 3))
    return turn, parameters[:3]
