"""Stages after one another: each sees what the ones before it have warped, and their maps are composed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .affine import AffineBounds
from .base import Level, Prediction, RegistrationNetwork
from .blocks import ConvBlock, pad_to_multiple
from .flow import compose, warp
from .heads import AffineHead
from .parts import AffinePart, DisplacementPart, Part

Tensor = torch.Tensor


class AffineNetwork(RegistrationNetwork):
    """A strided encoder of the pair and an affine head.

    Parameters
    ----------
    dimensions : int
        2 or 3.
    channels : sequence of int
        Channels of each level; every level halves the size.
    bounds : AffineBounds
        How far it may go.
    """

    def __init__(
        self, dimensions: int, *, channels: Sequence[int] = (16, 32, 32, 32), bounds: AffineBounds | None = None
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(channels)
        widths = [2, *channels]
        self.encoder = nn.Sequential(
            *(ConvBlock(dimensions, a, b, stride=2) for a, b in zip(widths[:-1], channels, strict=True))
        )
        self.head = AffineHead(dimensions, widths[-1], bounds=bounds)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the affine displacement of a pair."""
        pair = pad_to_multiple(torch.cat([fixed, moving], 1), self.multiple)
        matrix, translation = self.head(self.encoder(pair))
        shape = fixed.shape[2:]
        return Prediction.of([AffinePart(matrix, translation * (max(shape) - 1))], shape)


class Cascade(RegistrationNetwork):
    """Networks after one another, for example affine, then dense.

    Parameters
    ----------
    stages : sequence of modules
        Each called as `stage(fixed, moving)`, returning a `Prediction`.
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.depth = len(self.stages)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the composed map; its `levels` are the stages, on the grid of the image."""
        prediction = self.stages[0](fixed, moving)
        total, parts = prediction.displacement, parts_of(prediction)
        levels = [Level(total, total, 1)]
        for stage in self.stages[1 : self.depth]:
            prediction = stage(fixed, warp(moving, total))
            # The image warped by `total` is looked up where the new map points: the new one comes first.
            total = compose(prediction.displacement, total)
            parts = (*parts_of(prediction), *parts)
            levels.append(Level(prediction.displacement, total, 1))
        return Prediction(total, parts, tuple(levels))


def parts_of(prediction: Prediction) -> tuple[Part, ...]:
    """Return the exact parts of a prediction; its displacement where it has none."""
    return prediction.parts or (DisplacementPart(prediction.displacement),)
