"""Cooperative auto-encoder: displacements that a bottleneck, learned at the same time, must explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.regularity import diffusion
from ..settings import option
from .base import ExtraMap, LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import ConvBlock, convolution, pad_to_multiple
from .dense import DenseNetwork, DenseSettings
from .flow import LINEAR, upsample_field
from .heads import AVERAGE
from .objectives import (
    checked_supervision,
    image_option,
    label_option,
    radius_option,
    smoothness_option,
    weighted_terms,
)
from .parts import DisplacementPart

Tensor = torch.Tensor
POOLED = 2  # halvings of the field before the bottleneck


@dataclass(frozen=True)
class CooperativeSettings(DenseSettings):
    """Registration network, auto-encoder and objective; all numbers are our choice."""

    steps: int = option(0, "Squarings", tooltip="0 predicts the displacement, as the authors do.", maximum=0, minimum=0)
    channels: int = option(8, "Auto-encoder channels", minimum=1, maximum=256, advanced=True)
    bottleneck: int = option(
        32, "Bottleneck", tooltip="Number of variables that represent a displacement field.", minimum=1, maximum=1024
    )
    cells: int = option(
        6,
        "Cells per axis",
        tooltip="Size of the coarse grid before the bottleneck, independent of the image size.",
        minimum=1,
        maximum=16,
        advanced=True,
    )
    similarity: str = image_option()
    radius: int = radius_option(2)
    population: float = option(
        0.1, "Population weight", tooltip="Weight of the residual of the auto-encoder, squared voxels.", minimum=0.0
    )
    smoothness: float = smoothness_option(tooltip="Weight of the squared slopes; decreases to 0 in training.")
    label_weight: float = label_option()


class Cooperative(Method):
    """The method, see `info`.

    The authors': an unsupervised registration network that predicts displacements, an auto-encoder with a narrow
    bottleneck that sees them and learns at the same time, its reconstruction error as the regularizer, a smoothness
    that gives way to it. Our choice: VoxelMorph's U-Net, a field with half the resolution, the auto-encoder's layers,
    all weights, and labels.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="cooperative",
        title="Cooperative auto-encoder",
        summary="A U-Net whose displacements are regularized by an auto-encoder of a population.",
        citation="Bhalodia et al., MICCAI 2019, doi 10.1007/978-3-030-32245-8_44, arXiv 1908.05825",
        settings=CooperativeSettings,
    )

    def network(self, settings: CooperativeSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return CooperativeNetwork(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image term, the residual of the auto-encoder, the smoothness, and the label term."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, settings = context.prediction, context.settings
        field, explained = prediction.features["field"], prediction.features["explained"]
        stride = 2 if settings.half else 1
        unexplained = settings.population * stride**2 * (field - explained).square().sum(1).mean()
        return {"population": unexplained, **weighted_terms(context, (1 - context.done) * diffusion(field))}


class CooperativeNetwork(RegistrationNetwork):
    """A U-Net that predicts a displacement, and the auto-encoder of such displacements."""

    def __init__(self, settings: CooperativeSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.register = DenseNetwork(replace(settings, steps=0), dimensions=dimensions)
        self.multiple = self.register.multiple
        self.population = FieldAutoEncoder(dimensions, settings.channels, settings.bottleneck, settings.cells)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement, and its distance from the population at every voxel."""
        shape = fixed.shape[2:]
        found: Prediction = self.register(fixed, moving)
        part = found.parts[0]
        if not isinstance(part, DisplacementPart):
            raise TypeError(f"The network must predict a displacement, got {type(part).__name__}.")
        field = part.values.float()
        explained = self.population(field)
        rest = upsample_field(field - explained, part.stride, shape).norm(dim=1, keepdim=True)
        extras = {"atypical": ExtraMap(rest.detach(), title="Displacement atypical of the population", unit="voxels")}
        return replace(found, extras=extras, features={"field": field, "explained": explained})


class FieldAutoEncoder(nn.Module):
    """An auto-encoder of displacement fields.

    Parameters
    ----------
    dimensions, channels : int
        2 or 3; channels of its convolutions.
    bottleneck : int
        Number of variables of the bottleneck.
    cells : int
        Cells per axis before the bottleneck.
    """

    def __init__(self, dimensions: int, channels: int, bottleneck: int, cells: int) -> None:
        super().__init__()
        self.dimensions, self.cells = dimensions, cells
        inputs = channels * cells**dimensions
        self.encoder = nn.Sequential(
            ConvBlock(dimensions, dimensions, channels, stride=2), ConvBlock(dimensions, channels, channels, stride=2)
        )
        self.narrow = nn.Linear(inputs, bottleneck)
        self.widen = nn.Linear(bottleneck, inputs)
        self.decoder = nn.Sequential(
            ConvBlock(dimensions, channels, channels), convolution(dimensions, channels, dimensions)
        )

    def forward(self, field: Tensor) -> Tensor:
        """Return the reconstruction of a field (N, D, *spatial), in its unit."""
        features = self.encoder(pad_to_multiple(field, 2**POOLED))
        code = self.narrow(AVERAGE[self.dimensions](features, self.cells).flatten(1))
        cells = self.widen(code).unflatten(1, (-1, *[self.cells] * self.dimensions))
        coarse: Tensor = self.decoder(cells).float()
        return functional.interpolate(coarse, size=field.shape[2:], mode=LINEAR[self.dimensions], align_corners=False)
