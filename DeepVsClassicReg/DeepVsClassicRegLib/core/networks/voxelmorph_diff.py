"""Probabilistic diffeomorphic VoxelMorph: a distribution of stationary velocities, trained by a variational bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from ..losses.distribution import kl_graph_prior
from ..losses.similarity import mse
from ..settings import option
from .base import LossContext, Method, MethodInfo, RegistrationNetwork
from .dense import DenseNetwork, DenseSettings
from .flow import warp
from .objectives import checked_supervision, label_option, supervised_terms

Tensor = torch.Tensor


@dataclass(frozen=True)
class VoxelMorphDiffSettings(DenseSettings):
    """Network and objective of the probabilistic VoxelMorph."""

    image_sigma: float = option(
        0.02, "Image noise", tooltip="Standard deviation of fixed minus warped, intensities 0 to 1.", minimum=1e-4
    )
    precision: float = option(
        10.0, "Prior precision", tooltip="Smoothness of velocities a priori; higher values are smoother.", minimum=1e-3
    )
    label_weight: float = label_option(10.0)


class VoxelMorphDiff(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="voxelmorph-diff",
        title="VoxelMorph, probabilistic",
        summary="U-Net that predicts a distribution of diffeomorphic maps and its uncertainty.",
        citation="Dalca et al., Med. Image Anal. 57:226-236, 2019, doi 10.1016/j.media.2019.07.006",
        settings=VoxelMorphDiffSettings,
        probabilistic=True,
    )

    def network(self, settings: VoxelMorphDiffSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        return DenseNetwork(settings, dimensions=dimensions, probabilistic=True)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the negative log-likelihood of the image, the divergence from the prior, and the label term."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, batch, settings = context.prediction, context.batch, context.settings
        mean, log_variance = cast("Tensor", prediction.velocity), cast("Tensor", prediction.log_variance)
        warped = warp(batch.moving, prediction.displacement)
        return {
            "image": mse(batch.fixed, warped) / (2 * settings.image_sigma**2),
            "divergence": kl_graph_prior(mean, log_variance, precision=settings.precision),
            **supervised_terms(prediction, batch, context.supervision, labels=settings.label_weight),
        }
