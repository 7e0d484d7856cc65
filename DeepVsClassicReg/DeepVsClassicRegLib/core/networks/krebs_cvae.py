"""Krebs' CVAE: a few latent variables encode the deformation, decoded with the moving image to a smooth velocity."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.distribution import kl_standard_normal
from ..losses.similarity import lncc
from ..losses.windows import separable
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import ConvBlock, convolution, halved, pad_to_multiple, small_start, upsample
from .flow import LINEAR, velocity_to_displacement, warp
from .heads import AVERAGE, sample
from .objectives import checked_supervision, radius_option
from .parts import VelocityPart

Tensor = torch.Tensor
STRIDE = 2  # voxels of the image per voxel of the velocity
FIRST_LOG_VARIANCE = -10.0


@dataclass(frozen=True)
class KrebsCVAESettings:
    """Network and objective; unless stated otherwise the defaults are the authors'."""

    widths: tuple[int, ...] = option(
        (16, 32, 32), "Encoder channels", tooltip="One entry per downsampling by 2.", minimum=1, advanced=True
    )
    squeezed: int = option(
        4,
        "Channels before the code",
        tooltip="Channels of the last convolution of the encoder.",
        minimum=1,
        advanced=True,
    )
    code: int = option(32, "Length of the code", tooltip="Number of latent variables of a deformation.", minimum=1)
    channels: int = option(16, "Decoder channels", tooltip="Our choice.", minimum=1, maximum=256, advanced=True)
    cells: int = option(
        4,
        "Cells per axis",
        tooltip="Features are averaged over cells before the code, for images of any size (our choice).",
        minimum=1,
        maximum=16,
        advanced=True,
    )
    sigma_vox: float = option(
        3.0, "Smoothing", tooltip="Standard deviation of the Gaussian.", unit="voxels", minimum=0.5, maximum=20.0
    )
    squarings: int = option(4, "Squarings", minimum=1, maximum=12, advanced=True)
    radius: int = radius_option(tooltip="Window of the local correlation (our choice).")
    similarity_weight: float = option(
        5000.0,
        "Image weight",
        tooltip="Weight of the correlation against the divergence of the code; the loss is divided by it (our choice).",
        minimum=1e-3,
    )


class KrebsCVAE(Method):
    """The method, see `info`.

    The authors': encoder of three halvings and a convolution of 4 channels, code of 32 numbers, decoder conditioned
    on the moving image at every scale, Gaussian smoothing, exponentiation by 4 squarings, symmetric local correlation
    half way, divergence of the code from a standard normal. Our choice: a velocity with half the resolution, cells
    and a normalization before the code, and box windows in the correlation (theirs are Gaussian).
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="krebs-cvae",
        title="Krebs' variational auto-encoder",
        summary="Encodes deformations in a few latent variables, for sampling or transfer to another image.",
        citation="Krebs et al., IEEE TMI 38:2165-2176, 2019, doi 10.1109/TMI.2019.2897112, arXiv 1812.07460",
        settings=KrebsCVAESettings,
        supervision=("none",),
        probabilistic=True,
    )

    def network(self, settings: KrebsCVAESettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return ConditionalAutoEncoder(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the symmetric local correlation, and the divergence of the code."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, batch, settings = context.prediction, context.batch, context.settings
        velocity, shape = cast("Tensor", prediction.velocity), batch.fixed.shape[2:]
        forth, back = (
            velocity_to_displacement(half * velocity, steps=settings.squarings, stride=STRIDE, shape=shape)
            for half in (0.5, -0.5)
        )
        image = lncc(warp(batch.fixed, back), warp(batch.moving, forth), radius=settings.radius)
        mean, log_variance = prediction.features["mean"], prediction.features["log_variance"]
        divergence = mean.shape[1] * kl_standard_normal(mean, log_variance) / settings.similarity_weight
        return {"image": image, "divergence": divergence}


@dataclass(frozen=True)
class CodeDistribution:
    """Maps whose code is Gaussian.

    Attributes
    ----------
    mean, log_variance : (N, code) tensors
        Mean and log-variance of the code.
    moving : (N, 1, *spatial) tensor
        Input image of the decoder.
    network : ConditionalAutoEncoder
        The network with the decoder.
    """

    mean: Tensor
    log_variance: Tensor
    moving: Tensor
    network: ConditionalAutoEncoder

    def sample(self, seed: int) -> Tensor:
        """Return a random displacement (N, D, *spatial)."""
        code = sample(self.mean, self.log_variance, seed=seed)
        return self.network.decoded(code, self.moving).displacement(self.moving.shape[2:])


class ConditionalAutoEncoder(RegistrationNetwork):
    """Pair -> code -> velocity, the decoder conditioned on the moving image.

    Reference
    ---------
    Krebs et al., IEEE TMI 38:2165-2176, 2019, doi 10.1109/TMI.2019.2897112.
    """

    transfers = True

    def __init__(self, settings: KrebsCVAESettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.cells, self.sigma_vox, self.squarings = settings.cells, settings.sigma_vox, settings.squarings
        self.levels = len(settings.widths)
        self.multiple = max(16, 2**self.levels)
        widths, width = [2, *settings.widths], settings.channels
        self.encoder = nn.Sequential(
            *(ConvBlock(dimensions, a, b, stride=2) for a, b in itertools.pairwise(widths)),
            ConvBlock(dimensions, widths[-1], settings.squeezed),
        )
        inputs = settings.squeezed * settings.cells**dimensions
        self.mean = nn.Linear(inputs, settings.code)
        self.log_variance = small_start(nn.Linear(inputs, settings.code), scale=1e-4, bias=FIRST_LOG_VARIANCE)
        self.unfold = nn.Linear(settings.code, width * settings.cells**dimensions)
        self.decoder = nn.ModuleList(ConvBlock(dimensions, width + 1, width) for _ in range(self.levels))
        self.exit = small_start(convolution(dimensions, width, dimensions))

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair; of a random code in training mode, else of the mean code."""
        mean, log_variance = self.code(fixed, moving)
        code = sample(mean, log_variance) if self.training else mean
        return Prediction.of(
            [self.decoded(code, moving)],
            fixed.shape[2:],
            distribution=CodeDistribution(mean, log_variance, moving, self),
            features={"mean": mean, "log_variance": log_variance},
        )

    def transferred(self, fixed: Tensor, moving: Tensor, other: Tensor) -> Prediction:
        """Return the deformation from `moving` to `fixed`, transferred to another moving image.

        Parameters
        ----------
        fixed, moving : (N, 1, *spatial) tensors
            The pair whose deformation is coded, for example two phases of a heart.
        other : (N, 1, *spatial) tensor
            The target image of the transfer, for example the same phase of another heart; the result is on its grid.
        """
        mean, _ = self.code(fixed, moving)
        return Prediction.of([self.decoded(mean, other)], other.shape[2:])

    def code(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the code of a pair, both (N, code)."""
        features = self.encoder(pad_to_multiple(torch.cat([fixed, moving], 1), 2**self.levels))
        pooled = AVERAGE[fixed.ndim - 2](features, self.cells).flatten(1).float()
        # Normalized, so that the code is informative from the first step on, above the sampling noise.
        pooled = functional.layer_norm(pooled, pooled.shape[1:])
        return self.mean(pooled).float(), self.log_variance(pooled).float()

    def decoded(self, code: Tensor, moving: Tensor) -> VelocityPart:
        """Return the map of a code (N, code) for a moving image."""
        dimensions = moving.ndim - 2
        scales = [halved(pad_to_multiple(moving, 2**self.levels))]
        for _ in range(self.levels - 1):
            scales.append(halved(scales[-1]))
        cells = self.unfold(code).unflatten(1, (-1, *[self.cells] * dimensions))
        features = functional.interpolate(
            cells, size=scales[-1].shape[2:], mode=LINEAR[dimensions], align_corners=False
        )
        for number, level in enumerate(self.decoder):
            features = upsample(features) if number else features
            features = level(torch.cat([features, scales[-1 - number].to(features.dtype)], 1))
        velocity = separable(self.exit(features).float(), self._kernels(dimensions, moving.device))
        return VelocityPart(velocity, self.squarings, STRIDE)

    def _kernels(self, dimensions: int, device: torch.device) -> list[Tensor]:
        return [gaussian_half(self.sigma_vox / STRIDE, device)] * dimensions


def gaussian_half(sigma: float, device: torch.device) -> Tensor:
    """Return half of a Gaussian kernel, its middle first; the whole kernel has the sum 1 (15 voxels for sigma 3)."""
    half = torch.exp(-0.5 * (torch.arange(math.ceil(2.3 * sigma) + 1, device=device) / sigma) ** 2)
    return half / (2 * half.sum() - half[0])
