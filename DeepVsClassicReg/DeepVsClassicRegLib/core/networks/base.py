"""The interface of learning-based registration: method, network, batch, prediction and stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from .card import KINDS, SUPERVISION
from .parts import Distribution, GaussianVelocity, Part, VelocityPart, total_displacement

Tensor = torch.Tensor
__all__ = [
    "KINDS",
    "SUPERVISION",
    "ActionLevel",
    "ActionValues",
    "Batch",
    "ExtraMap",
    "Level",
    "LossContext",
    "Method",
    "MethodInfo",
    "MethodTeacher",
    "PatchScores",
    "Prediction",
    "Reconstruction",
    "RegistrationNetwork",
    "SegmentationScores",
    "Stage",
    "map_tensors",
]


@dataclass(frozen=True)
class MethodInfo:
    """The description of a method for training, cards and the panel.

    Attributes
    ----------
    name, title, summary : str
        Name used in commands, title shown to users, one sentence.
    citation : str
        The paper, with DOI or arXiv number.
    settings : type
        The frozen dataclass of its settings (with `core.settings.option` fields).
    supervision : tuple of str
        Supported supervisions, the default first: 'none' (images only), 'labels', 'displacement' (a known map, or the
        field of a teacher engine), 'error' (moving images warped with a known error), 'pose' (moving images moved by a
        known rigid map), 'momentum' (computed by the teacher of the method itself).
    kind : str
        Kind of the output, one of `KINDS`; 'field' predicts a map of a pair, 'features' channels of an image.
    dimensions : tuple of int
        2, 3, or both.
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
    """A batch of training pairs on one grid; its content is the supervision.

    Attributes
    ----------
    fixed, moving : (N, 1, *spatial) tensors
        Intensities, 0 to 1.
    fixed_labels, moving_labels : (N, K, *spatial) tensors, optional
        Memberships of the K labels to align, 0 to 1, without background. Only methods with `partial_labels` receive
        batches with labels of one image.
    displacement : (N, D, *spatial) tensor, optional
        The map to learn, as in `Prediction`: known for generated pairs, or computed by a teacher engine.
    error : (N, 1, *spatial) tensor, optional
        Registration error in voxels at each voxel; `moving` is then the moving
        image warped by a registration with a known error.
    pose : (N, D, D + 1) tensor, optional
        The rigid map that remains to be found, from voxels of the fixed image to voxels of `moving`, both about the
        middle of the grid: matrix and translation.
    momentum : (N, D, *spatial) tensor, optional
        Computed by the teacher of the method itself, see `MethodTeacher`.
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    displacement: Tensor | None = None
    error: Tensor | None = None
    momentum: Tensor | None = None
    pose: Tensor | None = None

    def shown(self, supervision: str) -> Batch:
        """Return the part of the batch that a loss with this supervision may use."""
        if supervision == "labels":
            return Batch(self.fixed, self.moving, self.fixed_labels, self.moving_labels)
        if supervision == "error":
            return Batch(self.fixed, self.moving, error=self.error)
        if supervision == "momentum":
            return Batch(self.fixed, self.moving, momentum=self.momentum)
        if supervision == "pose":
            return Batch(self.fixed, self.moving, pose=self.pose)
        return Batch(self.fixed, self.moving, displacement=self.displacement if supervision == "displacement" else None)


@dataclass(frozen=True)
class Level:
    """The output of a coarse-to-fine network at one of its resolutions.

    Attributes
    ----------
    residual : (N, D, *coarse) tensor
        Velocity or displacement added by this level, in voxels of its grid.
    displacement : (N, D, *coarse) tensor
        Sum up to this level, in voxels of its grid.
    stride : int
        Voxels of the image per voxel of this grid; its voxel centers are those of average pooling.
    """

    residual: Tensor
    displacement: Tensor
    stride: int


@dataclass(frozen=True)
class ExtraMap:
    """A further output of a network for the user, shown in result, files and panel.

    Attributes
    ----------
    values : (N, C, *spatial) tensor
        The output on the grid of the images. C is 1, or the number of labels (memberships, kind 'labels'), or D (kind
        'transform': a displacement in voxels).
    kind : str
        'map' (numbers), 'image' (intensities), 'labels' or 'transform'.
    title : str
        Title shown to users.
    unit : str
        Unit of a map; 'voxels' is converted to mm.
    labels : tuple of int
        Values of the C labels; 1 to C when empty.
    """

    values: Tensor
    kind: str = "map"
    title: str = ""
    unit: str = ""
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """The prediction of a network for a pair.

    Attributes
    ----------
    displacement : (N, D, *spatial) tensor
        The displacement at every voxel, in voxels of the image, components in the order of the spatial axes (z, y, x):
        fixed voxels are mapped to moving voxels, x -> x + u(x).
    parts : tuple of Part
        The same map as exact parts, the first one applied first; empty when it is a displacement only.
    levels : tuple of Level
        Levels of a coarse-to-fine network, coarsest first.
    distribution : Distribution, optional
        Distribution of probabilistic methods; `displacement` is its mean map (in training mode a sample).
    backward : Prediction, optional
        The prediction with fixed and moving swapped, for networks that predict both directions.
    extras : mapping of str to ExtraMap
        Further outputs for the user.
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
        """The velocity of a map with one velocity part; the mean for a distribution."""
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
    """The output of a network of kind 'metric' or 'error' for a fixed and a warped image, per patch.

    Attributes
    ----------
    values : (N, C, *coarse) tensor
        One vector per patch; its meaning is defined by the method.
    stride : int
        Voxels between the centers of neighboring patches; the first center is that of the first `stride` voxels.
    """

    values: Tensor
    stride: int


@dataclass(frozen=True)
class ActionLevel:
    """What an agent expects of its actions at one level of its resolutions.

    Attributes
    ----------
    values : (N, A) tensor
        Expected reward of each action: how much nearer it brings the pair to alignment, in steps of the level. Actions
        2 k and 2 k + 1 are a step forward and a step back along parameter k.
    distance : (N,) tensor
        Expected distance to alignment, in steps of the level.
    center : (N, D) tensor
        Voxel about which the level turns; the middle of what it sees.
    """

    values: Tensor
    distance: Tensor
    center: Tensor


@dataclass(frozen=True)
class ActionValues:
    """The output of a network of kind 'agent' for a fixed and a warped image.

    Attributes
    ----------
    levels : tuple of ActionLevel
        Coarsest first.
    features : mapping of str to Tensor
        What else the loss of the method needs; not used elsewhere.
    """

    levels: tuple[ActionLevel, ...]
    features: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def values(self) -> Tensor:
        """The values of all levels, (N, A of all levels)."""
        return torch.cat([level.values for level in self.levels], 1)


@dataclass(frozen=True)
class SegmentationScores:
    """The output of a network of kind 'segmentation' for images.

    Attributes
    ----------
    values : (N, K + 1, *spatial) tensor
        Logarithms of the memberships of the background and of K structures, up to a constant per voxel.
    """

    values: Tensor

    def memberships(self) -> Tensor:
        """Return the memberships of the background and the structures, (N, K + 1, *spatial), 0 to 1, sum 1."""
        return self.values.softmax(1)


@dataclass(frozen=True)
class Reconstruction:
    """The output of a network of kind 'features' for a pair: its images, reconstructed from their features.

    Attributes
    ----------
    values : (2 N, 1, *spatial) tensor
        The reconstructions of the N fixed and then of the N moving images.
    images : (2 N, 1, *spatial) tensor
        The images in the same order.
    """

    values: Tensor
    images: Tensor


class RegistrationNetwork(nn.Module):
    """The interface of a network for training and engine, of the kind 'field' unless the method defines another one.

    Networks of the kinds 'metric' and 'error' are called with the fixed and the warped image and return `PatchScores`,
    those of the kind 'agent' return `ActionValues`. Those of the kind 'features' return a `Reconstruction` of both
    images, and `features(image)` the channels that engines compare. One of the kind 'segmentation' is called with one
    image, in training with the two of a pair, which it segments independently, and returns `SegmentationScores`.
    One of the kind 'field' is called as `network(fixed, moving)` with two (N, 1, *spatial) tensors, intensities 0 to 1,
    any spatial size of at least 16 per axis (it pads by itself), and returns a `Prediction`. In training mode a
    probabilistic network samples; in evaluation mode it returns the mean. With initial weights it predicts (nearly) the
    identity.

    Attributes
    ----------
    multiple : int
        The engine provides images whose sizes are multiples of it, which need no padding.
    scale_free : bool
        Whether it can be used at other voxel sizes than in training; the engine then selects the voxel size.
    adaptation_steps : int
        Default number of gradient steps of `adapted` on a pair; 0 when there is no adaptation.
    transfers : bool
        Whether `transferred` transfers the deformation of a pair to another image.
    stage : str
        Name of the current training stage; '' when the whole network is used.
    """

    multiple: int = 16
    scale_free: bool = False
    adaptation_steps: int = 0
    transfers: bool = False
    stage: str = ""

    def set_stage(self, name: str) -> None:
        """Set the training stage ('' for the whole network); parts of later stages may be skipped."""
        self.stage = name

    def adapted(self, fixed: Tensor, moving: Tensor, steps: int, check_cancelled: Callable[[], None]) -> Prediction:
        """Return the prediction for a pair after gradient steps on that pair; the weights are restored.

        Parameters
        ----------
        fixed, moving : (1, 1, *spatial) tensors
            Intensities, 0 to 1.
        steps : int
            Number of gradient steps.
        check_cancelled : callable
            Called before every step; raises `Cancelled`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no test-time adaptation.")

    def segmented(self, image: Tensor) -> SegmentationScores:
        """Return the structures of images (N, 1, *spatial); networks of other kinds that segment override it."""
        return self(image)

    def transferred(self, fixed: Tensor, moving: Tensor, other: Tensor) -> Prediction:
        """Return the deformation of a pair, transferred to another moving image of any size and on its grid."""
        raise NotImplementedError(f"{type(self).__name__} cannot transfer deformations.")

    def memory_bytes(self, shape: Sequence[int]) -> float | None:
        """Return the memory of a forward pass on an image of this shape, None to measure it on a small image.

        Networks whose memory is not proportional to the number of voxels (global attention) must return it.
        """
        return None


@dataclass(frozen=True)
class Stage:
    """A stage of training.

    Attributes
    ----------
    name : str
        Passed to the network (`set_stage`) and to the objective, shown in the curves.
    learns : tuple of str
        Prefixes of the names of the trained parameters; all others are frozen. '' selects all.
    share : float
        Fraction of the steps or hours, relative to the other stages.
    learning_rate : float
        Factor of the learning rate.
    turns : tuple of tuple of str
        Groups of parameters (as in `learns`) for alternating optimization.
    supervision : str
        Supervision of this stage, if it differs from that of the training run.
    """

    name: str = "training"
    learns: tuple[str, ...] = ("",)
    share: float = 1.0
    learning_rate: float = 1.0
    turns: tuple[tuple[str, ...], ...] = ()
    supervision: str = ""

    def learning(self, step: int) -> tuple[str, ...]:
        """Return the parameters that are trained at a step of this stage."""
        return self.turns[step % len(self.turns)] if self.turns else self.learns


@dataclass(frozen=True)
class LossContext:
    """The input of a loss.

    Attributes
    ----------
    network : RegistrationNetwork
        The network, for losses that evaluate parts of it again.
    prediction : Prediction, PatchScores, ActionValues, Reconstruction or SegmentationScores
        Prediction for the batch, 32 bit; its type is that of the kind of the method.
    batch : Batch
        The batch, restricted by the supervision.
    settings : object
        The method's settings.
    supervision : str
        One of `SUPERVISION`.
    stage : Stage
        The current stage.
    step : int
        Number of completed steps in this stage.
    done : float
        Completed fraction of the stage, 0 to 1, for variable weights; 0 without a limit.
    """

    network: nn.Module
    prediction: Prediction
    batch: Batch
    settings: Any
    supervision: str = "none"
    stage: Stage = field(default_factory=Stage)
    step: int = 0
    done: float = 0.0


@dataclass(frozen=True)
class MethodTeacher:
    """The teacher of a method with supervision 'momentum'.

    Attributes
    ----------
    name : str
        Name with all settings; the fields are stored on disk under it.
    find : callable
        `find(fixed, moving)` with two (1, 1, *spatial) tensors returns a (1, D, *spatial) tensor.
    """

    name: str
    find: Callable[[Tensor, Tensor], Tensor]


class Method:
    """A published method: one file of this package with such a class, and one line of the catalogue."""

    info: ClassVar[MethodInfo]

    def network(self, settings: Any, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights (from torch's global generator)."""
        raise NotImplementedError

    def stages(self, settings: Any) -> tuple[Stage, ...]:
        """Return the stages of training, in order."""
        return (Stage(),)

    def fitted(self, settings: Any, labels: Mapping[int, str]) -> Any:
        """Return the settings for training data with these labels; only segmentation networks depend on them."""
        return settings

    def teacher(self, settings: Any) -> MethodTeacher | None:
        """Return the teacher of methods with supervision 'momentum'."""
        return None

    def prepare(self, network: RegistrationNetwork, sample: Callable[[int], Batch]) -> None:
        """Fit what a network computes from the training data before the first step; nothing by default.

        Parameters
        ----------
        network : RegistrationNetwork
            Changed in place; what is fitted must be part of its state, so that a training can be resumed.
        sample : callable
            Returns the batch of a step.
        """

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the named, weighted terms of the loss; their sum is minimized."""
        raise NotImplementedError

    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return further validation measures of a prediction; none by default."""
        return {}


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to all tensors of a batch, a prediction or other nested dataclasses, tuples and mappings."""
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
