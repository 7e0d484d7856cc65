"""Patches as a source: parts of the pairs at random positions in the foreground of the fixed image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..networks.base import Batch, map_tensors
from .sources import Source, WrappedSource

TRIES = 8
SHOWN, LEAST = 0.1, 0.1  # lowest intensity of the foreground, and its minimum fraction in a patch


class PatchSource(WrappedSource):
    """One patch of every batch.

    Parameters
    ----------
    inner : Source
        Source of the pairs; its validation pairs are not cropped.
    size : sequence of int
        (X, Y, Z) of a patch, or (X, Y).
    seed : int
        Determines, with the step, the position of the patch.
    """

    def __init__(self, inner: Source, size: Sequence[int], *, seed: int) -> None:
        super().__init__(inner)
        self.size, self.seed = tuple(size), seed

    def changed(self, batch: Batch, step: int) -> Batch:
        """Return the same patch of all tensors of a batch."""
        rng = np.random.default_rng([self.seed, 5, step])
        shape, size = batch.fixed.shape[2:], self.size[::-1]
        box: tuple[Any, ...] = (...,)
        for _ in range(TRIES):
            starts = [int(rng.integers(0, whole - part + 1)) for whole, part in zip(shape, size, strict=True)]
            box = (..., *(slice(start, start + part) for start, part in zip(starts, size, strict=True)))
            if float((batch.fixed[box] > SHOWN).double().mean()) >= LEAST:
                break

        def cut(tensor: torch.Tensor) -> torch.Tensor:
            return tensor[box]

        return map_tensors(batch, cut)

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {**super().describe(), "patch": list(self.size)}
