"""A U-Net that predicts a velocity or displacement of a pair; the basis of VoxelMorph and related methods."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..settings import option
from .base import Prediction, RegistrationNetwork
from .blocks import pad_to_multiple
from .heads import FieldHead, GaussianHead, sample
from .parts import DisplacementPart, GaussianVelocity, Part, VelocityPart
from .unet import UNet

Tensor = torch.Tensor


@dataclass(frozen=True)
class DenseSettings:
    """Architecture of the network, stored on the card."""

    encoder: tuple[int, ...] = option(
        (16, 32, 32, 32), "Encoder channels", tooltip="One entry per downsampling by 2.", minimum=1, advanced=True
    )
    decoder: tuple[int, ...] = option(
        (32, 32, 32, 32, 32, 16, 16),
        "Decoder channels",
        tooltip="One entry per upsampling by 2, then one per convolution at the final size.",
        minimum=1,
        advanced=True,
    )
    half: bool = option(
        True, "Half-resolution field", tooltip="The field has one node per two voxels: faster and smoother."
    )
    steps: int = option(
        7,
        "Squarings",
        tooltip="Steps of scaling and squaring, which makes the map invertible; 0 predicts the displacement.",
        minimum=0,
        maximum=12,
        advanced=True,
    )


class DenseNetwork(RegistrationNetwork):
    """Pair -> U-Net -> velocity -> displacement.

    Parameters
    ----------
    settings : DenseSettings
        Architecture of the network.
    dimensions : int
        2 or 3.
    probabilistic : bool
        Whether it predicts mean and log-variance of the velocity; it then samples in training mode.
    large_kernel : int
        0, or the width of the encoder's large-kernel blocks.
    """

    def __init__(
        self, settings: DenseSettings, *, dimensions: int = 3, probabilistic: bool = False, large_kernel: int = 0
    ) -> None:
        super().__init__()
        self.steps = settings.steps
        self.unet = UNet(
            dimensions,
            encoder=settings.encoder,
            decoder=settings.decoder,
            half=settings.half,
            large_kernel=large_kernel,
        )
        self.multiple = max(16, self.unet.multiple)
        kind = GaussianHead if probabilistic else FieldHead
        self.head = kind(dimensions, self.unet.outputs)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the prediction for two (N, 1, *spatial) images."""
        shape = fixed.shape[2:]
        features = self.unet(pad_to_multiple(torch.cat([fixed, moving], 1), self.unet.multiple))
        if isinstance(self.head, FieldHead):
            return Prediction.of([self._part(self.head(features))], shape)
        mean, log_variance = self.head(features)
        drawn = sample(mean, log_variance) if self.training else mean
        distribution = GaussianVelocity(mean, log_variance, tuple(shape), self.steps, self.unet.stride)
        return Prediction.of([self._part(drawn)], shape, distribution=distribution)

    def _part(self, values: Tensor) -> Part:
        stride = self.unet.stride
        return VelocityPart(values, self.steps, stride) if self.steps else DisplacementPart(values, stride)
