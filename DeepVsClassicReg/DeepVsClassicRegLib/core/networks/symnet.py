"""SymNet: two velocities warp both images half way, so that both directions are predicted together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.regularity import diffusion, folding
from ..losses.sampling import warp
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import crop, pad_to_multiple, small_start
from .flow import compose
from .objectives import (
    checked_supervision,
    image_option,
    image_term,
    label_option,
    radius_option,
    smoothness_option,
    supervised_terms_both_ways,
    swapped,
)
from .parts import VelocityPart
from .unet import TransposedUNet

Tensor = torch.Tensor


@dataclass(frozen=True)
class SymNetSettings:
    """Network and objective of SymNet; the authors use 7 to 8 start channels."""

    channels: int = option(4, "Start channels", tooltip="At the image's resolution; our choice.", minimum=1)
    range_flow: float = option(100.0, "Largest velocity", unit="voxels", minimum=1.0, maximum=1000.0, advanced=True)
    squarings: int = option(7, "Squarings", minimum=1, maximum=12, advanced=True)
    similarity: str = image_option()
    radius: int = radius_option(3)
    smoothness: float = smoothness_option(3.0, tooltip="Weight of the squared slopes of both velocities.")
    orientation: float = option(
        100.0, "Orientation", tooltip="Weight of negative Jacobian determinants.", minimum=0.0, advanced=True
    )
    magnitude: float = option(
        0.1, "Magnitude", tooltip="Weight of the difference in length of both velocities.", minimum=0.0, advanced=True
    )
    label_weight: float = label_option()


class SymNet(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="symnet",
        title="SymNet",
        summary="Warps both images half way with two velocities; the two directions are inverse to each other.",
        citation="Mok and Chung, CVPR 2020, doi 10.1109/CVPR42600.2020.00470, arXiv 2003.09514",
        settings=SymNetSettings,
    )

    def network(self, settings: SymNetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return HalfwayNetwork(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image terms half way and at both ends, the regularization terms, and the label terms."""
        checked_supervision(context.supervision, self.info.supervision)
        there, batch, settings = context.prediction, context.batch, context.settings
        back = there.backward
        assert back is not None
        fixed_half, moving_half = there.features["fixed half"], there.features["moving half"]
        velocities = there.features["fixed velocity"], there.features["moving velocity"]
        other, alike = swapped(batch), {"name": settings.similarity, "radius": settings.radius}
        middle = type(batch)(warp(batch.fixed, fixed_half), warp(batch.moving, moving_half))
        lengths = [half.square().mean() for half in (fixed_half, moving_half)]
        terms = {
            "middle": image_term(batch=middle, displacement=torch.zeros_like(fixed_half), **alike),
            "image": image_term(batch=batch, displacement=there.displacement, **alike)
            + image_term(batch=other, displacement=back.displacement, **alike),
            "smoothness": settings.smoothness * (diffusion(velocities[0]) + diffusion(velocities[1])),
            "orientation": settings.orientation * (folding(there.displacement) + folding(back.displacement)),
            "magnitude": settings.magnitude * (lengths[0] - lengths[1]).abs(),
        }
        labels = settings.label_weight
        return {**terms, **supervised_terms_both_ways(there, back, batch, context.supervision, labels=labels)}


class HalfwayNetwork(RegistrationNetwork):
    """Pair -> U-Net -> one velocity per image; the complete map is one half followed by the inverse of the other.

    The paper's sampling of one half by the inverse of the other is kept as two exact velocity parts.

    Reference
    ---------
    Mok and Chung, CVPR 2020, doi 10.1109/CVPR42600.2020.00470.
    """

    def __init__(self, settings: SymNetSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.range_flow, self.squarings = settings.range_flow, settings.squarings
        self.unet = TransposedUNet(dimensions, start=settings.channels)
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]

        def head() -> nn.Module:
            return small_start(kind(self.unet.outputs, dimensions, 5, padding=2, bias=False))

        self.fixed_head, self.moving_head = head(), head()

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair; `backward` is the other direction."""
        shape = fixed.shape[2:]
        features = self.unet(pad_to_multiple(torch.cat([fixed, moving], 1), self.unet.multiple))
        ours, theirs = (
            # The output of the head is in voxels (our choice).
            self.range_flow * functional.softsign(crop(head(features), shape).float() / self.range_flow)
            for head in (self.fixed_head, self.moving_head)
        )
        halves = [VelocityPart(velocity, self.squarings) for velocity in (ours, theirs)]
        inverses = [VelocityPart(-velocity, self.squarings) for velocity in (ours, theirs)]
        # Each flow once: at full resolution they are most of the time.
        fixed_half, moving_half = (part.displacement(shape) for part in halves)
        fixed_back, moving_back = (part.displacement(shape) for part in inverses)
        backward = Prediction(compose(moving_back, fixed_half), (inverses[1], halves[0]))
        kept = {
            "fixed velocity": ours,
            "moving velocity": theirs,
            "fixed half": fixed_half,
            "moving half": moving_half,
        }
        there = compose(fixed_back, moving_half)
        return Prediction(there, (inverses[0], halves[1]), backward=backward, features=kept)
