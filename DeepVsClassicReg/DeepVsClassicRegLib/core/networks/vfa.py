"""Vector-field attention: fixed features attend to moving features in their neighborhood; values are displacements."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..losses.regularity import diffusion
from ..settings import option
from .base import Level, LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import MEAN_POOL, crop, pad_to_multiple, small_start
from .flow import compose, integrate, warp
from .objectives import (
    checked_supervision,
    image_option,
    label_option,
    radius_option,
    smoothness_option,
    weighted_terms,
    weighted_terms_both_ways,
)
from .pyramid import NormalizedBlock, local_correlation, refined, resized

Tensor = torch.Tensor
START = 0.05  # initial scale of the features
SQUARINGS = 4  # of the flows of a symmetric network


@dataclass(frozen=True)
class VFASettings:
    """Network and objective of vector-field attention."""

    channels: int = option(
        8, "Start channels", tooltip="Doubled at each of the first two downsamplings; our choice.", minimum=1
    )
    features: int = option(16, "Features", tooltip="Matched features per voxel; our choice.", minimum=1)
    levels: int = option(
        4, "Levels", tooltip="The finest has half the image's resolution; our choice.", minimum=1, maximum=5
    )
    similarity: str = image_option()
    radius: int = radius_option()
    smoothness: float = smoothness_option()
    label_weight: float = label_option()
    symmetric: bool = option(
        False,
        "Symmetric",
        tooltip="Match half way between both images, in both directions: swapping the images inverts the map.",
    )


class VFA(Method):
    """The method, see `info`.

    With `symmetric` (our addition, after SITReg: Honkamaa and Marttinen, MELBA 2:2148-2194, 2024) equal images are not
    moved, whatever the weights are: a network that learned from labels alone moves an image toward their mean shape.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="vfa",
        title="Vector-field attention",
        summary="Fixed features attend to moving features in their neighborhood; the output is the mean displacement.",
        citation="Liu et al., J. Med. Imaging 11(6):064001, 2024, doi 10.1117/1.JMI.11.6.064001, arXiv 2407.10209",
        settings=VFASettings,
    )

    def network(self, settings: VFASettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return AttentionPyramid(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image, smoothness and label terms; of a symmetric network the mean over both directions."""
        checked_supervision(context.supervision, self.info.supervision)
        if context.prediction.backward is not None:
            return weighted_terms_both_ways(context, diffusion)
        return weighted_terms(context, diffusion(context.prediction.displacement))


class AttentionPyramid(RegistrationNetwork):
    """Features of each image at several resolutions, then one attention per resolution, coarse to fine.

    The map is computed by the attention only; no layer predicts displacements.

    Reference
    ---------
    Liu et al., J. Med. Imaging 11(6):064001, 2024, doi 10.1117/1.JMI.11.6.064001.
    """

    def __init__(self, settings: VFASettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.symmetric = settings.symmetric
        self.multiple = max(16, 2**settings.levels)
        self.extract = FeaturePyramid(dimensions, settings.channels, settings.features, settings.levels)
        self.attend = nn.ModuleList(VectorFieldAttention(dimensions) for _ in range(settings.levels))

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair, with the output of each level; `backward` too when the network is symmetric."""
        count, shape = len(fixed), fixed.shape[2:]
        images = pad_to_multiple(torch.cat([fixed, moving]), self.multiple)
        features = [(both[:count].float(), both[count:].float()) for both in self.extract(images)]
        if self.symmetric:
            both = [refined(u, images.shape[2:]) for u in self._both_ways(features)]
            there, back = (Prediction(crop(u, shape)) for u in both)
            return dataclasses.replace(there, backward=back)
        levels = self._levels(features)
        return Prediction(crop(refined(levels[-1].displacement, images.shape[2:]), shape), levels=levels)

    def _levels(self, features: Sequence[tuple[Tensor, Tensor]]) -> tuple[Level, ...]:
        """Return the output of each level for the features of the fixed and the moving image, coarsest first."""
        found: list[Level] = []
        for number, ((here, there), attend) in enumerate(zip(features, self.attend, strict=True)):
            if found:
                u = refined(found[-1].displacement, here.shape[2:])
                residual = attend(here, warp(there, u))
                u = compose(residual, u)
            else:
                u = residual = attend(here, there)
            found.append(Level(residual, u, 2 ** (len(self.attend) - number)))
        return tuple(found)

    def _both_ways(self, features: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the displacements of both directions on the finest grid of the features.

        At each level both images are warped to a place half way; half the difference of the attentions of both
        directions is a velocity that moves both halves on. With its flows E1 (coarsest) to En, each from half way
        to one image, the map is E1 ... En En ... E1, and its inverse has the flows backwards.
        """
        finest = features[-1][0].shape[2:]
        flows: list[tuple[Tensor, Tensor]] = []
        halves: tuple[Tensor, Tensor] | None = None  # from half way to the fixed and to the moving image
        for number, ((here, there), attend) in enumerate(zip(features, self.attend, strict=True)):
            if halves is not None:
                ratio = 2 ** (len(features) - 1 - number)
                here, there = (
                    warp(*pair) for pair in zip((here, there), (coarser(u, ratio) for u in halves), strict=True)
                )
            velocity = refined((attend(here, there) - attend(there, here)) / 4, finest)
            back, on = integrate(-velocity, steps=SQUARINGS), integrate(velocity, steps=SQUARINGS)
            flows.append((on, back))
            halves = (back, on) if halves is None else (compose(back, halves[0]), compose(on, halves[1]))
        assert halves is not None
        to_fixed, to_moving = halves
        for on, back in reversed(flows):
            to_moving, to_fixed = compose(on, to_moving), compose(back, to_fixed)
        return to_moving, to_fixed


def coarser(u: Tensor, ratio: int) -> Tensor:
    """Return a displacement on a grid whose voxels are the means of `ratio` voxels along each axis."""
    return MEAN_POOL[u.shape[1]](u, ratio) / ratio


class VectorFieldAttention(nn.Module):
    """Attention of a voxel to the moving features at itself and its neighbors; values are the displacements to them.

    Nothing is learned here, as in the paper: all parameters are those of the features. (The authors' program scales
    the outcome by a learned factor that starts at 0.1; here small features do the same at first, our choice.)
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        offsets = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=dimensions)))
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the displacement (N, D, *spatial) in voxels of the features (N, C, *spatial)."""
        alike = local_correlation(fixed, moving) * fixed.shape[1] ** 0.5
        chance = torch.softmax(alike, 1).float()
        return torch.einsum("nk...,kd->nd...", chance, self.offsets)


class FeaturePyramid(nn.Module):
    """A U-Net of one image with features at every resolution of its decoder.

    Parameters
    ----------
    dimensions, channels : int
        2 or 3; channels at the image's resolution.
    features : int
        Features per voxel. They are initially small, so that the attention is uniform and the map is the identity.
    levels : int
        Resolutions, from half the image's downwards.
    """

    def __init__(self, dimensions: int, channels: int, features: int, levels: int) -> None:
        super().__init__()
        widths = [channels * 2 ** min(level, 2) for level in range(levels + 1)]
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        self.entry = NormalizedBlock(dimensions, 1, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(
                NormalizedBlock(dimensions, before, after, down=True), NormalizedBlock(dimensions, after, after)
            )
            for before, after in itertools.pairwise(widths)
        )
        coarse_first = widths[:0:-1]
        self.up = nn.ModuleList(
            NormalizedBlock(dimensions, before + after, after) for before, after in itertools.pairwise(coarse_first)
        )
        self.exits = nn.ModuleList(
            small_start(kind(width, features, 1, bias=False), scale=START / width**0.5) for width in coarse_first
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return features (N, features, *spatial / stride) of an image (N, 1, *spatial), coarsest first."""
        skips = [self.entry(image)]
        for level in self.down:
            skips.append(level(skips[-1]))
        hidden = skips.pop()
        found = [self.exits[0](hidden)]
        for up, leave in zip(self.up, list(self.exits)[1:], strict=True):
            skip = skips.pop()
            hidden = up(torch.cat([resized(hidden, skip.shape[2:]), skip], 1))
            found.append(leave(hidden))
        return found
