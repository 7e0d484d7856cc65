"""An agent that aligns rigidly: expected rewards of 12 small actions from the fixed and the warped image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as functional
from torch import nn

from ..errors import RegistrationError, SettingsError
from ..settings import option
from .base import (
    ActionLevel,
    ActionValues,
    Batch,
    LossContext,
    Method,
    MethodInfo,
    RegistrationNetwork,
)
from .objectives import checked_supervision
from .pair_encoder import EncoderSettings, PairEncoder
from .patch import edge_channels

Tensor = torch.Tensor
AXES = 3
DISTANCE_WEIGHT = 0.1


@dataclass(frozen=True)
class RigidAgentSettings(EncoderSettings):
    """Architecture and actions; the actions of the paper are 1 mm and 1 degree at every resolution."""

    crop: int = option(
        32,
        "Size of what a level sees",
        unit="voxels",
        tooltip="Our choice; larger images are cropped where the fixed image has most edges (attention).",
        minimum=16,
        maximum=128,
    )
    shrink: tuple[int, ...] = option(
        (2, 1), "Reduction of the levels", tooltip="Coarsest first, one number per level.", minimum=1, maximum=16
    )
    shift_vox: tuple[float, ...] = option(
        (1.5, 0.5),
        "Shift of an action",
        unit="voxels of the training grid",
        tooltip="One number per level, our choice.",
        minimum=0.01,
    )
    turn_deg: tuple[float, ...] = option(
        (4.0, 1.0), "Turn of an action", unit="degrees", tooltip="One number per level, our choice.", minimum=0.01
    )
    reach: float = option(
        10.0,
        "Reach of the finer levels",
        unit="steps",
        tooltip="A finer level learns from poses up to this distance (our choice).",
        minimum=1,
    )

    def __post_init__(self) -> None:
        if not len(self.shrink) == len(self.shift_vox) == len(self.turn_deg):
            raise SettingsError(
                f"Every level needs one reduction, shift and turn: {self.shrink}, {self.shift_vox}, {self.turn_deg}.",
                hint="Give 'shrink', 'shift_vox' and 'turn_deg' the same number of values.",
            )


class RigidAgent(Method):
    """The method, see `info`.

    The paper's: 12 actions, the target of an action is the known reward (the distance of poses, in mm and degrees, that
    it gains), greedy walks, coarse to fine with a region of attention. Our choice: the reward of one step without the
    discounted rewards that follow (which rank the actions equally), edges as inputs, and a further output that
    estimates the distance to alignment.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="rigid-agent",
        title="Rigid agent",
        summary="An agent that aligns two images by small shifts and turns, each the best of 12 actions.",
        citation="Liao et al., AAAI 2017, arXiv 1611.10336",
        settings=RigidAgentSettings,
        supervision=("pose",),
        kind="agent",
        dimensions=(3,),
    )

    def network(self, settings: RigidAgentSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        return RigidAgentNetwork(settings)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the squared error of the rewards and of the logarithm of the distance, over all levels."""
        checked_supervision(context.supervision, self.info.supervision)
        rewards, distances = [], []
        for number, level in enumerate(_levels(context)):
            reward, distance, weight = known_rewards(context.batch, level.center, context.settings, number)
            rewards.append(_mean((level.values - reward).square().mean(1), weight))
            off = torch.log1p(level.distance) - torch.log1p(distance)
            distances.append(DISTANCE_WEIGHT * _mean(off.square(), weight))
        return {"reward": torch.stack(rewards).mean(), "distance": torch.stack(distances).mean()}

    @torch.no_grad()
    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return, per level, the gain of the best action as a part of the possible gain, and how often it gains."""
        found = {}
        for number, level in enumerate(_levels(context)):
            reward, _distance, weight = known_rewards(context.batch, level.center, context.settings, number)
            chosen = reward.gather(1, level.values.argmax(1, keepdim=True))[:, 0]
            possible = reward.amax(1)
            used = (weight > 0) & (possible > 0)
            if used.any():
                found[f"gain_{number + 1}"] = float((chosen[used].sum() / possible[used].sum()).double())
                found[f"right_{number + 1}"] = float((chosen[used] > 0).double().mean())
        return found


class RigidAgentNetwork(RegistrationNetwork):
    """A network per level, each sees a part of the fixed and of the warped image.

    Reference
    ---------
    Liao et al., AAAI 2017, arXiv 1611.10336.
    """

    scale_free = True

    def __init__(self, settings: RigidAgentSettings) -> None:
        super().__init__()
        self.crop, self.shrink = settings.crop, settings.shrink
        self.shift_vox, self.turn_deg = settings.shift_vox, settings.turn_deg
        self.encoders = nn.ModuleList(PairEncoder(settings, dimensions=AXES, actions=4 * AXES) for _ in settings.shrink)

    actions = 4 * AXES

    @property
    def count(self) -> int:
        """Number of levels."""
        return len(self.shrink)

    def forward(self, fixed: Tensor, moving: Tensor) -> ActionValues:
        """Return the expected rewards of all levels for a fixed and a warped image, (N, 1, *spatial) both."""
        return ActionValues(tuple(self.level(fixed, moving, number) for number in range(self.count)))

    def level(self, fixed: Tensor, moving: Tensor, number: int) -> ActionLevel:
        """Return the expected rewards of one level."""
        factor = self.shrink[number]
        images = [functional.avg_pool3d(image, factor) if factor > 1 else image for image in (fixed, moving)]
        first = attention(images[0], self.crop)
        parts = [_cropped(image, first, self.crop) for image in images]
        values, distance = self.encoders[number](*parts)
        size = torch.tensor(parts[0].shape[2:], device=fixed.device)
        center = (first + (size - 1) / 2) * factor + (factor - 1) / 2
        return ActionLevel(values, distance, center)


@torch.no_grad()
def attention(fixed: Tensor, size: int) -> Tensor:
    """Return the first voxel of the window with most edges of each image, (N, D); windows have `size` voxels per axis.

    Axes of at most `size` voxels are in the window as a whole.
    """
    shape = fixed.shape[2:]
    window = [min(size, count) for count in shape]
    if list(shape) == window:
        return torch.zeros(len(fixed), len(shape), device=fixed.device)
    edges = edge_channels(fixed, fixed)[0]
    for axis, count in enumerate(window, start=2):  # sums over windows, axis by axis
        total = functional.pad(edges.cumsum(axis), [0, 0] * (edges.ndim - 1 - axis) + [1, 0])
        steps = total.shape[axis] - count
        edges = total.narrow(axis, count, steps) - total.narrow(axis, 0, steps)
    best = edges.flatten(1).argmax(1)
    return torch.stack(torch.unravel_index(best, edges.shape[2:]), 1).to(fixed.dtype)


def _cropped(image: Tensor, first: Tensor, size: int) -> Tensor:
    shape = image.shape[2:]
    if all(count <= size for count in shape):
        return image
    parts = []
    for each, start in zip(image, first.long().tolist(), strict=True):
        slices = [slice(begin, begin + min(size, count)) for begin, count in zip(start, shape, strict=True)]
        parts.append(each[(slice(None), *slices)])
    return torch.stack(parts)


def action_map(action: int, shift_vox: float, turn_deg: float) -> tuple[Tensor, Tensor]:
    """Return matrix (3, 3) and shift (3,) of an action in voxels, axes z, y, x; actions 0 to 5 shift, 6 to 11 turn."""
    parameter, sign = divmod(action, 2)
    step = 1.0 - 2 * sign
    matrix, shift = torch.eye(AXES, dtype=torch.float64), torch.zeros(AXES, dtype=torch.float64)
    if parameter < AXES:
        shift[parameter] = step * shift_vox
        return matrix, shift
    first, second = [axis for axis in range(AXES) if axis != parameter - AXES]
    angle = math.radians(step * turn_deg)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return matrix, shift


def known_rewards(
    batch: Batch, center: Tensor, settings: RigidAgentSettings, number: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return reward (N, 12), distance (N,) and weight (N,) of the poses of a batch at a level.

    The distance of a pose is the root of the summed squares of shift and angle, each divided by its step; with the
    steps of the paper it is that of the paper, in mm and degrees. An action A leaves the map A^-1 R of the map R that
    was to be found.

    Raises
    ------
    RegistrationError
        When the batch has no known pose.
    """
    if batch.pose is None:
        raise RegistrationError(
            "Training with supervision 'pose' needs moving images moved by a known rigid map.",
            hint="Use generated pairs (shapes, labels:FOLDER), or aligned pairs.",
        )
    pose = batch.pose.double()
    matrix, about = pose[:, :, :-1], (center - _middle(batch.fixed)).double()
    shift = pose[:, :, -1] + torch.einsum("nij,nj->ni", matrix, about) - about
    step_vox, step_deg = settings.shift_vox[number], settings.turn_deg[number]
    before = _distance(matrix, shift, step_vox, step_deg)
    after = []
    for action in range(4 * AXES):
        own, own_shift = (part.to(shift) for part in action_map(action, step_vox, step_deg))
        after.append(_distance(own.T @ matrix, (shift - own_shift) @ own, step_vox, step_deg))
    reward = before[:, None] - torch.stack(after, 1)
    weight = (before <= settings.reach) if number else torch.ones_like(before)
    return reward.float(), before.float(), weight.float()


def _distance(matrix: Tensor, shift: Tensor, step_vox: float, step_deg: float) -> Tensor:
    """Return the distance of maps (N, 3, 3), (N, 3) from the identity, in steps."""
    skew = torch.stack([matrix[:, 2, 1] - matrix[:, 1, 2], matrix[:, 0, 2] - matrix[:, 2, 0],
                        matrix[:, 1, 0] - matrix[:, 0, 1]], 1)  # fmt: skip
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)
    angle = torch.rad2deg(torch.atan2(skew.norm(dim=1), trace - 1))
    return ((shift.norm(dim=1) / step_vox).square() + (angle / step_deg).square()).sqrt()


def _middle(image: Tensor) -> Tensor:
    return (torch.tensor(image.shape[2:], device=image.device) - 1) / 2


def _levels(context: LossContext) -> Sequence[ActionLevel]:
    return cast("ActionValues", context.prediction).levels


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1)
