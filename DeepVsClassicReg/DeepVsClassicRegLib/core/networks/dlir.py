"""DLIR: an affine network, then B-spline networks coarse to fine, each trained with the previous ones frozen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..errors import SettingsError
from ..losses.regularity import bending
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork, Stage
from .blocks import convolution, halved, pad_to_multiple
from .cascade import Cascade
from .heads import AffineHead, SplineHead
from .objectives import (
    checked_supervision,
    image_option,
    image_term,
    label_option,
    radius_option,
    smoothness_option,
    supervised_terms,
)
from .parts import AffinePart, SplinePart

Tensor = torch.Tensor
AFFINE = "affine"


@dataclass(frozen=True)
class DLIRSettings:
    """Networks and objective of DLIR; the authors use 32 channels."""

    channels: int = option(16, "Channels", minimum=1, maximum=256)
    affine_levels: int = option(4, "Downsamplings of the affine network", minimum=1, maximum=6, advanced=True)
    spacings: tuple[int, ...] = option(
        (16, 8), "Spacings of the splines", tooltip="Coarse to fine, powers of 2.", unit="voxels", minimum=2, maximum=64
    )
    similarity: str = image_option("ncc")
    radius: int = radius_option()
    smoothness: float = smoothness_option(0.5, tooltip="Weight of the bending energy (our choice).")
    label_weight: float = label_option()

    def __post_init__(self) -> None:
        if not self.spacings or any(2 ** round(math.log2(spacing)) != spacing for spacing in self.spacings):
            raise SettingsError(f"The spacings of the splines must be powers of 2, got {self.spacings}.")


class DLIR(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="dlir",
        title="DLIR",
        summary="An affine network and B-spline networks from coarse to fine, trained one after another.",
        citation="de Vos et al., Med. Image Anal. 52:128-143, 2019, doi 10.1016/j.media.2018.11.010, arXiv 1809.06130",
        settings=DLIRSettings,
    )

    def network(self, settings: DLIRSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        splines = [SplineNetwork(dimensions, settings.channels, spacing) for spacing in settings.spacings]
        names = [stage.name for stage in self.stages(settings)]
        affine = SiameseAffineNetwork(dimensions, settings.channels, settings.affine_levels)
        return StagedCascade([affine, *splines], names)

    def stages(self, settings: DLIRSettings) -> tuple[Stage, ...]:
        """Return the affine stage and one per spline."""
        names = [AFFINE, *(f"spline of {spacing} voxels" for spacing in settings.spacings)]
        return tuple(Stage(name, (f"stages.{number}.",)) for number, name in enumerate(names))

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image term, the bending energy of the stage's own spline, and the label term."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, batch, settings = context.prediction, context.batch, context.settings
        terms = {"image": image_term(settings.similarity, batch, prediction.displacement, radius=settings.radius)}
        if len(prediction.levels) > 1:
            terms["smoothness"] = settings.smoothness * bending(prediction.levels[-1].residual)
        return {**terms, **supervised_terms(prediction, batch, context.supervision, labels=settings.label_weight)}


class StagedCascade(Cascade):
    """A cascade in which a training stage runs the networks up to its own."""

    def __init__(self, stages: Sequence[nn.Module], names: Sequence[str]) -> None:
        super().__init__(stages)
        self.names = tuple(names)

    def set_stage(self, name: str) -> None:
        """Set the training stage."""
        super().set_stage(name)
        self.depth = self.names.index(name) + 1 if name else len(self.names)


class SiameseAffineNetwork(RegistrationNetwork):
    """The same convolutions for both images, and an affine head on the features of both."""

    def __init__(self, dimensions: int, channels: int, levels: int) -> None:
        super().__init__()
        self.multiple = 2**levels
        self.encoder = PooledEncoder(dimensions, 1, channels, levels)
        self.head = AffineHead(dimensions, 2 * channels)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the affine map of a pair."""
        shape = fixed.shape[2:]
        features = [self.encoder(pad_to_multiple(image, self.multiple)) for image in (fixed, moving)]
        matrix, translation = self.head(torch.cat(features, 1))
        return Prediction.of([AffinePart(matrix, translation * (max(shape) - 1))], shape)


class SplineNetwork(RegistrationNetwork):
    """Convolutions and pooling down to the spacing of the control points, then 1 x 1 convolutions."""

    def __init__(self, dimensions: int, channels: int, spacing: int) -> None:
        super().__init__()
        self.multiple = spacing
        self.encoder = PooledEncoder(dimensions, 2, channels, round(math.log2(spacing)))
        self.hidden = nn.Sequential(
            convolution(dimensions, channels, channels),
            nn.ELU(),
            convolution(dimensions, channels, channels, kernel=1),
            nn.ELU(),
        )
        self.head = SplineHead(dimensions, channels, spacing=spacing, stride=spacing)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the spline of a pair."""
        shape = fixed.shape[2:]
        pair = pad_to_multiple(torch.cat([fixed, moving], 1), self.multiple)
        coefficients = self.head(self.hidden(self.encoder(pair)), shape)
        return Prediction.of([SplinePart(coefficients, self.head.spacing)], shape)


class PooledEncoder(nn.Module):
    """Repeated convolution, ELU and average pooling; voxel k of the result is at voxel k * 2 ** levels."""

    def __init__(self, dimensions: int, inputs: int, channels: int, levels: int) -> None:
        super().__init__()
        widths = [inputs, *[channels] * levels]
        self.layers = nn.ModuleList(
            nn.Sequential(convolution(dimensions, a, b), nn.ELU()) for a, b in itertools.pairwise(widths)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, channels, *spatial / 2 ** levels)."""
        for layer in self.layers:
            images = halved(layer(images))
        return images
