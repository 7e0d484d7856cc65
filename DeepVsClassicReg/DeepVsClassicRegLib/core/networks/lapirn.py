"""LapIRN: three networks for three resolutions, trained coarse to fine; their velocities are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.regularity import diffusion
from ..losses.similarity import lncc
from ..settings import option
from .base import Level, LossContext, Method, MethodInfo, Prediction, RegistrationNetwork, Stage
from .blocks import SLOPE, convolution, halved, pad_to_multiple, small_start
from .flow import integrate, upsample_field, warp
from .objectives import checked_supervision, label_option, smoothness_option, supervised_terms
from .parts import VelocityPart

Tensor = torch.Tensor
LEVELS = 3
# The authors freeze the lower levels in 2,000 of 30,000 steps of a level.
FROZEN_SHARE = 1 / 15


@dataclass(frozen=True)
class LapIRNSettings:
    """Network and objective of LapIRN; the authors use 7 start channels."""

    start_channels: int = option(4, "Start channels", tooltip="Features have four times as many.", minimum=1)
    blocks: int = option(5, "Residual blocks per level", minimum=1, maximum=20, advanced=True)
    range_flow: float = option(
        0.4,
        "Largest velocity",
        tooltip="For each level, as a fraction of half the image size.",
        minimum=0.01,
        maximum=2.0,
        advanced=True,
    )
    squarings: int = option(7, "Squarings", minimum=1, maximum=12, advanced=True)
    smoothness: float = smoothness_option(3.5, tooltip="Weight of the squared slopes of the velocity.")
    label_weight: float = label_option()


class LapIRN(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="lapirn",
        title="LapIRN",
        summary="Laplacian pyramid of three networks that are trained one after another, coarse to fine.",
        citation="Mok and Chung, MICCAI 2020, doi 10.1007/978-3-030-59716-0_21, arXiv 2006.16148",
        settings=LapIRNSettings,
    )

    def network(self, settings: LapIRNSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return LaplacianPyramid(settings, dimensions=dimensions)

    def stages(self, settings: LapIRNSettings) -> tuple[Stage, ...]:
        """Return the levels; the second and third start with frozen lower levels."""
        return (
            Stage("level 1", ("levels.0.",), 1.0),
            Stage("level 2 alone", ("levels.1.",), FROZEN_SHARE),
            Stage("level 2", ("levels.0.", "levels.1."), 1.0 - FROZEN_SHARE),
            Stage("level 3 alone", ("levels.2.",), FROZEN_SHARE),
            Stage("level 3", ("",), 2.0 - FROZEN_SHARE),
        )

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the local correlation at several scales, the smoothness, and the label term."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, settings = context.prediction, context.settings
        depth = len(prediction.levels)
        fixed, warped = prediction.features["fixed"], prediction.features["warped"]
        image = torch.zeros_like(fixed[0, 0].sum())
        for scale in range(depth):
            image = image + lncc(fixed, warped, radius=depth - scale) / 2**scale
            fixed, warped = halved(fixed), halved(warped)
        rough = diffusion(cast("Tensor", prediction.velocity))
        terms = supervised_terms(prediction, context.batch, context.supervision, labels=settings.label_weight)
        return {"image": image, "smoothness": settings.smoothness * rough, **terms}


class LaplacianPyramid(RegistrationNetwork):
    """Three levels; each corrects the velocity of the level below it.

    Reference
    ---------
    Mok and Chung, MICCAI 2020, doi 10.1007/978-3-030-59716-0_21.
    """

    def __init__(self, settings: LapIRNSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.range_flow, self.squarings = settings.range_flow, settings.squarings
        self.levels = nn.ModuleList(
            PyramidLevel(dimensions, 2 if number == 0 else 2 + dimensions, settings) for number in range(LEVELS)
        )

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of the finest level of the current stage, or of the whole pyramid."""
        depth = int(self.stage.split()[1]) if self.stage else LEVELS
        shape = fixed.shape[2:]
        scales = [(pad_to_multiple(fixed, 2**LEVELS), pad_to_multiple(moving, 2**LEVELS))]
        for _ in range(LEVELS - 1):
            scales.append((halved(scales[-1][0]), halved(scales[-1][1])))
        velocity: Tensor | None = None
        embedding: Tensor | None = None
        found: list[Level] = []
        for number, level in enumerate(self.levels[:depth]):
            here, there = scales[LEVELS - 1 - number]
            inputs = [there, here]
            if velocity is not None:
                velocity = upsample_field(velocity, 2, here.shape[2:])
                inputs = [warp(there, integrate(velocity, steps=self.squarings)), here, velocity]
            added, embedding = level(torch.cat(inputs, 1), embedding)
            half_sizes = added.new_tensor([(n - 1) / 2 for n in here.shape[2:]])
            added = added.float() * (self.range_flow * half_sizes).view(1, -1, *[1] * len(shape))
            velocity = added if velocity is None else velocity + added
            displacement = integrate(velocity, steps=self.squarings)
            found.append(Level(added, displacement, 2 ** (LEVELS - 1 - number)))
        parts = [VelocityPart(cast("Tensor", velocity), self.squarings, found[-1].stride)]
        images = {"fixed": here, "warped": warp(there, found[-1].displacement)}
        return Prediction.of(parts, shape, levels=tuple(found), features=images)


class PyramidLevel(nn.Module):
    """Two convolutions, residual blocks at half the resolution, and a head on both."""

    def __init__(self, dimensions: int, inputs: int, settings: LapIRNSettings) -> None:
        super().__init__()
        width = 4 * settings.start_channels
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]
        self.entry = nn.Sequential(
            convolution(dimensions, inputs, width), nn.LeakyReLU(SLOPE), convolution(dimensions, width, width)
        )
        self.down = convolution(dimensions, width, width, stride=2)
        self.blocks = nn.Sequential(*(PreactivationBlock(dimensions, width) for _ in range(settings.blocks)))
        self.up = up(width, width, 2, stride=2)
        self.hidden = convolution(dimensions, 2 * width, width)
        self.exit = small_start(convolution(dimensions, width, dimensions))

    def forward(self, images: Tensor, embedding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the velocity, -1 to 1 along each axis, and the embedding for the next level."""
        features = self.entry(images)
        deep = self.down(functional.leaky_relu(features, SLOPE))
        deep = self.up(self.blocks(deep if embedding is None else deep + embedding))
        hidden = functional.leaky_relu(self.hidden(torch.cat([deep, features], 1)), SLOPE)
        return functional.softsign(self.exit(hidden)), deep


class PreactivationBlock(nn.Module):
    """Rectifier, convolution, rectifier, convolution, and a shortcut (pre-activation)."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.first = convolution(dimensions, width, width)
        self.second = convolution(dimensions, width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        hidden = self.first(functional.leaky_relu(features, SLOPE))
        return features + self.second(functional.leaky_relu(hidden, SLOPE))
