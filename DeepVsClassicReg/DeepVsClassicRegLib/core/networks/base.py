"""What every published registration network is: its description, its module, its objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

Tensor = torch.Tensor


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
        What it can be trained with: 'none' (images alone), 'labels'.
    probabilistic : bool
        Whether it predicts a distribution, so that displacement uncertainty can be sampled.
    """

    name: str
    title: str
    summary: str
    citation: str
    settings: type
    supervision: tuple[str, ...] = ("none", "labels")
    probabilistic: bool = False


@dataclass(frozen=True)
class Batch:
    """Pairs to learn from, all on one grid.

    Attributes
    ----------
    fixed, moving : (N, 1, *spatial) tensors
        Intensities, 0 to 1.
    fixed_labels, moving_labels : (N, K, *spatial) tensors, optional
        Memberships of the K labels to align, 0 to 1, background left out.
    displacement : (N, D, *spatial) tensor, optional
        The true displacement, as in `Prediction`, where it is known (methods taught by known warps).
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    displacement: Tensor | None = None


@dataclass(frozen=True)
class Level:
    """What a coarse-to-fine network says at one of its lattices.

    Attributes
    ----------
    residual : (N, D, *coarse) tensor
        Velocity this level adds, in voxels of its lattice.
    displacement : (N, D, *coarse) tensor
        Everything up to this level, in voxels of its lattice.
    stride : int
        Voxels of the input grid per voxel of the lattice; its voxel centers are those of average pooling.
    """

    residual: Tensor
    displacement: Tensor
    stride: int

    def float(self) -> Level:
        """Return the level with 32 bit tensors."""
        return Level(self.residual.float(), self.displacement.float(), self.stride)


@dataclass(frozen=True)
class Prediction:
    """What a network says about a pair.

    Attributes
    ----------
    displacement : (N, D, *spatial) tensor
        Voxels of the input grid, components in the order of the spatial axes (z, y, x), at every voxel:
        maps fixed voxels to moving voxels, x -> x + u(x).
    velocity : (N, D, *coarse) tensor, optional
        The stationary velocity it was integrated from, in voxels of its own (maybe coarser) lattice.
    log_variance : like `velocity`, optional
        Logarithm of the variance of the velocity (probabilistic methods); `velocity` is then the mean.
    levels : tuple of Level
        Of a coarse-to-fine network, coarsest first.
    backward : Prediction, optional
        The same with fixed and moving exchanged, of networks that predict both directions.
    extras : mapping of str to Tensor
        What else the method's own objective needs: features, latent codes, maps.
    """

    displacement: Tensor
    velocity: Tensor | None = None
    log_variance: Tensor | None = None
    levels: tuple[Level, ...] = ()
    backward: Prediction | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class Method(Protocol):
    """One published system: a file of this room with such a class, and a line of the catalogue.

    The module returned by `network` is called as `module(fixed, moving)` with two (N, 1, *spatial) tensors, intensities
    0 to 1, any spatial size of at least 16 per axis (it pads by itself), and returns a `Prediction`.
    In training mode a probabilistic module samples; in evaluation mode it returns the mean.
    """

    info: ClassVar[MethodInfo]

    def network(self, settings: Any, *, dimensions: int = 3) -> nn.Module:
        """Return the module with fresh weights (drawn from torch's global generator)."""
        ...

    def loss(self, prediction: Prediction, batch: Batch, settings: Any, supervision: str) -> Mapping[str, Tensor]:
        """Return the named, weighted terms of the training objective; their sum is minimized."""
        ...
