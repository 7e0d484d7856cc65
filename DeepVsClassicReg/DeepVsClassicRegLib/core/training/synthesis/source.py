"""Base of the sources of generated pairs: random shapes, label maps of subjects, appearance models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import RegistrationError
from ...images.grid import Grid
from ...images.volume import Volume
from ...networks.base import Batch
from ...pair import Pair
from ..sources import LazyBatches
from .draws import Draws
from .pairs import GeneratedPair

Tensor = torch.Tensor
SMALLEST = 16


class GeneratedSource:
    """Batches, validation pairs and examples of generated pairs.

    Parameters
    ----------
    settings : dataclass
        Settings of the pairs: `SynthesisSettings`, or those of an appearance model.
    seed : int
        Determines, with the step, all batches.
    size : tuple of int
        (X, Y, Z) of the grid, or (X, Y).
    spacing_mm : float
        Its isotropic voxel size.
    batch : int
        Pairs per step.
    device : torch.device or str
        Device of the batches.
    validation_pairs : int
        Number of fixed pairs.
    known_displacement : bool
        Whether the batches contain the displacement between the images.
    """

    labels: Mapping[int, str] = {}
    licence: str = ""
    examples = 6

    def __init__(
        self,
        settings: Any,
        *,
        seed: int,
        size: Sequence[int],
        spacing_mm: float,
        batch: int = 1,
        device: torch.device | str = "cpu",
        validation_pairs: int = 4,
        known_displacement: bool = False,
    ) -> None:
        if len(size) not in (2, 3) or min(size) < SMALLEST:
            raise RegistrationError(f"A training grid needs 2 or 3 sizes of at least {SMALLEST}, got {tuple(size)}.")
        if spacing_mm <= 0 or batch < 1:
            raise RegistrationError(f"Spacing and batch must be positive, got {spacing_mm} mm and {batch}.")
        self.settings: Any = settings
        self.seed, self.batch = seed, batch
        self.size, self.spacing_mm = tuple(int(n) for n in size), float(spacing_mm)
        self.device = torch.device(device)
        self.validation_count, self.known_displacement = validation_pairs, known_displacement

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of the tensors, (Z, Y, X) or (Y, X)."""
        return self.size[::-1]

    def sample(self, step: int) -> Batch:
        """Return the batch of a step, a function of seed and step."""
        return _batch([self._pair(step, number) for number in range(self.batch)])

    def validation(self) -> Sequence[Batch]:
        """Return validation pairs with all structures, never among the training samples."""
        return LazyBatches(self.validation_count, lambda number: _batch([self._validation_pair(number)]))

    def validation_pairs(self) -> Sequence[Pair]:
        """Return nothing: the generated pairs have no originals."""
        return ()

    def domain_examples(self) -> Sequence[Volume]:
        """Return a few network inputs."""
        x, y, *z = self.size
        grid = Grid((x, y, z[0] if z else 1), (self.spacing_mm,) * 3)
        images = [self._pair(-1 - number, 0).fixed for number in range(self.examples)]
        return [
            Volume(image.reshape(grid.shape).cpu().numpy(), grid, f"example {number}")
            for number, image in enumerate(images, start=1)
        ]

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        raise NotImplementedError

    def _draws(self, *key: int | str) -> Draws:
        return Draws(self.seed, *key, device=self.device)

    def _pair(self, step: int, number: int) -> GeneratedPair:
        raise NotImplementedError

    def _validation_pair(self, number: int) -> GeneratedPair:
        raise NotImplementedError


def _batch(pairs: Sequence[GeneratedPair]) -> Batch:
    return Batch(
        fixed=torch.stack([pair.fixed for pair in pairs])[:, None],
        moving=torch.stack([pair.moving for pair in pairs])[:, None],
        fixed_labels=_stacked([pair.fixed_labels for pair in pairs]),
        moving_labels=_stacked([pair.moving_labels for pair in pairs]),
        displacement=_stacked([pair.displacement for pair in pairs]),
    )


def _stacked(tensors: Sequence[Tensor | None]) -> Tensor | None:
    there = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(there) if len(there) == len(tensors) else None
