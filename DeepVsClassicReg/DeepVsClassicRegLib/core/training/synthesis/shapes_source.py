"""Generated shapes as a source: for any anatomy and contrast, without data."""

from __future__ import annotations

from typing import Any

import torch

from ...settings import to_json
from . import sampling, warps
from .draws import Draws
from .pairs import GeneratedPair, Looked, finished_pair
from .random_maps import RandomMap
from .settings import SynthesisSettings
from .shapes import random_shapes
from .source import GeneratedSource

Tensor = torch.Tensor


class ShapesSource(GeneratedSource):
    """One random label map, warped twice with independent strong warps, in two random contrasts.

    Examples
    --------
    >>> from .settings import SHAPES
    >>> source = ShapesSource(SHAPES, seed=1, size=(32, 32), spacing_mm=6.0)
    >>> source.sample(0).fixed.shape
    torch.Size([1, 1, 32, 32])

    Reference
    ---------
    Hoffmann et al., SynthMorph, IEEE TMI 41(3), 2022, doi 10.1109/TMI.2021.3116879.
    """

    licence = "generated, no data used"

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {
            "kind": "generated shapes",
            "seed": self.seed,
            "size": list(self.size),
            "spacing_mm": self.spacing_mm,
            "batch": self.batch,
            "licence": self.licence,
            "settings": to_json(self.settings),
        }

    def _pair(self, step: int, number: int) -> GeneratedPair:
        return self._generated(self._draws("training", step, number), self.settings)

    def _validation_pair(self, number: int) -> GeneratedPair:
        return self._generated(self._draws("validation", number), self.settings.for_validation())

    def _generated(self, draws: Draws, settings: SynthesisSettings) -> GeneratedPair:
        labels, count = random_shapes(draws, self.shape, self.spacing_mm, settings)
        fixed, moving = (self._warped(draws, labels, settings) for _ in range(2))
        if settings.dice_labels:
            chosen = _present(draws, fixed.true, moving.true, count)[: settings.dice_labels]
            channels = settings.dice_labels
        else:
            chosen = list(range(1, count + 1))
            channels = settings.shapes_high + 1
        channel_of = torch.zeros(count + 1, dtype=torch.int64, device=self.device)
        channel_of[chosen] = torch.arange(1, len(chosen) + 1, device=self.device)
        return finished_pair(
            draws,
            fixed,
            moving,
            count=count,
            channel_of=channel_of,
            channels=channels,
            spacing_mm=self.spacing_mm,
            settings=settings,
        )

    def _warped(self, draws: Draws, labels: Tensor, settings: SynthesisSettings) -> Looked:
        inverse: Tensor | None = None
        if self.known_displacement:
            warp, inverse = warps.warp_and_inverse_of(draws, self.shape, self.spacing_mm, settings)
        else:
            warp = warps.warp_of(draws, self.shape, self.spacing_mm, settings)
        to_mm, from_mm = (make(self.shape, self.spacing_mm) for make in (warps.mm_of_grid, warps.grid_of_mm))
        affine = warps.chain(from_mm, warps.chain(warps.jitter_of(draws, labels.ndim, settings), to_mm))
        samples = sampling.lookup(labels, affine, warp, points=settings.points, beyond="border")
        mapping = RandomMap(affine, warp, inverse) if inverse is not None else None
        return Looked(samples, samples, mapping)


def _present(draws: Draws, fixed: Tensor, moving: Tensor, count: int) -> list[int]:
    """Return the labels visible in both images, shuffled."""
    shown = [torch.bincount(samples[0].reshape(-1), minlength=count + 1) for samples in (fixed, moving)]
    both = (torch.minimum(*shown) > 0).tolist()
    return [label + 1 for label in draws.order(count) if both[label + 1]]
