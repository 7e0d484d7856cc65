"""ICNet: one network predicts both directions, trained to be inverse to each other and without folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..losses.regularity import antifold, diffusion, inverse_consistency
from ..losses.sampling import warp
from ..losses.similarity import mse
from ..settings import option
from .base import Batch, LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import crop, pad_to_multiple
from .heads import FieldHead
from .objectives import checked_supervision, label_option, smoothness_option, supervised_terms_both_ways, swapped
from .parts import DisplacementPart
from .unet import TransposedUNet

Tensor = torch.Tensor


@dataclass(frozen=True)
class ICNetSettings:
    """Network and objective of ICNet; the authors use 8 start channels."""

    channels: int = option(4, "Start channels", tooltip="At the image's resolution; our choice.", minimum=1)
    range_flow: float = option(
        7.0, "Largest displacement", tooltip="Along each axis.", unit="voxels", minimum=0.5, maximum=200.0
    )
    smoothness: float = smoothness_option(0.5, tooltip="Weight of the squared slopes of each displacement.")
    inverse: float = option(
        0.05, "Inverse consistency", tooltip="Weight of the squared inverse consistency error, voxels.", minimum=0.0
    )
    antifold: float = option(
        1e5, "Anti-folding", tooltip="Weight of voxels mapped beyond their neighbors.", minimum=0.0, advanced=True
    )
    label_weight: float = label_option(tooltip="Weight of 1 - soft Dice when trained with labels; our choice.")


class ICNet(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="icnet",
        title="ICNet",
        summary="One U-Net predicts both directions; their inconsistency and folds are penalized.",
        citation="Zhang, Inverse-consistent deep networks for unsupervised deformable registration, arXiv 1809.03443",
        settings=ICNetSettings,
    )

    def network(self, settings: ICNetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return BothWaysNetwork(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image terms of both directions, the regularization terms, and the label terms."""
        checked_supervision(context.supervision, self.info.supervision)
        there, batch, settings = context.prediction, context.batch, context.settings
        back = there.backward
        assert back is not None
        fields = there.displacement, back.displacement
        terms = {
            "image": contrast_free_term(batch, fields[0]) + contrast_free_term(swapped(batch), fields[1]),
            "smoothness": settings.smoothness * (diffusion(fields[0]) + diffusion(fields[1])),
            "inverse": settings.inverse * inverse_consistency(*fields),
            "antifold": settings.antifold * (antifold(fields[0]) + antifold(fields[1])),
        }
        labels = settings.label_weight
        return {**terms, **supervised_terms_both_ways(there, back, batch, context.supervision, labels=labels)}


class BothWaysNetwork(RegistrationNetwork):
    """Pair -> U-Net -> bounded displacement, for (fixed, moving) and (moving, fixed) with the same weights.

    Reference
    ---------
    Zhang, Inverse-consistent deep networks, arXiv 1809.03443.
    """

    def __init__(self, settings: ICNetSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.range_flow = settings.range_flow
        self.unet = TransposedUNet(dimensions, start=settings.channels, activation=lambda channels: nn.LeakyReLU(0.2))
        self.head = FieldHead(dimensions, self.unet.outputs)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair; `backward` is the other direction."""
        shape, count = fixed.shape[2:], len(fixed)
        here, there = standardized(fixed), standardized(moving)
        pairs = torch.cat([torch.cat([here, there], 1), torch.cat([there, here], 1)])
        raw = crop(self.head(self.unet(pad_to_multiple(pairs, self.unet.multiple))), shape).float()
        # The output of the head is in voxels (our choice).
        u = self.range_flow * torch.tanh(raw / self.range_flow)
        backward = Prediction.of([DisplacementPart(u[count:])], shape)
        return Prediction.of([DisplacementPart(u[:count])], shape, backward=backward)


def standardized(image: Tensor) -> Tensor:
    """Return an image (N, C, *spatial) with mean 0 and variance 1 per sample and channel."""
    axes = list(range(2, image.ndim))
    centered = image - image.mean(axes, keepdim=True)
    return centered / centered.square().mean(axes, keepdim=True).clamp_min(1e-6).sqrt()


def contrast_free_term(batch: Batch, displacement: Tensor) -> Tensor:
    """Return the mean squared difference of standardized images.

    The weights of the other terms are for intensities with variance 1. With intensities of 0 to 1, whose variance is
    about 25 times smaller, the smoothness dominates and the network stays at the identity.
    """
    return mse(standardized(batch.fixed), warp(standardized(batch.moving), displacement))
