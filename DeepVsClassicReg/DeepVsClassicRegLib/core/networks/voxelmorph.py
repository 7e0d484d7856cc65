"""VoxelMorph: a U-Net trained on the similarity of the warped and the fixed image, optionally with labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..losses.regularity import diffusion
from ..settings import option
from .base import LossContext, Method, MethodInfo, RegistrationNetwork
from .cascade import AffineNetwork, Cascade
from .dense import DenseNetwork, DenseSettings
from .objectives import (
    checked_supervision,
    image_option,
    label_option,
    radius_option,
    smoothness_option,
    weighted_terms,
)

Tensor = torch.Tensor


@dataclass(frozen=True)
class VoxelMorphSettings(DenseSettings):
    """Network and objective of VoxelMorph."""

    affine: bool = option(
        False,
        "Affine stage first",
        tooltip="For training data without linear alignment; the engine always aligns linearly first.",
        advanced=True,
    )
    similarity: str = image_option(
        tooltip="lncc: local correlation, robust to bias fields; mse: same contrast and scale; "
        "mi, nmi, mind: different contrasts."
    )
    radius: int = radius_option()
    smoothness: float = smoothness_option()
    label_weight: float = label_option()
    displacement_weight: float = option(
        0.1,
        "Displacement weight",
        tooltip="Weight of the squared error when trained with known displacements.",
        minimum=0.0,
    )


class VoxelMorph(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="voxelmorph",
        title="VoxelMorph",
        summary="U-Net trained on image similarity (and label overlap when labels are given).",
        citation="Balakrishnan et al., IEEE TMI 38:1788-1800, 2019, doi 10.1109/TMI.2019.2897538",
        settings=VoxelMorphSettings,
        supervision=("none", "labels", "displacement"),
    )

    def network(self, settings: VoxelMorphSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        dense = DenseNetwork(settings, dimensions=dimensions)
        return Cascade([AffineNetwork(dimensions), dense]) if settings.affine else dense

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image, smoothness and (when supervised) label or displacement terms."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction = context.prediction
        rough = prediction.displacement if prediction.velocity is None else prediction.velocity
        return weighted_terms(context, diffusion(rough), displacement=context.settings.displacement_weight)
