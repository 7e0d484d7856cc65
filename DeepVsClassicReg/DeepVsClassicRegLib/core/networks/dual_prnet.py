"""Dual-PRNet: two streams of one encoder, and a field that is refined and composed from level to level."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..losses.regularity import diffusion
from ..settings import option
from .base import Level, LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import ConvBlock, convolution, pad_to_multiple, upsample
from .flow import compose, upsample_field, warp
from .heads import FieldHead
from .objectives import (
    checked_supervision,
    image_option,
    label_option,
    radius_option,
    smoothness_option,
    weighted_terms,
)
from .parts import DisplacementPart
from .unet import keep_variance

Tensor = torch.Tensor


@dataclass(frozen=True)
class DualPRNetSettings:
    """Network and objective of Dual-PRNet."""

    encoder: tuple[int, ...] = option(
        (8, 16, 32, 32), "Encoder", tooltip="Channels at full resolution and after each downsampling.", minimum=1
    )
    channels: int = option(
        8, "Pyramid channels", tooltip="Features per voxel of every level; the authors use 32.", minimum=1
    )
    similarity: str = image_option()
    radius: int = radius_option()
    smoothness: float = smoothness_option(tooltip="Weight of the squared slopes of the increment of each level.")
    label_weight: float = label_option(tooltip="Weight of 1 - soft Dice when trained with labels; our choice.")


class DualPRNet(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="dual-prnet",
        title="Dual-PRNet",
        summary="Feature pyramids of both images; each level warps, and composes an increment with the field.",
        citation="Hu et al., MICCAI 2019, doi 10.1007/978-3-030-32245-8_43, arXiv 1909.11966",
        settings=DualPRNetSettings,
    )

    def network(self, settings: DualPRNetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return DualStreamPyramid(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image term, the smoothness of the increment of each level, and the label term."""
        checked_supervision(context.supervision, self.info.supervision)
        added = [diffusion(level.residual) for level in context.prediction.levels]
        return weighted_terms(context, torch.stack(added).sum())


class DualStreamPyramid(RegistrationNetwork):
    """Pyramids of both images with the same weights; from the coarsest level on, warp, estimate and compose.

    Reference
    ---------
    Hu et al., MICCAI 2019, doi 10.1007/978-3-030-32245-8_43.
    """

    def __init__(self, settings: DualPRNetSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        widths, channels = settings.encoder, settings.channels
        self.multiple = 2 ** (len(widths) - 1)
        self.entry = ConvBlock(dimensions, 1, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(ConvBlock(dimensions, before, after, stride=2), ConvBlock(dimensions, after, after))
            for before, after in itertools.pairwise(widths)
        )
        self.lateral = nn.ModuleList(convolution(dimensions, width, channels, kernel=1) for width in reversed(widths))
        self.smooth = nn.ModuleList(ConvBlock(dimensions, channels, channels) for _ in widths)
        self.mix = nn.ModuleList(ConvBlock(dimensions, 2 * channels, channels) for _ in widths)
        self.apply(keep_variance)
        self.heads = nn.ModuleList(FieldHead(dimensions, channels) for _ in widths)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair, with the output of each level."""
        count, shape = len(fixed), fixed.shape[2:]
        pyramid = self._pyramid(pad_to_multiple(torch.cat([fixed, moving]), self.multiple))
        found: list[Level] = []
        for number, (features, mix, head) in enumerate(zip(pyramid, self.mix, self.heads, strict=True)):
            here, there = features[:count], features[count:]
            before = upsample_field(found[-1].displacement, 2, here.shape[2:]) if found else None
            warped = there if before is None else warp(there, before)
            residual = head(mix(torch.cat([here, warped], 1))).float()
            u = residual if before is None else compose(residual, before)
            found.append(Level(residual, u, 2 ** (len(pyramid) - 1 - number)))
        return Prediction.of([DisplacementPart(found[-1].displacement)], shape, levels=tuple(found))

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        """Return the features (N, C, *spatial / stride) of all levels, coarsest first."""
        skips = [self.entry(images)]
        for level in self.down:
            skips.append(level(skips[-1]))
        found: list[Tensor] = []
        hidden: Tensor | None = None
        for lateral, smooth in zip(self.lateral, self.smooth, strict=True):
            here = lateral(skips.pop())
            hidden = here if hidden is None else upsample(hidden) + here
            found.append(smooth(hidden))
        return found
