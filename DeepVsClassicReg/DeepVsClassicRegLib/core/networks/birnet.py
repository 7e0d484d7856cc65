"""BIRNet: a U-Net with gap filling, trained with known displacements at three scales, then with the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..errors import SettingsError
from ..losses.regularity import diffusion
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import ConvBlock, crop, halved, pad_to_multiple, upsample
from .flow import warp
from .heads import FieldHead
from .objectives import (
    checked_supervision,
    image_option,
    image_term,
    known_displacement,
    label_option,
    label_term,
    radius_option,
    smoothness_option,
)
from .parts import DisplacementPart

Tensor = torch.Tensor
SCALES = 3
INPUTS = 4  # fixed, moving, their difference, the slope of the fixed image


@dataclass(frozen=True)
class BIRNetSettings:
    """Network and objective; unless stated otherwise the numbers are our choice."""

    channels: int = option(
        8, "Channels", tooltip="Channels of the finest level, doubled at each coarser one.", minimum=1
    )
    gaps: tuple[int, ...] = option(
        (1, 1, 1),
        "Gap filling",
        tooltip="Convolutions in the skip connections, fine to coarse; one entry per level.",
        minimum=1,
        maximum=8,
        advanced=True,
    )
    half: bool = option(
        True, "Half-resolution field", tooltip="Scales of 2, 4 and 8 voxels instead of the authors' 1, 2 and 4."
    )
    similarity: str = image_option("mse", tooltip="The authors use the mean squared difference.")
    radius: int = radius_option(2)
    image_weight: float = option(300.0, "Image weight", minimum=0.0)
    displacement_weight: float = option(
        0.1, "Displacement weight", tooltip="Weight of the distance to the known displacement, voxels.", minimum=0.0
    )
    floor: float = option(
        0.1,
        "Least share",
        tooltip="Initial weight of the images, final weight of the displacement; the two weights sum to 1.",
        minimum=0.0,
        maximum=0.5,
        advanced=True,
    )
    smoothness: float = smoothness_option(tooltip="Weight of the squared slopes.")
    label_weight: float = label_option()

    def __post_init__(self) -> None:
        if len(self.gaps) < SCALES:
            raise SettingsError(f"The network needs at least {SCALES} levels, got gap filling {self.gaps}.")


class BIRNet(Method):
    """The method, see `info`.

    The authors': images, difference and slopes as inputs; convolutions that fill the gap between encoder and decoder;
    the displacement at three scales of the decoder, each guided by a known one (hierarchical), while the images guide
    the finest (dual supervision), with weights that move from the first to the second. Our choice: whole images or
    patches of any size (`--patch`) with padded convolutions instead of 64^3 to 24^3, half resolution, all numbers;
    without known displacements the images guide every scale.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="birnet",
        title="BIRNet",
        summary="U-Net guided first by the displacements of a teacher and later by the images, at three scales.",
        citation="Fan et al., Med. Image Anal. 54:193-206, 2019, doi 10.1016/j.media.2019.03.006, arXiv 1802.04692",
        settings=BIRNetSettings,
        supervision=("displacement", "none", "labels"),
    )

    def network(self, settings: BIRNetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return GapFillingUNet(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the distances at three scales and the image term, or the image terms of all scales."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, batch, settings = context.prediction, context.batch, context.settings
        fields = [(2**k * (2 if settings.half else 1), prediction.features[f"field {k}"]) for k in range(SCALES)]
        image = image_term(settings.similarity, batch, prediction.displacement, radius=settings.radius)
        smooth = torch.stack([diffusion(field) for _, field in fields]).mean()
        terms = {"smoothness": settings.smoothness * smooth}
        if context.supervision == "displacement":
            known = known_displacement(batch)
            distances = torch.stack([distance(field, known, stride) for stride, field in fields])
            share = settings.floor + (1 - 2 * settings.floor) * context.done
            terms["displacement"] = (1 - share) * settings.displacement_weight * distances.sum()
            return {"image": share * settings.image_weight * image, **terms}
        coarse = [coarse_image_term(batch.fixed, batch.moving, field, stride) for stride, field in fields[1:]]
        terms["coarse images"] = settings.image_weight * torch.stack(coarse).mean()
        if context.supervision == "labels":
            terms["labels"] = settings.label_weight * label_term(batch, prediction.displacement)
        return {"image": settings.image_weight * image, **terms}


def distance(field: Tensor, known: Tensor, stride: int) -> Tensor:
    """Return the mean distance along the axes, in voxels of the image, of a field (every `stride` voxels)."""
    there = known
    for axis in range(2, known.ndim):
        there = there.index_select(axis, torch.arange(0, known.shape[axis], stride, device=known.device))
    here = crop(field, there.shape[2:])
    return (stride * here - there).abs().sum(1).mean()


def coarse_image_term(fixed: Tensor, moving: Tensor, field: Tensor, stride: int) -> Tensor:
    """Return the mean squared difference of the images at the resolution of a field."""
    while stride > 1:
        fixed, moving, stride = halved(fixed), halved(moving), stride // 2
    here = crop(field, fixed.shape[2:])
    return (fixed - warp(moving, here)).square().mean()


class GapFillingUNet(RegistrationNetwork):
    """A U-Net with convolutions on its skips and a displacement from each of its three finest decoder levels.

    Reference
    ---------
    Fan et al., Med. Image Anal. 54:193-206, 2019, doi 10.1016/j.media.2019.03.006.
    """

    def __init__(self, settings: BIRNetSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        widths = [settings.channels * 2**level for level in range(len(settings.gaps) + 1)]
        self.stride = 2 if settings.half else 1
        self.multiple = max(16, self.stride * 2 ** len(settings.gaps))
        first = ConvBlock(dimensions, INPUTS, widths[0], stride=self.stride)
        self.entry = nn.Sequential(first, ConvBlock(dimensions, widths[0], widths[0]))
        self.down, self.gaps, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for fine, coarse, count in zip(widths[:-1], widths[1:], settings.gaps, strict=True):
            self.down.append(
                nn.Sequential(ConvBlock(dimensions, fine, coarse, stride=2), ConvBlock(dimensions, coarse, coarse))
            )
            self.gaps.append(nn.Sequential(*(ConvBlock(dimensions, fine, fine) for _ in range(count))))
            self.up.append(ConvBlock(dimensions, fine + coarse, fine))
        self.heads = nn.ModuleList(FieldHead(dimensions, widths[level]) for level in range(SCALES))

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement of the finest scale; those of all scales are its features."""
        shape = fixed.shape[2:]
        here, there = (pad_to_multiple(image, self.multiple) for image in (fixed, moving))
        hidden = self.entry(torch.cat([here, there, here - there, slope(here)], 1))
        skips = []
        for down, gap in zip(self.down, self.gaps, strict=True):
            skips.append(gap(hidden))
            hidden = down(hidden)
        fields: dict[str, Tensor] = {}
        for level in reversed(range(len(self.up))):
            hidden = self.up[level](torch.cat([upsample(hidden), skips[level]], 1))
            if level < SCALES:
                fields[f"field {level}"] = self.heads[level](hidden).float()
        return Prediction.of([DisplacementPart(fields["field 0"], self.stride)], shape, features=fields)


def slope(image: Tensor) -> Tensor:
    """Return the length of the gradient of an image (N, 1, *spatial), central differences."""
    slopes = torch.gradient(image, dim=list(range(2, image.ndim)))
    return torch.sqrt(torch.stack(slopes).square().sum(0) + 1e-8)
