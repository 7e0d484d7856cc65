"""Random numbers of one sample: a function of (seed, step, sample), independent of torch's global generator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

Tensor = torch.Tensor


class Draws:
    """The random numbers of one sample, always in the same order.

    Numbers and control grids are generated on the CPU, so that shapes, warps and contrasts are the same on CPU and GPU;
    only voxel noise is generated on the device.

    Parameters
    ----------
    key : int or str
        Key of the random numbers: seed, step, sample, purpose.
    device : torch.device or str
        Device of the tensors.

    Examples
    --------
    >>> Draws(1, 2, 3).uniform(0, 1) == Draws(1, 2, 3).uniform(0, 1)
    True
    """

    def __init__(self, *key: int | str, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        text = "/".join(str(part) for part in key)
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
        self._numbers = torch.Generator().manual_seed(number)
        self._voxels = torch.Generator(device=self.device).manual_seed(number ^ 1)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between `low` and `high`."""
        return low + (high - low) * float(torch.rand((), generator=self._numbers, dtype=torch.float64))

    def normal(self) -> float:
        """Return a standard normal number."""
        return float(torch.randn((), generator=self._numbers, dtype=torch.float64))

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.uniform(0, 1) < probability

    def integer(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both possible."""
        return int(torch.randint(low, high + 1, (), generator=self._numbers))

    def order(self, count: int) -> list[int]:
        """Return 0..count-1 shuffled."""
        return [int(i) for i in torch.randperm(count, generator=self._numbers)]

    def uniforms(self, low: float, high: float, count: int) -> Tensor:
        """Return so many numbers between `low` and `high`, (count,) on the CPU."""
        return low + (high - low) * torch.rand(count, generator=self._numbers)

    def normals(self, count: int) -> Tensor:
        """Return so many standard normal numbers, (count,) on the CPU."""
        return torch.randn(count, generator=self._numbers)

    def control_points(self, shape: Sequence[int]) -> Tensor:
        """Return standard normal numbers for a coarse grid."""
        return torch.randn(tuple(shape), generator=self._numbers).to(self.device)

    def voxels(self, shape: Sequence[int]) -> Tensor:
        """Return standard normal noise for every voxel."""
        return torch.randn(tuple(shape), generator=self._voxels, device=self.device)
