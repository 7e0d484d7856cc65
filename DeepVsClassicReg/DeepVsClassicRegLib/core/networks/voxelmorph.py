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
from .objectives import SIMILARITIES, checked_supervision, weighted_terms

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
    similarity: str = option(
        "lncc",
        "Image term",
        tooltip="lncc: local correlation, robust to bias fields; mse: same contrast and scale; "
        "mi, nmi, mind: different contrasts.",
        choices=SIMILARITIES,
    )
    radius: int = option(
        4, "Window radius", tooltip="Window of the local correlation.", unit="voxels", minimum=1, maximum=12
    )
    smoothness: float = option(
        1.0, "Smoothness", tooltip="Weight of the squared slopes; about 1 with lncc, 0.02 with mse.", minimum=0.0
    )
    label_weight: float = option(
        1.0, "Label weight", tooltip="Weight of 1 - soft Dice when trained with labels.", minimum=0.0
    )
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
