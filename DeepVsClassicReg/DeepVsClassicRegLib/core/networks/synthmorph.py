"""SynthMorph: contrast-independent registration, trained on the overlap of the labels of generated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional

from ..losses.overlap import squared_dice
from ..losses.regularity import diffusion
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import MEAN_POOL
from .dense import DenseNetwork, DenseSettings
from .flow import warp
from .objectives import checked_supervision, labels_of, smoothness_option
from .pyramid import PyramidNetwork

Tensor = torch.Tensor


@dataclass(frozen=True)
class SynthMorphSettings(DenseSettings):
    """Network and objective of SynthMorph."""

    architecture: str = option(
        "pyramid",
        "Network",
        tooltip="pyramid: coarse-to-fine matching, needs few steps; unet: the network of the paper.",
        choices=("pyramid", "unet"),
    )
    channels: tuple[int, ...] = option((8, 24, 32, 48), "Channels of the pyramid's features", minimum=1, advanced=True)
    features: int = option(16, "Matched features", minimum=1, maximum=256, advanced=True)
    width: int = option(32, "Channels of the matching unit", minimum=1, maximum=512, advanced=True)
    levels: int = option(3, "Scales of the pyramid", minimum=1, maximum=6)
    iterations: int = option(2, "Matchings per coarse scale", minimum=1, maximum=8)
    last_iterations: int = option(1, "Matchings at the finest scale", minimum=1, maximum=8)
    smoothness: float = smoothness_option(0.5, tooltip="Weight of the squared slopes.")


class SynthMorph(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="synthmorph",
        title="SynthMorph",
        summary="Trained on labels of synthetic images with random contrast; needs no real images.",
        citation="Hoffmann et al., IEEE TMI 41:543-558, 2022, doi 10.1109/TMI.2021.3116879, arXiv 2004.10282",
        settings=SynthMorphSettings,
        supervision=("labels",),
    )

    def network(self, settings: SynthMorphSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        if settings.architecture == "unet":
            return DenseNetwork(settings, dimensions=dimensions)
        first, half, quarter, eighth = settings.channels
        return PyramidNetwork(
            dimensions=dimensions,
            channels=(first, half, quarter, eighth),
            features=settings.features,
            width=settings.width,
            levels=settings.levels,
            iterations=settings.iterations,
            last_iterations=settings.last_iterations,
        )

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the label and smoothness terms of all levels and directions of the network."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, (fixed, moving) = context.prediction, labels_of(context.batch)
        labels, rough = whole_terms(prediction, fixed, moving)
        if prediction.backward is not None:
            other, other_rough = whole_terms(prediction.backward, moving, fixed)
            labels, rough = (labels + other) / 2, (rough + other_rough) / 2
        return {"labels": labels, "smoothness": context.settings.smoothness * rough}


def whole_terms(prediction: Prediction, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 minus the overlap and the roughness, averaged over levels (at the image's own grid without)."""
    if not prediction.levels:
        rough = prediction.displacement if prediction.velocity is None else prediction.velocity
        return squared_dice(fixed, warp(moving, prediction.displacement)), diffusion(rough)
    pooled: dict[int, tuple[Tensor, ...]] = {}
    overlaps, roughness = [], []
    for level in prediction.levels:
        if level.stride not in pooled:
            grid = level.displacement.shape[2:]
            pooled[level.stride] = (
                pooled_memberships(fixed, level.stride, grid),
                pooled_memberships(moving, level.stride, grid),
            )
        there, here = pooled[level.stride]
        overlaps.append(squared_dice(there, warp(here, level.displacement)))
        roughness.append(diffusion(level.residual))
    return torch.stack(overlaps).mean(), torch.stack(roughness).mean()


def pooled_memberships(labels: Tensor, stride: int, shape: Sequence[int]) -> Tensor:
    """Return mean memberships on a grid of `stride` voxels, with background outside the labels."""
    margins: list[int] = []
    for size, count in zip(reversed(labels.shape[2:]), reversed(tuple(shape)), strict=True):
        margins += [0, count * stride - size]
    return MEAN_POOL[labels.ndim - 2](functional.pad(labels, margins), stride)
