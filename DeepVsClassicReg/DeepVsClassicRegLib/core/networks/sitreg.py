"""A symmetric pyramid: both images are warped half way, and the update of every level has an exact inverse."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.regularity import diffusion
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import SLOPE, ConvBlock, convolution, pad_to_multiple
from .flow import compose, integrate, upsample_field, warp
from .heads import FieldHead
from .objectives import (
    checked_supervision,
    image_option,
    label_option,
    radius_option,
    smoothness_option,
    weighted_terms_both_ways,
)
from .parts import Part, VelocityPart
from .unet import keep_variance

Tensor = torch.Tensor
STRIDE = 2  # voxels of the image per voxel of the finest field


@dataclass(frozen=True)
class SITRegSettings:
    """Network and objective; unless stated otherwise the numbers are our choice."""

    widths: tuple[int, ...] = option(
        (8, 16, 32, 32),
        "Channels",
        tooltip="Channels of the features after each downsampling; each has a field.",
        minimum=1,
    )
    reach: float = option(
        2.0, "Largest velocity", tooltip="For each level, in its voxels.", minimum=0.1, maximum=10.0, advanced=True
    )
    squarings: int = option(5, "Squarings", minimum=1, maximum=12, advanced=True)
    similarity: str = image_option(tooltip="The authors use the local correlation.")
    radius: int = radius_option(3, tooltip="Window of the local correlation; the authors': 3.")
    smoothness: float = smoothness_option(
        tooltip="Weight of the squared slopes of both displacements; the authors': 1."
    )
    label_weight: float = label_option()


class SITReg(Method):
    """The method, see `info`.

    The authors': features of both images by the same residual encoder; from coarse to fine both are warped to a place
    half way, and an update that changes its sign when the images are exchanged is added to one half and its inverse
    to the other; the whole map goes back along one half and on along the other, so that exchanging the images inverts
    it by construction; local correlation and squared slopes of both directions. Our choice: an update is the flow of
    a velocity (theirs is a bounded spline, inverted by iteration), whose inverse is the flow backwards; no
    normalization, a finest field with half the resolution, widths.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="sitreg",
        title="Symmetric invertible pyramid (SITReg)",
        summary="Warps both images half way, level by level; swapping the images inverts the map exactly.",
        citation="Honkamaa and Marttinen, MELBA 2:2148-2194, 2024, doi 10.59275/j.melba.2024-276b, arXiv 2303.10211",
        settings=SITRegSettings,
    )

    def network(self, settings: SITRegSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return SymmetricPyramid(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image, smoothness and label terms, each the mean over both directions."""
        checked_supervision(context.supervision, self.info.supervision)
        return weighted_terms_both_ways(context, diffusion)


class SymmetricPyramid(RegistrationNetwork):
    """Two images -> features of all scales -> velocities, coarse to fine, that move both images toward each other.

    With v1 (coarsest) to vK and exp the flow, the half way of the fixed image is a = exp(v1) o ... o exp(vK), that of
    the moving image b = exp(-v1) o ... o exp(-vK); the map is b o a^-1, its inverse a o b^-1.

    Reference
    ---------
    Honkamaa and Marttinen, MELBA 2:2148-2194, 2024, doi 10.59275/j.melba.2024-276b.
    """

    def __init__(self, settings: SITRegSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.reach, self.squarings = settings.reach, settings.squarings
        widths = settings.widths
        self.multiple = max(16, 2 ** len(widths))
        self.down = nn.ModuleList(
            nn.Sequential(ConvBlock(dimensions, before, after, stride=2), PlainResidualBlock(dimensions, after))
            for before, after in itertools.pairwise([1, *widths])
        )
        self.match = nn.ModuleList(
            nn.Sequential(ConvBlock(dimensions, 2 * width, width), PlainResidualBlock(dimensions, width))
            for width in reversed(widths)
        )
        self.apply(keep_variance)
        self.heads = nn.ModuleList(FieldHead(dimensions, width) for width in reversed(widths))

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair; `backward` is the other direction, its inverse."""
        shape = fixed.shape[2:]
        velocities = self._velocities(pad_to_multiple(torch.cat([fixed, moving]), self.multiple), len(fixed))
        backward = Prediction.of(self._parts(velocities, 1), shape)
        return Prediction.of(self._parts(velocities, -1), shape, backward=backward)

    def _velocities(self, images: Tensor, count: int) -> list[Tensor]:
        """Return the velocity of each level, coarsest first, all on the finest grid and in its voxels.

        Flows of coarse grids would be sampled between far nodes, where a map and its inverse do not agree.
        """
        features = [images]
        for level in self.down:
            features.append(level(features[-1]))
        finest = features[1].shape[2:]
        found: list[Tensor] = []
        halves: list[Tensor] = []  # from half way to the fixed and to the moving image, on the finest grid
        for number, (match, head) in enumerate(zip(self.match, self.heads, strict=True)):
            both, ratio = features.pop(), 2 ** (len(self.heads) - 1 - number)
            if halves:
                both = warp(both, every(torch.cat(halves), ratio) / ratio)
            here, there = both[:count], both[count:]
            # Both orders at once; their difference changes its sign when the images are exchanged.
            raw = head(match(torch.cat([torch.cat([here, there]), torch.cat([there, here])], 1))).float()
            bounded = self.reach * torch.tanh((raw[:count] - raw[count:]) / (2 * self.reach))
            found.append(upsample_field(bounded, ratio, finest))
            flows = [integrate(sign * found[-1], steps=self.squarings) for sign in (1, -1)]
            halves = [compose(*pair) for pair in zip(flows, halves, strict=True)] if halves else flows
        return found

    def _parts(self, velocities: list[Tensor], sign: int) -> list[Part]:
        """Return the flows from one image to half way, coarse to fine, and on to the other image, fine to coarse."""
        *coarser, finest = velocities
        there = [VelocityPart(sign * velocity, self.squarings, STRIDE) for velocity in coarser]
        middle = VelocityPart(2 * sign * finest, self.squarings + 1, STRIDE)  # both halves of the finest level
        return [*there, middle, *reversed(there)]


def every(field: Tensor, ratio: int) -> Tensor:
    """Return every `ratio`-th voxel along all axes."""
    steps = [slice(None, None, ratio)] * (field.ndim - 2)
    return field[(slice(None), slice(None), *steps)]


class PlainResidualBlock(nn.Module):
    """Two convolutions with a shortcut."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.first = convolution(dimensions, width, width)
        self.second = convolution(dimensions, width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        hidden = self.second(functional.leaky_relu(self.first(features), SLOPE))
        return functional.leaky_relu(features + hidden, SLOPE)
