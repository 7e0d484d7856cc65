"""Model folders for tests: networks of known behavior, written and loaded like any other model."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from DeepVsClassicRegLib.core.networks.base import (
    ActionLevel,
    Method,
    MethodInfo,
    PatchScores,
    Prediction,
    RegistrationNetwork,
    SegmentationScores,
)
from DeepVsClassicRegLib.core.networks.card import Card
from DeepVsClassicRegLib.core.networks.catalogue import METHODS
from DeepVsClassicRegLib.core.networks.deformable_agent import (
    DeformableAgent,
    DeformableAgentNetwork,
    DeformableAgentSettings,
)
from DeepVsClassicRegLib.core.networks.flow import identity_grid, integrate, resize_field, warp
from DeepVsClassicRegLib.core.networks.model_store import fresh_network, save_model
from DeepVsClassicRegLib.core.networks.patch import patch_means
from DeepVsClassicRegLib.core.networks.rigid_agent import (
    RigidAgent,
    RigidAgentNetwork,
    RigidAgentSettings,
    action_map,
)
from DeepVsClassicRegLib.core.settings import option
from torch import nn

RIGID_AGENT, DEFORMABLE_AGENT = "test-rigid-agent", "test-deformable-agent"
DEMONS, SHIFT, DIFFERENCES, BANDS = "test-demons", "test-shift", "test-differences", "test-bands"
MODULE = "DeepVsClassicRegLib.core.networks.testing_methods"


class Smooth(nn.Module):
    """A Gaussian whose taps are weights of the network."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        half = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma) ** 2)
        self.taps = nn.Parameter(half / half.sum(), requires_grad=False)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        for axis in range(3):
            shape, pad = [1, 1, 1, 1, 1], [0] * 6
            shape[2 + axis] = 9
            pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = 4
            kernel = self.taps.view(shape).expand(u.shape[1], 1, *shape[2:])
            u = nn.functional.conv3d(nn.functional.pad(u, pad, mode="replicate"), kernel, groups=u.shape[1])
        return u


class Demons(RegistrationNetwork):
    """An unrolled demons registration: finds smooth warps of a few voxels between images of one contrast."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.smooth = Smooth(1.5)
        self.step = nn.Parameter(torch.tensor(0.1), requires_grad=False)

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> Prediction:
        u = torch.zeros(1, 3, *fixed.shape[2:], device=fixed.device)
        for _ in range(self.iterations):
            warped = warp(moving, u)
            slopes = torch.cat(torch.gradient((fixed + warped)[0, 0] / 2), 0).view_as(u)
            apart = fixed - warped
            u = self.smooth(u + apart * slopes / ((slopes**2).sum(1, keepdim=True) + self.step * apart**2 + 1e-4))
        return Prediction(u)


class Shift(RegistrationNetwork):
    """A probabilistic network that always predicts the same shift, with the same doubt, on a grid half as fine."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.log_variance = nn.Parameter(torch.tensor(0.0), requires_grad=False)
        self.layer = nn.Identity()

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> Prediction:
        coarse = [max(n // 2, 1) for n in fixed.shape[2:]]
        gains = torch.tensor([(m - 1) / (n - 1) for m, n in zip(coarse, fixed.shape[2:], strict=True)])
        velocity = (self.shift * gains).view(1, 3, 1, 1, 1).expand(1, 3, *coarse)
        shape = tuple(fixed.shape[2:])
        doubt = Doubt(velocity, self.log_variance.expand_as(velocity), shape)
        displacement = doubt.sample(0) if self.training else resize_field(integrate(self.layer(velocity)), shape)
        return Prediction(displacement, distribution=doubt)


@dataclass(frozen=True)
class Doubt:
    """A distribution of velocities on a grid whose corners are those of the image."""

    velocity: torch.Tensor
    log_variance: torch.Tensor
    shape: tuple[int, ...]

    def sample(self, seed: int) -> torch.Tensor:
        noise = torch.randn(self.velocity.shape, generator=torch.Generator().manual_seed(seed))
        return resize_field(integrate(self.velocity + (0.5 * self.log_variance).exp() * noise), self.shape)


@dataclass(frozen=True)
class DemonsSettings:
    iterations: int = option(40, "Iterations", minimum=1)


@dataclass(frozen=True)
class ShiftSettings:
    pass


class DemonsMethod(Method):
    info = MethodInfo(DEMONS, "Demons", "Unrolled demons.", "doi 10.1016/S1361-8415(98)80022-4", DemonsSettings)

    def network(self, settings: DemonsSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        return Demons(settings.iterations)


class ShiftMethod(Method):
    info = MethodInfo(SHIFT, "Shift", "Always the same shift.", "doi none", ShiftSettings, probabilistic=True)

    def network(self, settings: ShiftSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        return Shift()


class Differences(RegistrationNetwork):
    """A metric without weights: the mean squared difference of each block of 4 voxels."""

    scale_free, stride, multiple = True, 4, 4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(1))

    def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> PatchScores:
        return PatchScores(self.factor * patch_means((fixed - moving).square(), self.stride), self.stride)


class DifferencesMethod(Method):
    info = MethodInfo(
        DIFFERENCES, "Differences", "Squared differences.", "doi none", ShiftSettings, ("error",), kind="metric"
    )

    def network(self, settings: ShiftSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        return Differences()


class TryingAgent(RigidAgentNetwork):
    """A rigid agent without trained weights: tries each action and sees how much the squared difference falls."""

    def level(self, fixed: torch.Tensor, moving: torch.Tensor, number: int) -> ActionLevel:
        x = identity_grid(fixed.shape[2:], fixed)
        sides = [1] * 3
        center = torch.tensor([(count - 1) / 2 for count in fixed.shape[2:]])
        before = (fixed - moving).square().mean()
        values = []
        for action in range(self.actions):
            maps = action_map(action, self.shift_vox[number], self.turn_deg[number])
            matrix, shift = (part.float() for part in maps)
            inner = torch.einsum("ij,njzyx->nizyx", matrix, x - center.view(1, 3, *sides))
            there = inner + (center + shift).view(1, 3, *sides)
            values.append(before - (fixed - warp(moving, there - x)).square().mean())
        return ActionLevel(torch.stack(values)[None], before[None], center[None])


class TryingAgentMethod(RigidAgent):
    info = MethodInfo(
        RIGID_AGENT, "Trying", "Tries each action.", "doi none", RigidAgentSettings, ("pose",), kind="agent"
    )

    def network(self, settings: RigidAgentSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        return TryingAgent(settings)


@dataclass(frozen=True)
class BandsSettings:
    structures: tuple[int, ...] = option((17, 53), "Structures")


class Bands(RegistrationNetwork):
    """Two structures: intensities from 0.3 to 0.7, and above."""

    multiple = 4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.tensor([0.0, 40.0, 80.0]))
        self.register_buffer("offsets", torch.tensor([0.0, -12.0, -40.0]))

    def forward(self, image: torch.Tensor, other: torch.Tensor | None = None) -> SegmentationScores:
        shape = (1, 3, *[1] * (image.ndim - 2))
        return SegmentationScores(image * self.slopes.view(shape) + self.offsets.view(shape))


class BandsMethod(Method):
    info = MethodInfo(BANDS, "Bands", "Bands of intensity.", "doi none", BandsSettings, ("labels",), "segmentation")

    def network(self, settings: BandsSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        return Bands()


class ExpectingAgent(DeformableAgentNetwork):
    """A deformable agent without trained weights: expects how much the squared difference falls, to second order."""

    def level(self, fixed: torch.Tensor, warped: torch.Tensor) -> ActionLevel:
        shape, scale = fixed.shape[2:], self.step
        fields = self.model.displacement(torch.eye(self.modes), shape)
        slopes = torch.stack(torch.gradient((fixed + warped)[0, 0] / 2))
        change = (fields * slopes).sum(1).flatten(1)
        apart = (fixed - warped).flatten()
        linear, square = 2 * scale * change @ apart, scale**2 * change.square().sum(1)
        values = torch.stack([linear - square, -linear - square], 1).flatten()[None]
        middle = (torch.tensor(shape) - 1) / 2
        return ActionLevel(values, apart.square().mean()[None], middle[None])


class ExpectingAgentMethod(DeformableAgent):
    info = MethodInfo(
        DEFORMABLE_AGENT,
        "Expecting",
        "Expects rewards.",
        "doi none",
        DeformableAgentSettings,
        ("displacement",),
        kind="agent",
    )

    def network(self, settings: DeformableAgentSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        return ExpectingAgent(settings, dimensions=dimensions)


@contextmanager
def known_methods() -> Iterator[None]:
    """Have these methods in the catalogue inside the block."""
    module = types.ModuleType(MODULE)
    known: dict[str, type[Method]] = {
        DEMONS: DemonsMethod,
        SHIFT: ShiftMethod,
        DIFFERENCES: DifferencesMethod,
        RIGID_AGENT: TryingAgentMethod,
        BANDS: BandsMethod,
        DEFORMABLE_AGENT: ExpectingAgentMethod,
    }
    for method in known.values():
        setattr(module, method.__name__, method)
    sys.modules[MODULE] = module
    METHODS.update({name: f"testing_methods:{method.__name__}" for name, method in known.items()})
    try:
        yield
    finally:
        for name in known:
            del METHODS[name]
        del sys.modules[MODULE]


def card(method: str, **changes: object) -> Card:
    """Return a card for a model of one of the testing methods."""
    known = {"name": method, "title": method, "summary": "Made by a test.", "method": method, "settings": {}}
    return Card(**{**known, "spacing_mm": 1.8, "size": (32, 32, 32), **changes})  # type: ignore[arg-type]


def write_demons(folder: Path, **changes: object) -> Card:
    """Write a model folder of the demons network."""
    about = card(DEMONS, **changes)
    return save_model(folder, about, Demons(int(about.settings.get("iterations", 40))))


def write_shift(
    folder: Path, shift_vox_zyx: tuple[float, float, float], deviation: float = 0.0, **changes: object
) -> Card:
    """Write a model folder of the shift network; `deviation` in voxels of its coarse grid."""
    module = Shift()
    module.shift.copy_(torch.tensor(shift_vox_zyx))
    module.log_variance.fill_(2 * float(torch.tensor(max(deviation, 1e-9)).log()))
    return save_model(folder, card(SHIFT, **changes), module)


def write_differences(folder: Path, **changes: object) -> Card:
    """Write a model folder of the metric of squared differences."""
    return save_model(folder, card(DIFFERENCES, kind="metric", **changes), Differences())


def write_rigid_agent(folder: Path, **changes: object) -> Card:
    """Write a model folder of the rigid agent that tries its actions."""
    settings = {"cells": 2, "channels": 1, "hidden": 1, "shift_vox": [1.0, 0.3], "turn_deg": [4.0, 1.0]}
    about = card(RIGID_AGENT, kind="agent", settings=settings, **changes)
    return save_model(folder, about, fresh_network(about))


def write_bands(folder: Path, **changes: object) -> Card:
    """Write a model folder that segments two bands of intensity."""
    labels = {"17": "lower band", "53": "upper band"}
    settings = {"structures": [17, 53]}
    return save_model(
        folder, card(BANDS, kind="segmentation", settings=settings, supervised_labels=labels, **changes), Bands()
    )


def write_deformable_agent(folder: Path, **changes: object) -> Card:
    """Write a model folder of the deformable agent that expects rewards; its modes are cosines of low frequency."""
    settings = {"modes": 24, "control": 8, "step": 0.25, "cells": 2, "channels": 1, "hidden": 1}
    about = card(DEFORMABLE_AGENT, kind="agent", settings=settings, **changes)
    network = fresh_network(about)
    assert isinstance(network, DeformableAgentNetwork)
    model, place = network.model, torch.pi * (torch.arange(8) - 1) / 5
    waves = [torch.cos(frequency * place) for frequency in (0, 1)]
    for number, (component, a, b, c) in enumerate(itertools.product(range(3), *[range(2)] * 3)):
        model.vectors[number, component] = torch.einsum("i,j,k->ijk", waves[a], waves[b], waves[c])
    model.deviations.fill_(1.5)
    return save_model(folder, about, network)


def write_constant_error(folder: Path, *, quantiles: Sequence[float] = (0.1, 0.5, 0.9), **changes: object) -> Card:
    """Write a model folder that estimates 1, 2, 3 ... voxels for its quantiles, everywhere."""
    settings = {"quantiles": list(quantiles), "widths": [2], "hidden": 2}
    about = card("eppenhof", name="constant", title="Constant", kind="error", settings=settings, **changes)
    network = fresh_network(about)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    last = network.head[-1]  # type: ignore[index]
    torch.nn.init.constant_(last.bias, float(torch.tensor(1.0).expm1().log()))  # softplus of it is 1
    return save_model(folder, about, network)
