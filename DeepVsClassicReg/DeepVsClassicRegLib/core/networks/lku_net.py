"""LKU-Net: a U-Net whose encoder has a large receptive field by large kernels instead of attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.regularity import diffusion
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import LargeKernelBlock, crop, pad_to_multiple
from .heads import FieldHead
from .objectives import (
    checked_supervision,
    image_option,
    label_option,
    radius_option,
    smoothness_option,
    weighted_terms,
)
from .parts import DisplacementPart, VelocityPart
from .unet import TransposedUNet

Tensor = torch.Tensor


@dataclass(frozen=True)
class LKUNetSettings:
    """Network and objective of LKU-Net; the authors use 8 to 32 start channels."""

    channels: int = option(4, "Start channels", tooltip="At the image's resolution; our choice.", minimum=1)
    kernel: int = option(5, "Large kernel", tooltip="Odd width.", unit="voxels", minimum=5, maximum=15, advanced=True)
    squarings: int = option(
        7,
        "Squarings",
        tooltip="Steps of the diffeomorphic variant; 0 predicts the displacement.",
        minimum=0,
        maximum=12,
        advanced=True,
    )
    similarity: str = image_option()
    radius: int = radius_option()
    smoothness: float = smoothness_option(
        tooltip="Weight of the squared slopes of velocity or displacement; our choice, about 1 with lncc."
    )
    label_weight: float = label_option()


class LKUNet(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="lku-net",
        title="LKU-Net",
        summary="U-Net with parallel large, small and point-wise kernels and an identity shortcut in its encoder.",
        citation="Jia et al., MLMI 2022, doi 10.1007/978-3-031-21014-3_16, arXiv 2208.04939",
        settings=LKUNetSettings,
    )

    def network(self, settings: LKUNetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return LargeKernelNetwork(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image, smoothness and label terms."""
        checked_supervision(context.supervision, self.info.supervision)
        return weighted_terms(context, diffusion(context.prediction.features["field"]))


class LargeKernelNetwork(RegistrationNetwork):
    """Pair -> U-Net with a large-kernel block after each of its four halvings -> velocity or displacement.

    Reference
    ---------
    Jia et al., U-Net vs Transformer, MLMI 2022, arXiv 2208.04939.
    """

    def __init__(self, settings: LKUNetSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.squarings = settings.squarings

        def block(channels: int, out: int) -> nn.Module:
            return LargeKernelBlock(dimensions, channels, kernel=settings.kernel, activation=nn.PReLU())

        self.unet = TransposedUNet(
            dimensions, start=settings.channels, deepest=8, block=block, activation=lambda channels: nn.PReLU()
        )
        self.head = FieldHead(dimensions, self.unet.outputs)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair; softsign keeps each component within half the image."""
        shape = fixed.shape[2:]
        features = self.unet(pad_to_multiple(torch.cat([moving, fixed], 1), self.unet.multiple))
        # The output of the head is in voxels (our choice).
        raw = crop(self.head(features), shape).float()
        bounds = raw.new_tensor([(n - 1) / 2 for n in shape]).view(1, -1, *[1] * len(shape))
        field = bounds * functional.softsign(raw / bounds)
        part = VelocityPart(field, self.squarings) if self.squarings else DisplacementPart(field)
        return Prediction.of([part], shape, features={"field": field})
