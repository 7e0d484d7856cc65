"""Quicksilver: patches of both images -> the momentum at the start of a geodesic, whose shooting is the map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import nn

from ..settings import option
from .base import ExtraMap, LossContext, Method, MethodInfo, MethodTeacher, Prediction, RegistrationNetwork, Stage
from .blocks import convolution, crop, halved, small_start
from .flow import upsample_field, warp
from .lddmm import Fluid, shoot, solve_momentum
from .objectives import checked_supervision, known_momentum
from .parts import DisplacementPart
from .unet import keep_variance

Tensor = torch.Tensor
PREDICTION, CORRECTION = "prediction", "correction"
PREDICTED = -0.5  # power of the operator that makes of a momentum what the networks predict
SQUARED, ABSOLUTE = "squared", "absolute"
PATCH, BETWEEN = 15, 14  # voxels of a patch, and from one patch to the next


@dataclass(frozen=True)
class QuicksilverSettings:
    """Network, geodesics and teacher; where not said otherwise the defaults are our choice."""

    channels: int = option(
        8, "Channels", tooltip="Of a patch at full resolution, twice as many below; the authors': 64.", minimum=1
    )
    dropout: float = option(0.2, "Dropout", tooltip="The authors': 0.2.", minimum=0.01, maximum=0.9, advanced=True)
    patches: int = option(
        16, "Patches", tooltip="Of a pair, drawn for each step of the training; the authors' batches have 64.",
        minimum=1,
    )  # fmt: skip
    alpha: float = option(
        4.0, "Fluid: alpha", tooltip="Of the operator of momentum; gamma is 1.", minimum=0.0, maximum=1e4, advanced=True
    )
    beta: float = option(
        4.0, "Fluid: beta", tooltip="The authors': equal to alpha.", minimum=0.0, maximum=1e4, advanced=True
    )
    shooting_steps: int = option(
        6, "Steps of the shooting", tooltip="The authors': 10.", minimum=1, maximum=100, advanced=True
    )
    teacher_iterations: tuple[int, ...] = option(
        (20, 10),
        "Iterations of the teacher",
        tooltip="Of the optimization that finds the momentum of a training pair, coarse to fine.",
        minimum=1,
    )
    teacher_regularity: float = option(
        1e-3, "Regularity of the teacher", tooltip="Weight of the energy of the geodesic.", minimum=0.0
    )

    error: str = option(
        SQUARED,
        "Error of the momentum",
        tooltip="The authors': absolute. Most of a momentum is 0, where few steps of training leave absolute errors.",
        choices=(SQUARED, ABSOLUTE),
    )

    @property
    def fluid(self) -> Fluid:
        """The operator of momentum."""
        return Fluid(self.alpha, self.beta, 1.0)


class Quicksilver(Method):
    """The method, see `info`.

    The authors': patches of 15 voxels, 14 apart, of both images; an encoder for each image (twice three convolutions
    with PReLU and dropout, and a strided one), a decoder for each axis; mean absolute error to momenta that LDDMM
    found by optimization; patches averaged where they overlap, then geodesic shooting; a correction network of the
    same kind that sees the moving image and the fixed one brought back, trained with the first one frozen; the
    uncertainty from dropout. Our choice: width, drawn patches instead of all, squared errors; an operator of
    twice the order, so that few steps follow the flow, of whose momentum m the network predicts L^(-1/2) m, which is
    as rough as the authors' momentum; the midpoint rule; the fixed image brought back at half the resolution.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="quicksilver",
        title="Quicksilver",
        summary="Predicts patches of the momentum that LDDMM would find, and shoots the geodesic.",
        citation="Yang et al., NeuroImage 158:378-396, 2017, doi 10.1016/j.neuroimage.2017.07.008, arXiv 1703.10908",
        settings=QuicksilverSettings,
        supervision=("momentum",),
        probabilistic=True,
    )

    def network(self, settings: QuicksilverSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with fresh weights."""
        return MomentumPredictor(settings, dimensions=dimensions)

    def stages(self, settings: QuicksilverSettings) -> tuple[Stage, ...]:
        """Return the prediction network, then the correction network with the first one frozen."""
        return (Stage(PREDICTION, (f"{PREDICTION}.",), 2.0), Stage(CORRECTION, (f"{CORRECTION}.",), 1.0))

    def teacher(self, settings: QuicksilverSettings) -> MethodTeacher:
        """Return LDDMM by optimization, which finds the momentum of a pair."""
        iterations, regularity = settings.teacher_iterations, settings.teacher_regularity
        fluid, steps = settings.fluid, settings.shooting_steps

        def find(fixed: Tensor, moving: Tensor) -> Tensor:
            found = solve_momentum(fixed, moving, fluid, iterations=iterations, steps=steps, regularity=regularity)
            return fluid.power(found, PREDICTED)

        return MethodTeacher(f"LDDMM {fluid} {list(iterations)} {steps} {regularity:g}", find)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the mean error of the momentum of the patches that were asked."""
        checked_supervision(context.supervision, self.info.supervision)
        known = known_momentum(context.batch)
        found = context.prediction.features
        wanted = chosen_patches(patches_of(padded(known)), found["places"])
        if "rest" in found:
            wanted = wanted - found["rest"]
        error = found["patches"] - wanted
        return {"momentum": (error.square() if context.settings.error == SQUARED else error.abs()).mean()}


class MomentumPredictor(RegistrationNetwork):
    """Two patch networks and a shooting.

    In training mode only some patches are asked, and instead of the shooting the displacement is the first velocity
    of their momentum: the objective looks at the patches alone.

    Reference
    ---------
    Yang et al., NeuroImage 158:378-396, 2017, doi 10.1016/j.neuroimage.2017.07.008.
    """

    def __init__(self, settings: QuicksilverSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.fluid, self.steps, self.patches = settings.fluid, settings.shooting_steps, settings.patches
        self.prediction = MomentumNetwork(dimensions, settings.channels, settings.dropout)
        self.correction = MomentumNetwork(dimensions, settings.channels, settings.dropout)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair; `backward` is the other end of the geodesic."""
        return self._in_training(fixed, moving) if self.training else self._in_use(fixed, moving)

    def shot(self, momentum: Tensor) -> Prediction:
        """Return the map of a predicted momentum on the grid of the moving image."""
        end = shoot(self.fluid.power(momentum, -PREDICTED), self.fluid, steps=self.steps)
        assert end.inverse is not None
        shape = momentum.shape[2:]
        backward = Prediction.of([DisplacementPart(end.inverse)], shape)
        return Prediction.of([DisplacementPart(end.displacement)], shape, backward=backward)

    def momentum(self, network: MomentumNetwork, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """Return the momentum (N, D, *spatial) of a patch network, and all of its patches (N, B, D, *patch)."""
        patches = network(patches_of(padded(fixed)), patches_of(padded(moving)))
        return joined_patches(patches, fixed.shape[2:]), patches

    def brought_back(self, fixed: Tensor, momentum: Tensor) -> Tensor:
        """Return the fixed image on the grid of the moving one, along the geodesic at half the resolution."""
        whole = self.fluid.power(momentum, -PREDICTED)
        end = shoot(halved(whole) / 2, self.fluid.coarser(), steps=max(1, self.steps // 2))
        assert end.inverse is not None
        return warp(fixed, upsample_field(end.inverse, 2, fixed.shape[2:]))

    def _in_use(self, fixed: Tensor, moving: Tensor) -> Prediction:
        momentum, patches = self.momentum(self.prediction, fixed, moving)
        first = momentum
        features = {"patches": patches, "places": every_place(patches)}
        rest = torch.zeros_like(momentum)
        if self.stage != PREDICTION:
            rest, corrected = self.momentum(self.correction, self.brought_back(fixed, momentum), moving)
            momentum = momentum + rest
            features |= {"patches": corrected, "rest": patches_of(padded(first))}
        found = self.shot(momentum)
        return Prediction(
            found.displacement,
            found.parts,
            backward=found.backward,
            distribution=DropoutDistribution(fixed, moving, rest, self),
            features=features,
            extras={"momentum": ExtraMap(momentum.norm(dim=1, keepdim=True), title="Initial momentum")},
        )

    def _in_training(self, fixed: Tensor, moving: Tensor) -> Prediction:
        network, features = self.prediction, {}
        if self.stage == CORRECTION:
            with torch.no_grad(), mode(self.prediction, training=False):
                first, _ = self.momentum(self.prediction, fixed, moving)
                fixed = self.brought_back(fixed, first)
            network = self.correction
        ours, theirs = patches_of(padded(fixed)), patches_of(padded(moving))
        places = drawn_places(theirs, self.patches)
        patches = network(chosen_patches(ours, places), chosen_patches(theirs, places))
        features = {"patches": patches, "places": places}
        if self.stage == CORRECTION:
            features["rest"] = chosen_patches(patches_of(padded(first)), places)
        whole = patches.new_zeros((*ours.shape[:2], *patches.shape[2:]))
        index = places.view(*places.shape, *[1] * (patches.ndim - 2)).expand_as(patches)
        momentum = joined_patches(whole.scatter(1, index, patches), fixed.shape[2:])
        return Prediction(-self.fluid.power(momentum, -1 - PREDICTED), features=features)


@dataclass(frozen=True)
class DropoutDistribution:
    """Maps of the prediction network with some of its channels left out at random.

    Attributes
    ----------
    fixed, moving : (N, 1, *spatial) tensors
        The pair.
    rest : (N, D, *spatial) tensor
        Momentum of the correction network, added to each sample.
    network : MomentumPredictor
        That is asked.

    Reference
    ---------
    Gal and Ghahramani, ICML 2016, arXiv 1506.02142.
    """

    fixed: Tensor
    moving: Tensor
    rest: Tensor
    network: MomentumPredictor

    def sample(self, seed: int) -> Tensor:
        """Return a drawn displacement (N, D, *spatial)."""
        device = self.fixed.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), mode(self.network.prediction, training=True):
            torch.manual_seed(seed)
            momentum, _ = self.network.momentum(self.network.prediction, self.fixed, self.moving)
            return self.network.shot(momentum + self.rest).displacement


class MomentumNetwork(nn.Module):
    """Patches of both images -> patches of momentum: an encoder for each image, a decoder for each axis."""

    def __init__(self, dimensions: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.fixed = PatchEncoder(dimensions, channels, dropout)
        self.moving = PatchEncoder(dimensions, channels, dropout)
        self.axes = nn.ModuleList(PatchDecoder(dimensions, channels, dropout) for _ in range(dimensions))
        self.apply(keep_variance)
        for decoder in self.axes:
            small_start(cast("nn.Sequential", decoder)[-1])

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return (N, B, D, *patch) for B patches of N pairs, (N, B, 1, *patch) each."""
        count = fixed.shape[:2]
        features = torch.cat([self.fixed(fixed.flatten(0, 1)), self.moving(moving.flatten(0, 1))], 1)
        momentum = torch.cat([decoder(features) for decoder in self.axes], 1)
        return momentum.float().unflatten(0, count)


class PatchEncoder(nn.Sequential):
    """Twice three convolutions and a strided one: patches of 15, 8, 4 voxels."""

    def __init__(self, dimensions: int, channels: int, dropout: float) -> None:
        super().__init__(
            *layers(dimensions, [1, channels, channels, channels], dropout),
            *layers(dimensions, [channels, channels], dropout, stride=2),
            *layers(dimensions, [channels, *[2 * channels] * 3], dropout),
            *layers(dimensions, [2 * channels, 2 * channels], dropout, stride=2),
        )


class PatchDecoder(nn.Sequential):
    """The way back to 15 voxels, from the features of both images to one component of the momentum."""

    def __init__(self, dimensions: int, channels: int, dropout: float) -> None:
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]
        super().__init__(
            *layers(dimensions, [4 * channels, *[2 * channels] * 3], dropout),
            up(2 * channels, channels, 2, stride=2),
            nn.PReLU(),
            *layers(dimensions, [channels] * 3, dropout),
            up(channels, channels, 3, stride=2, padding=1),
            nn.PReLU(),
            convolution(dimensions, channels, 1),
        )


def layers(dimensions: int, widths: Sequence[int], dropout: float, *, stride: int = 1) -> list[nn.Module]:
    """Return convolutions with a parametric rectifier and dropout behind each."""
    found: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        found += [convolution(dimensions, inputs, outputs, stride=stride), nn.PReLU(), nn.Dropout(dropout)]
    return found


def padded(image: Tensor) -> Tensor:
    """Return the image continued by zeros to a size that patches cover exactly."""
    margins: list[int] = []
    for size in reversed(image.shape[2:]):
        margins += [0, max(0, math.ceil((size - PATCH) / BETWEEN)) * BETWEEN + PATCH - size]
    return nn.functional.pad(image, margins)


def patches_of(image: Tensor) -> Tensor:
    """Return the patches (N, B, C, *patch) of a padded image (N, C, *spatial)."""
    cut = image
    for axis in range(2, image.ndim):
        cut = cut.unfold(axis, PATCH, BETWEEN)
    count = image.ndim - 2
    return cut.flatten(2, 1 + count).transpose(1, 2)


def joined_patches(patches: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the image (N, C, *shape) of all patches (N, B, C, *patch), averaged where they overlap."""
    counts = [max(0, math.ceil((size - PATCH) / BETWEEN)) + 1 for size in shape]
    whole = [(count - 1) * BETWEEN + PATCH for count in counts]
    total = patches.new_zeros((patches.shape[0], patches.shape[2], *whole))
    times = patches.new_zeros((1, 1, *whole))
    for number, corner in enumerate(itertools.product(*(range(0, count * BETWEEN, BETWEEN) for count in counts))):
        box = (slice(None), slice(None), *(slice(start, start + PATCH) for start in corner))
        total[box] += patches[:, number]
        times[box] += 1
    return crop(total / times, shape)


def chosen_patches(patches: Tensor, places: Tensor) -> Tensor:
    """Return the patches (N, K, C, *patch) at places (N, K)."""
    rows = torch.arange(len(patches), device=patches.device)[:, None]
    return patches[rows, places]


def every_place(patches: Tensor) -> Tensor:
    """Return the places of all patches, (N, B)."""
    return torch.arange(patches.shape[1], device=patches.device).expand(*patches.shape[:2])


def drawn_places(patches: Tensor, count: int) -> Tensor:
    """Return so many places (N, K) without repetition, of patches that show something where there are enough.

    Drawn from torch's global generator. The authors leave out patches of nothing but background.
    """
    shown = (patches.flatten(2).amax(2) > 0).float()
    chance = torch.rand(shown.shape, device=patches.device) + shown
    return chance.argsort(1, descending=True)[:, : min(count, patches.shape[1])]


@contextmanager
def mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a network into training or evaluation mode inside the block."""
    before = network.training
    network.train(training)
    try:
        yield
    finally:
        network.train(before)
