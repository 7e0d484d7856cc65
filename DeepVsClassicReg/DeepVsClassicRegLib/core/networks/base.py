"""The contract of learned registration: what a method, its network, a batch, a prediction and a stage are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from .card import KINDS
from .parts import Distribution, GaussianVelocity, Part, VelocityPart, total_displacement

Tensor = torch.Tensor
SUPERVISION = ("none", "labels", "displacement", "error")
__all__ = [
    "KINDS",
    "Batch",
    "ExtraMap",
    "Level",
    "LossContext",
    "Method",
    "MethodInfo",
    "PatchScores",
    "Prediction",
    "RegistrationNetwork",
    "Stage",
    "map_tensors",
]


@dataclass(frozen=True)
class MethodInfo:
    """Everything training, cards and the panel know about a method.

    Attributes
    ----------
    name, title, summary : str
        Name used in commands, name shown, one sentence.
    citation : str
        The paper, with DOI or arXiv number.
    settings : type
        The frozen dataclass of its settings (made of `core.settings.option` fields).
    supervision : tuple of str
        What it can be trained with, its usual one first: 'none' (images alone), 'labels', 'displacement' (a known
        map, or the field of a teacher engine), 'error' (moving images that were warped with a known error).
    kind : str
        What the network maps to, one of `KINDS`; 'field' predicts a map of a pair.
    dimensions : tuple of int
        2 (plane images), 3 (volumes), or both.
    probabilistic : bool
        Whether it predicts a distribution, so that the uncertainty of the displacement can be sampled.
    partial_labels : bool
        Whether it can be trained with labels of one image of a pair only.
    """

    name: str
    title: str
    summary: str
    citation: str
    settings: type
    supervision: tuple[str, ...] = ("none", "labels")
    kind: str = "field"
    dimensions: tuple[int, ...] = (2, 3)
    probabilistic: bool = False
    partial_labels: bool = False


@dataclass(frozen=True)
class Batch:
    """Pairs to learn from, all on one grid. What it contains is the supervision.

    Attributes
    ----------
    fixed, moving : (N, 1, *spatial) tensors
        Intensities, 0 to 1.
    fixed_labels, moving_labels : (N, K, *spatial) tensors, optional
        Memberships of the K labels to align, 0 to 1, background left out. Only methods with `partial_labels` get
        batches with one of them.
    displacement : (N, D, *spatial) tensor, optional
        The map to learn, as in `Prediction`: known of generated pairs, or found by a teacher engine.
    error : (N, 1, *spatial) tensor, optional
        How far, in voxels, the moving image shown at each voxel is from where it belongs; `moving` is then the moving
        image warped by a registration with a known error.
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    displacement: Tensor | None = None
    error: Tensor | None = None

    def shown(self, supervision: str) -> Batch:
        """Return the batch as an objective with this supervision may see it."""
        if supervision == "labels":
            return Batch(self.fixed, self.moving, self.fixed_labels, self.moving_labels)
        if supervision == "error":
            return Batch(self.fixed, self.moving, error=self.error)
        return Batch(self.fixed, self.moving, displacement=self.displacement if supervision == "displacement" else None)


@dataclass(frozen=True)
class Level:
    """What a coarse-to-fine network says at one of its resolutions.

    Attributes
    ----------
    residual : (N, D, *coarse) tensor
        Velocity or displacement this level adds, in voxels of its grid.
    displacement : (N, D, *coarse) tensor
        Everything up to this level, in voxels of its grid.
    stride : int
        Voxels of the image per voxel of this grid; its voxel centers are those of average pooling.
    """

    residual: Tensor
    displacement: Tensor
    stride: int


@dataclass(frozen=True)
class ExtraMap:
    """Something a network predicts beside the map, for the user: it reaches result, files and panel.

    Attributes
    ----------
    values : (N, C, *spatial) tensor
        On the grid of the images. C is 1, or the number of labels (memberships, kind 'labels'), or D (kind
        'transform': a displacement in voxels).
    kind : str
        'map' (numbers), 'image' (intensities), 'labels' or 'transform'.
    title : str
        Name shown.
    unit : str
        Of a map; 'voxels' is converted to mm.
    """

    values: Tensor
    kind: str = "map"
    title: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a network says about a pair.

    Attributes
    ----------
    displacement : (N, D, *spatial) tensor
        The whole map, voxels of the image, components in the order of the spatial axes (z, y, x), at every voxel:
        maps fixed voxels to moving voxels, x -> x + u(x).
    parts : tuple of Part
        The same map in exact parts, the first one applied first; empty when it is just a displacement.
    levels : tuple of Level
        Of a coarse-to-fine network, coarsest first.
    distribution : Distribution, optional
        Of probabilistic methods; `displacement` is then its mean map (in training mode a drawn one).
    backward : Prediction, optional
        The same with fixed and moving exchanged, of networks that predict both directions.
    extras : mapping of str to ExtraMap
        What else the user gets.
    features : mapping of str to Tensor
        What else the loss of the method needs; not used elsewhere.
    """

    displacement: Tensor
    parts: tuple[Part, ...] = ()
    levels: tuple[Level, ...] = ()
    distribution: Distribution | None = None
    backward: Prediction | None = None
    extras: Mapping[str, ExtraMap] = field(default_factory=dict)
    features: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Sequence[Part], shape: Sequence[int], **more: Any) -> Prediction:
        """Return the prediction of parts (the first one applied first) on an image of this shape."""
        return cls(total_displacement(parts, shape), tuple(parts), **more)

    @property
    def velocity(self) -> Tensor | None:
        """The velocity of a map with one such part; of a distribution its mean."""
        if isinstance(self.distribution, GaussianVelocity):
            return self.distribution.mean
        found = [part.velocity for part in self.parts if isinstance(part, VelocityPart)]
        return found[0] if len(found) == 1 else None

    @property
    def log_variance(self) -> Tensor | None:
        """The logarithm of the variance of the velocity of a Gaussian distribution."""
        return self.distribution.log_variance if isinstance(self.distribution, GaussianVelocity) else None


@dataclass(frozen=True)
class PatchScores:
    """What a network of kind 'metric' or 'error' says about a fixed and a warped image, patch by patch.

    Attributes
    ----------
    values : (N, C, *coarse) tensor
        One column of numbers a patch; what they mean is the method's.
    stride : int
        Voxels between the centers of neighboring patches; the first center is that of the first `stride` voxels.
    """

    values: Tensor
    stride: int


class RegistrationNetwork(nn.Module):
    """What training and engine expect of a network; of the kind 'field' unless the method says otherwise.

    Networks of the kinds 'metric' and 'error' are called with the fixed and the warped image and return `PatchScores`.
    One of the kind 'field' is called as `network(fixed, moving)` with two (N, 1, *spatial) tensors, intensities 0 to 1,
    any spatial size of at least 16 per axis (it pads by itself), and returns a `Prediction`. In training mode a
    probabilistic network samples; in evaluation mode it returns the mean. With fresh weights it predicts (nearly) the
    identity.

    Attributes
    ----------
    multiple : int
        The engine gives images whose sizes are multiples of it, which need no padding.
    scale_free : bool
        Whether it may be used at other voxel sizes than it was trained with; the engine then works as finely as it
        can afford.
    adaptation_steps : int
        Gradient steps that `adapted` takes by default on a pair it is asked about; 0: it has no such thing.
    stage : str
        Name of the stage that is being trained; '' where the whole network is used.
    """

    multiple: int = 16
    scale_free: bool = False
    adaptation_steps: int = 0
    stage: str = ""

    def set_stage(self, name: str) -> None:
        """Train a stage from now on ('' for the whole network); parts of later stages may be left out then."""
        self.stage = name

    def adapted(self, fixed: Tensor, moving: Tensor, steps: int, check_cancelled: Callable[[], None]) -> Prediction:
        """Return the prediction for a pair after so many gradient steps on that pair; weights stay as they were."""
        raise NotImplementedError(f"{type(self).__name__} has no test-time adaptation.")

    def memory_bytes(self, shape: Sequence[int]) -> float | None:
        """Return what a forward pass on an image of this shape takes, None to have it measured on a small image.

        Networks whose memory does not grow with the number of voxels (global attention) must answer.
        """
        return None


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes
    ----------
    name : str
        Passed to the network (`set_stage`) and to the objective, shown in the curves.
    learns : tuple of str
        Beginnings of the names of the parameters that learn; all others are frozen. '' is everything.
    share : float
        Of the training's steps or hours, relative to the other stages.
    learning_rate : float
        Times that of the training.
    turns : tuple of tuple of str
        Groups of parameters (as in `learns`) that take turns from step to step: alternating optimization.
    supervision : str
        Of this stage where it differs from that of the training.
    """

    name: str = "training"
    learns: tuple[str, ...] = ("",)
    share: float = 1.0
    learning_rate: float = 1.0
    turns: tuple[tuple[str, ...], ...] = ()
    supervision: str = ""

    def learning(self, step: int) -> tuple[str, ...]:
        """Return which parameters learn at a step of this stage."""
        return self.turns[step % len(self.turns)] if self.turns else self.learns


@dataclass(frozen=True)
class LossContext:
    """All that a training objective may look at.

    Attributes
    ----------
    network : RegistrationNetwork
        For objectives that ask parts of it again.
    prediction : Prediction or PatchScores
        Of the batch, 32 bit; `PatchScores` for methods of the kinds 'metric' and 'error'.
    batch : Batch
        What the supervision lets it see.
    settings : object
        The method's settings.
    supervision : str
        One of `SUPERVISION`.
    stage : Stage
        That is being trained.
    step : int
        Updates made in this stage.
    done : float
        Part of the stage that is over, 0 to 1, for weights that change; 0 for trainings without a limit.
    """

    network: nn.Module
    prediction: Prediction
    batch: Batch
    settings: Any
    supervision: str = "none"
    stage: Stage = field(default_factory=Stage)
    step: int = 0
    done: float = 0.0


class Method:
    """One published system: a file of this room with such a class, and a line of the catalogue."""

    info: ClassVar[MethodInfo]

    def network(self, settings: Any, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with fresh weights (drawn from torch's global generator)."""
        raise NotImplementedError

    def stages(self, settings: Any) -> tuple[Stage, ...]:
        """Return the stages of a training, in their order."""
        return (Stage(),)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the named, weighted terms of the objective; their sum is minimized."""
        raise NotImplementedError

    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return what else tells how good a prediction is, for the validation; nothing by default."""
        return {}


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch, a prediction or anything made of dataclasses, tuples and mappings with its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in dataclasses.fields(value) if entry.init]
        return dataclasses.replace(value, **{name: map_tensors(getattr(value, name), change) for name in names})
    if isinstance(value, tuple):
        return tuple(map_tensors(entry, change) for entry in value)
    if isinstance(value, Mapping):
        return {name: map_tensors(entry, change) for name, entry in value.items()}
    return value
