"""Features of an auto-encoder that is trained on the images alone; engines minimize their difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn

from ..settings import option
from .base import LossContext, Method, MethodInfo, Reconstruction, RegistrationNetwork
from .blocks import ConvBlock, convolution, crop, pad_to_multiple, upsample
from .objectives import checked_supervision
from .patch import MAX_POOL, patch_means

Tensor = torch.Tensor
ALL, DEEPEST = "all", "deepest"
LEAST_VARIANCE = 1e-8  # of features; those of a constant image do not vary


@dataclass(frozen=True)
class SsEMnetSettings:
    """Architecture of the auto-encoder; all numbers are our choice."""

    widths: tuple[int, ...] = option(
        (8, 16, 32),
        "Channels of the encoder",
        tooltip="Each level is two convolutions and a pooling, which halves the resolution.",
        minimum=1,
        maximum=512,
        advanced=True,
    )
    compared: str = option(
        ALL,
        "Features compared",
        tooltip="deepest: after the last pooling, as in the paper; all: those of every level, with equal weights.",
        choices=(ALL, DEEPEST),
    )
    noise: float = option(
        0.05,
        "Noise in training",
        tooltip="Standard deviation of the noise added to the encoder's input, so that features suppress noise.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )


class SsEMnet(Method):
    """The method, see `info`.

    Of the paper: a convolutional auto-encoder learns to reconstruct the images; its encoder is frozen, and a pair is
    registered by minimizing the squared difference of the features of the fixed and the warped image. Our choice: the
    layers, features of several levels, noise in training, and the optimizer of the pair, which is that of the engine
    `instance` (the paper trains a spatial transformer on the pair).
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="ssemnet",
        title="Auto-encoder features",
        summary="Features of an auto-encoder trained on the images alone, a similarity of the engine `instance`.",
        citation="Yoo et al., ssEMnet, DLMIA 2017, LNCS 10553:249-257, doi 10.1007/978-3-319-67558-9_29, "
        "arXiv 1707.07833",
        settings=SsEMnetSettings,
        supervision=("none",),
        kind="features",
    )

    def network(self, settings: SsEMnetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        return AutoEncoder(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the mean squared difference between the images and their reconstructions."""
        checked_supervision(context.supervision, self.info.supervision)
        return {"reconstruction": (_reconstruction(context).values - _reconstruction(context).images).square().mean()}

    @torch.no_grad()
    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return the fraction of the images' variance that the reconstructions explain."""
        found = _reconstruction(context)
        missed = (found.values - found.images).square().flatten(1).mean(1)
        variance = found.images.flatten(1).var(1, unbiased=False).clamp(min=LEAST_VARIANCE)
        return {"explained": float((1 - missed / variance).mean())}


def _reconstruction(context: LossContext) -> Reconstruction:
    return cast("Reconstruction", context.prediction)


class AutoEncoder(RegistrationNetwork):
    """Levels of (convolution, convolution, pooling), and the mirrored decoder without shortcuts between them.

    Parameters
    ----------
    settings : SsEMnetSettings
        Architecture and what is compared.
    dimensions : int
        2 or 3.

    Reference
    ---------
    Yoo et al., DLMIA 2017, arXiv 1707.07833.
    """

    scale_free = True

    def __init__(self, settings: SsEMnetSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.multiple = 2 ** len(settings.widths)
        self.compared, self.noise = settings.compared, settings.noise
        self.dimensions = dimensions
        inputs, levels = 1, []
        for width in settings.widths:
            levels.append(
                nn.Sequential(
                    ConvBlock(dimensions, inputs, width), ConvBlock(dimensions, width, width), MAX_POOL[dimensions](2)
                )
            )
            inputs = width
        self.encoder = nn.ModuleList(levels)
        narrower = [*settings.widths[-2::-1], settings.widths[0]]
        self.decoder = nn.ModuleList()
        for width in narrower:
            self.decoder.append(
                nn.Sequential(ConvBlock(dimensions, inputs, width), ConvBlock(dimensions, width, width))
            )
            inputs = width
        self.last = convolution(dimensions, inputs, 1)

    def forward(self, fixed: Tensor, moving: Tensor) -> Reconstruction:
        """Return the reconstructions of both images, (N, 1, *spatial) each."""
        images = torch.cat([fixed, moving])
        seen = images + self.noise * torch.randn_like(images) if self.training and self.noise else images
        channels = self._levels(seen)[-1]
        for level in self.decoder:
            channels = level(upsample(channels))
        return Reconstruction(crop(self.last(channels), images.shape[2:]), images)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the features that are compared, (N, C, *coarse) each, level k has 1 / 2^(k+1) of the resolution."""
        levels = self._levels(image)
        return tuple(levels) if self.compared == ALL else (levels[-1],)

    def _levels(self, image: Tensor) -> list[Tensor]:
        channels, found = pad_to_multiple(image, self.multiple), []
        for level in self.encoder:
            channels = level(channels)
            found.append(channels)
        return found


class FeatureDifference:
    """The squared difference of the features of a warped image from those of a fixed image, as a loss.

    It is relative to the variance of the fixed features, so that all levels have equal weights: 0 for equal features,
    1 for the mean of the fixed features everywhere.

    Parameters
    ----------
    network : AutoEncoder
        In evaluation mode, on the device of the image.
    fixed : (1, 1, Z, Y, X) tensor
        Intensities, 0 to 1. A network of 2D images compares slice by slice: along the axis with one voxel, or z.
    """

    def __init__(self, network: AutoEncoder, fixed: Tensor) -> None:
        self.network = network
        flat = [axis for axis, size in enumerate(fixed.shape[2:]) if size == 1]
        self.axis = flat[0] if flat else 0
        with torch.no_grad():
            self.fixed = network.features(self._images(fixed))
            self.scales = [_variance(each) for each in self.fixed]

    def __call__(self, _fixed: Tensor, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss; differentiable by the warped image (1, 1, Z, Y, X).

        `weight`, of the same size, says where it is measured.
        """
        where = None if weight is None else self._images(weight)
        terms = []
        for level, (fixed, moving, scale) in enumerate(
            zip(self.fixed, self.network.features(self._images(warped)), self.scales, strict=True)
        ):
            difference = (moving - fixed).square().mean(1, keepdim=True) / scale
            terms.append(_mean(difference, where, self._stride(level)))
        return torch.stack(terms).mean()

    def _stride(self, level: int) -> int:
        return 2 ** (level + 1) if self.network.compared == ALL else self.network.multiple

    def _images(self, volume: Tensor) -> Tensor:
        """Return a volume as the network needs it, (1, 1, Z, Y, X) or its slices (N, 1, Y, X)."""
        return volume if self.network.dimensions == 3 else volume[0].movedim(1 + self.axis, 0)


def _variance(features: Tensor) -> Tensor:
    """Return the mean variance of the channels over positions and slices."""
    return features.transpose(0, 1).flatten(1).var(1, unbiased=False).mean().clamp(min=LEAST_VARIANCE)


def _mean(difference: Tensor, weight: Tensor | None, stride: int) -> Tensor:
    if weight is None:
        return difference.mean()
    coarse = patch_means(weight, stride)
    # Features of all levels are padded to the same multiple; the weight of the padding is 0.
    missing = [n - c for n, c in zip(difference.shape[2:], coarse.shape[2:], strict=True)]
    margins = [entry for size in reversed(missing) for entry in (0, size)]
    coarse = torch.nn.functional.pad(coarse, margins)
    return (difference * coarse).sum() / coarse.sum().clamp(min=1e-6)
