"""Probabilistic multilayer regularization: posteriors of the deformation at hidden layers guide the features."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn

from ..losses.distribution import kl_graph_prior
from ..losses.similarity import mse
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import ConvBlock, pad_to_multiple, upsample
from .flow import integrate, warp
from .heads import GaussianHead, sample
from .objectives import checked_supervision, label_option, supervised_terms
from .parts import GaussianVelocity, VelocityPart
from .pyramid import normalized

Tensor = torch.Tensor
STRIDE = 2  # voxels of the image per voxel of the velocity


@dataclass(frozen=True)
class MultilayerSettings:
    """Network and objective; all numbers are our choice."""

    widths: tuple[int, ...] = option(
        (8, 16, 16, 16), "Channels of a stream", tooltip="One entry per downsampling by 2.", minimum=1, advanced=True
    )
    steps: int = option(5, "Squarings", minimum=1, maximum=12, advanced=True)
    image_sigma: float = option(
        0.02, "Image noise", tooltip="Standard deviation of fixed minus warped, intensities 0 to 1.", minimum=1e-4
    )
    feature_sigma: float = option(
        1.0, "Feature noise", tooltip="The same for features, which have standard deviation 1.", minimum=1e-4
    )
    precision: float = option(
        10.0, "Prior precision", tooltip="Smoothness of velocities a priori; higher values are smoother.", minimum=1e-3
    )
    layer_weight: float = option(0.1, "Layer weight", tooltip="Weight of the terms of the hidden layers.", minimum=0.0)
    label_weight: float = label_option(10.0)


class Multilayer(Method):
    """The method, see `info`.

    The authors': a feature stream for each image, at several hidden layers a Gaussian posterior of the deformation,
    whose draw warps the moving features of that layer onto the fixed ones, the same for the images, all of it learned
    together. Our choice: stationary velocities with VoxelMorph's smooth prior at every layer, features normalized
    before they are compared (else they could shrink to nothing), a decoder of added skips, all numbers, and labels.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="multilayer",
        title="Probabilistic multilayer regularization",
        summary="Two feature streams whose hidden layers are also registered, with a distribution at each of them.",
        citation="Liu et al., MICCAI 2019, doi 10.1007/978-3-030-32245-8_39, arXiv 1907.01922",
        settings=MultilayerSettings,
        probabilistic=True,
    )

    def network(self, settings: MultilayerSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return TwoStreams(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the variational bounds of the images and of the hidden layers, and the label term."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, batch, settings = context.prediction, context.batch, context.settings
        found, precision = prediction.features, settings.precision
        mean, log_variance = cast("Tensor", prediction.velocity), cast("Tensor", prediction.log_variance)
        features = layers = torch.zeros_like(mean[0, 0].sum())
        depth = len(settings.widths)
        for level in range(depth):
            features = features + mse(found[f"fixed {level}"], found[f"warped {level}"])
            layers = layers + kl_graph_prior(
                found[f"mean {level}"], found[f"log_variance {level}"], precision=precision
            )
        warped = warp(batch.moving, prediction.displacement)
        return {
            "image": mse(batch.fixed, warped) / (2 * settings.image_sigma**2),
            "divergence": kl_graph_prior(mean, log_variance, precision=precision),
            "features": settings.layer_weight * features / (2 * settings.feature_sigma**2 * depth),
            "layers": settings.layer_weight * layers / depth,
            **supervised_terms(prediction, batch, context.supervision, labels=settings.label_weight),
        }


class TwoStreams(RegistrationNetwork):
    """A feature stream per image, a Gaussian of velocities at each of their layers, and one for the images.

    Reference
    ---------
    Liu et al., MICCAI 2019, doi 10.1007/978-3-030-32245-8_39.
    """

    def __init__(self, settings: MultilayerSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        widths, self.steps = settings.widths, settings.steps
        self.multiple = max(16, 2 ** len(widths))
        self.fixed, self.moving = (stream(dimensions, widths) for _ in range(2))
        self.layers = nn.ModuleList(GaussianHead(dimensions, 2 * width) for width in widths)
        self.entry = ConvBlock(dimensions, 2 * widths[-1], 2 * widths[-1])
        self.up = nn.ModuleList(ConvBlock(dimensions, 2 * (a + b), 2 * b) for b, a in itertools.pairwise(widths))
        self.exit = ConvBlock(dimensions, 2 * widths[0], 2 * widths[0])
        self.head = GaussianHead(dimensions, 2 * widths[0])

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair, and the outputs of the hidden layers."""
        shape = fixed.shape[2:]
        here, there = (pad_to_multiple(image, self.multiple) for image in (fixed, moving))
        pairs: list[tuple[Tensor, Tensor]] = []
        for first, second in zip(self.fixed, self.moving, strict=True):
            here, there = first(here), second(there)
            pairs.append((here, there))
        hidden = self.entry(torch.cat(pairs[-1], 1))
        for level, (a, b) in reversed(list(zip(self.up, pairs[:-1], strict=True))):
            hidden = level(torch.cat([upsample(hidden), a, b], 1))
        mean, log_variance = self.head(self.exit(hidden))
        drawn = sample(mean, log_variance) if self.training else mean
        return Prediction.of(
            [VelocityPart(drawn, self.steps, STRIDE)],
            shape,
            distribution=GaussianVelocity(mean, log_variance, tuple(shape), self.steps, STRIDE),
            features=self._layers(pairs),
        )

    def _layers(self, pairs: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Return fixed and warped features, mean and log-variance of the velocity of every layer."""
        found: dict[str, Tensor] = {}
        for level, (head, (fixed, moving)) in enumerate(zip(self.layers, pairs, strict=True)):
            mean, log_variance = head(torch.cat([fixed, moving], 1))
            drawn = sample(mean, log_variance) if self.training else mean
            displacement = integrate(drawn, steps=self.steps)
            found[f"fixed {level}"] = normalized(fixed)
            found[f"warped {level}"] = warp(normalized(moving), displacement)
            found[f"mean {level}"], found[f"log_variance {level}"] = mean, log_variance
        return found


def stream(dimensions: int, widths: tuple[int, ...]) -> nn.ModuleList:
    """Return the layers of the features of one image, each at half the resolution of the previous one."""
    return nn.ModuleList(
        nn.Sequential(ConvBlock(dimensions, a, b, stride=2), ConvBlock(dimensions, b, b))
        for a, b in itertools.pairwise([1, *widths])
    )
