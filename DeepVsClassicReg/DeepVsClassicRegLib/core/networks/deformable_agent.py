"""An agent that deforms: expected rewards of small changes of the coefficients of a statistical deformation model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from ..settings import option
from .base import ActionLevel, ActionValues, Batch, LossContext, Method, MethodInfo, RegistrationNetwork
from .deformation_model import DeformationModel
from .flow import warp
from .objectives import checked_supervision, known_displacement
from .pair_encoder import EncoderSettings, PairEncoder

Tensor = torch.Tensor
DISTANCE_WEIGHT = 0.1


@dataclass(frozen=True)
class DeformableAgentSettings(EncoderSettings):
    """Architecture, deformation model and actions; values that the paper does not give are our choice."""

    modes: int = option(16, "Modes of deformation", tooltip="Two actions each.", minimum=1, maximum=256)
    pairs: int = option(
        80,
        "Pairs of the deformation model",
        tooltip="Displacements of training pairs to which the modes are fitted.",
        minimum=5,
        maximum=5000,
    )
    control: int = option(
        8, "Control points per axis", tooltip="Of the cubic B-splines of the modes.", minimum=4, maximum=32
    )
    step: float = option(
        0.5, "Step of an action", unit="standard deviations", tooltip="Our choice.", minimum=0.01, maximum=3
    )
    states: int = option(
        8, "States of each pair", tooltip="Random deformations of each training pair.", minimum=1, maximum=64
    )


class DeformableAgent(Method):
    """The method, see `info`.

    The paper's: modes of deformation from the principal components of B-splines of training pairs, actions are steps
    forward and back along each coefficient, targets are the known rewards, images of one pair at random states. Our
    choice: edges as inputs, and a further output that estimates the distance to alignment.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="deformable-agent",
        title="Deformable agent",
        summary="An agent that deforms by small changes of the coefficients of a statistical deformation model.",
        citation="Krebs et al., MICCAI 2017, LNCS 10433:344-352, doi 10.1007/978-3-319-66182-7_40",
        settings=DeformableAgentSettings,
        supervision=("displacement",),
        kind="agent",
    )

    def network(self, settings: DeformableAgentSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights; its deformation model is empty until `prepare`."""
        return DeformableAgentNetwork(settings, dimensions=dimensions)

    def prepare(self, network: RegistrationNetwork, sample: Callable[[int], Batch]) -> None:
        """Fit the deformation model to the known displacements of training pairs.

        Raises
        ------
        RegistrationError
            When the pairs have no known displacement, or are too few.
        """
        agent = cast("DeformableAgentNetwork", network)
        found: list[Tensor] = []
        step = 0
        while len(found) < agent.pairs:
            found += list(known_displacement(sample(step)).cpu())
            step += 1
        agent.model.fit(found[: agent.pairs])

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the squared error of the rewards and of the logarithm of the distance."""
        checked_supervision(context.supervision, self.info.supervision)
        level = _level(context)
        reward, distance = _known_rewards(context)
        off = torch.log1p(level.distance) - torch.log1p(distance)
        return {
            "reward": (level.values - reward).square().mean(),
            "distance": DISTANCE_WEIGHT * off.square().mean(),
        }

    @torch.no_grad()
    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return the gain of the best action as a part of the possible gain, and how often it gains."""
        reward, distance = _known_rewards(context)
        chosen = reward.gather(1, _level(context).values.argmax(1, keepdim=True))[:, 0]
        possible = reward.amax(1)
        used = possible > 0
        found = {"true_steps": float(distance.double().mean())}
        if used.any():
            found["gain"] = float((chosen[used].sum() / possible[used].sum()).double())
            found["right"] = float((chosen[used] > 0).double().mean())
        return found


class DeformableAgentNetwork(RegistrationNetwork):
    """Rewards of the actions for a fixed and a warped image, and the deformation model.

    In training mode each pair is shown at several random states: coefficients with which the moving image is warped
    (from torch's global generator, part of `ActionValues.features`). Otherwise the moving image is one that was
    warped already.

    Reference
    ---------
    Krebs et al., MICCAI 2017, doi 10.1007/978-3-319-66182-7_40.
    """

    def __init__(self, settings: DeformableAgentSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.step, self.states, self.pairs = settings.step, settings.states, settings.pairs
        self.model = DeformationModel(settings.modes, (settings.control,) * dimensions)
        self.encoder = PairEncoder(settings, dimensions=dimensions, actions=2 * settings.modes)

    @property
    def modes(self) -> int:
        """Number of coefficients."""
        return len(self.model.vectors)

    def forward(self, fixed: Tensor, moving: Tensor) -> ActionValues:
        """Return the expected rewards, (N, 1, *spatial) images; N times `states` rows in training mode."""
        drawn = torch.zeros(len(fixed), self.modes, device=fixed.device)
        if self.training:
            fixed, moving = (image.repeat_interleave(self.states, 0) for image in (fixed, moving))
            size = torch.rand(len(fixed), 1, device=fixed.device)
            drawn = size * torch.randn(len(fixed), self.modes, device=fixed.device)
        warped = warp(moving, self.model.displacement(drawn, moving.shape[2:]).to(moving))
        return ActionValues((self.level(fixed, warped),), {"coefficients": drawn})

    def level(self, fixed: Tensor, warped: Tensor) -> ActionLevel:
        """Return the expected rewards for a fixed and a warped image."""
        values, distance = self.encoder(fixed, warped)
        middle = (torch.tensor(fixed.shape[2:], device=fixed.device) - 1) / 2
        return ActionLevel(values, distance, middle.expand(len(fixed), -1))


def known_rewards(left: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Return reward (N, 2 K) of each action and distance (N,), in steps, of the coefficients (N, K) that are left."""
    distance = left.norm(dim=1, keepdim=True)
    after = [(distance.square() - sign * 2 * step * left + step**2).clamp(min=0).sqrt() for sign in (1, -1)]
    reward = (distance[..., None] - torch.stack(after, 2)) / step
    return reward.flatten(1), distance[:, 0] / step


def _known_rewards(context: LossContext) -> tuple[Tensor, Tensor]:
    network, features = context.network, cast("ActionValues", context.prediction).features
    drawn = features["coefficients"]
    truth = cast("DeformableAgentNetwork", network).model.coefficients(known_displacement(context.batch))
    left = truth.repeat_interleave(len(drawn) // len(truth), 0) - drawn
    return known_rewards(left, context.settings.step)


def _level(context: LossContext) -> ActionLevel:
    return cast("ActionValues", context.prediction).levels[0]
