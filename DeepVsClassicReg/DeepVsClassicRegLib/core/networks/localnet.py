"""LocalNet and GlobalNet: registration of different contrasts, trained with labels only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import nn

from ..losses.regularity import bending
from ..settings import option
from .base import Batch, LossContext, Method, MethodInfo, Prediction, RegistrationNetwork, Stage
from .blocks import SLOPE, convolution, crop, pad_to_multiple
from .dlir import AFFINE, StagedCascade
from .flow import upsample_field
from .heads import AffineHead, FieldHead
from .objectives import checked_supervision, label_term, labels_of, smoothness_option
from .parts import AffinePart, DisplacementPart

Tensor = torch.Tensor
HALVINGS = 4
FIRST_KERNEL = 7
PAPER = "Hu et al., Med. Image Anal. 49:1-13, 2018, doi 10.1016/j.media.2018.07.002, arXiv 1807.03361"


@dataclass(frozen=True)
class GlobalNetSettings:
    """Network of GlobalNet; the authors use 8 start channels."""

    channels: int = option(4, "Start channels", tooltip="Doubled at each of four downsamplings; our choice.", minimum=1)


@dataclass(frozen=True)
class LocalNetSettings:
    """Networks and objective of LocalNet; the authors use 32 start channels."""

    channels: int = option(
        8,
        "Start channels",
        tooltip="Doubled at each of four downsamplings, our choice; the affine network has a quarter of them.",
        minimum=1,
    )
    smoothness: float = smoothness_option(0.5, tooltip="Weight of the bending energy.")


class GlobalNet(Method):
    """The affine method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="globalnet",
        title="GlobalNet",
        summary="An affine map between any two contrasts, learned from labels only.",
        citation=PAPER,
        settings=GlobalNetSettings,
        supervision=("labels",),
    )

    def network(self, settings: GlobalNetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return GlobalNetwork(dimensions, settings.channels)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the overlap of blurred labels."""
        checked_supervision(context.supervision, self.info.supervision)
        return {"labels": blurred_overlap(context)}


class LocalNet(Method):
    """The affine and then the dense network, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="localnet",
        title="LocalNet",
        summary="An affine and a dense map between any two contrasts, learned from labels only.",
        citation=PAPER,
        settings=LocalNetSettings,
        supervision=("labels",),
    )

    def network(self, settings: LocalNetSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the networks with random weights."""
        affine = GlobalNetwork(dimensions, max(1, settings.channels // 4))
        local = LocalNetwork(dimensions, settings.channels)
        return StagedCascade([affine, local], [stage.name for stage in self.stages(settings)])

    def stages(self, settings: LocalNetSettings) -> tuple[Stage, ...]:
        """Return the affine network first, then both; the separate affine stage is our choice."""
        return Stage(AFFINE, ("stages.0.",), 1.0), Stage("whole", ("",), 3.0)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the overlap of blurred labels, and the bending energy of the dense network."""
        checked_supervision(context.supervision, self.info.supervision)
        terms, levels = {"labels": blurred_overlap(context)}, context.prediction.levels
        if len(levels) > 1:
            terms["smoothness"] = context.settings.smoothness * bending(levels[-1].residual)
        return terms


def blurred_overlap(context: LossContext) -> Tensor:
    """Return 1 minus the overlap at six scales; in training of one random label of each pair per step."""
    batch = with_one_label(context.batch) if context.network.training else context.batch
    return label_term(batch, context.prediction.displacement, "multiscale-dice")


def with_one_label(batch: Batch) -> Batch:
    """Return the batch with one label of each pair, (N, 1, *spatial), of those that both images have.

    Selected with torch's global generator; pairs without common labels get any label.
    """
    fixed, moving = labels_of(batch)
    axes = tuple(range(2, fixed.ndim))
    common = torch.minimum(fixed.amax(axes), moving.amax(axes)) > 0
    drawn = torch.multinomial(torch.where(common, 1.0, 1e-9), 1)
    index = drawn.view(-1, *[1] * (fixed.ndim - 1)).expand(-1, 1, *fixed.shape[2:])
    return dataclasses.replace(batch, fixed_labels=fixed.gather(1, index), moving_labels=moving.gather(1, index))


class GlobalNetwork(RegistrationNetwork):
    """Pair -> residual blocks over four halvings -> one affine map.

    Parameters
    ----------
    dimensions, channels : int
        2 or 3; at the image's resolution, twice as many after each halving.

    Reference
    ---------
    Hu et al., Med. Image Anal. 49:1-13, 2018, doi 10.1016/j.media.2018.07.002. Its 12 numbers are unbounded; here
    they are the bounded ones of `AffineHead`.
    """

    multiple = 2**HALVINGS

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        self.encoder = ResidualEncoder(dimensions, channels)
        self.head = AffineHead(dimensions, channels * 2**HALVINGS)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the affine map of a pair."""
        shape = fixed.shape[2:]
        features = self.encoder(pad_to_multiple(torch.cat([fixed, moving], 1), self.multiple))
        matrix, translation = self.head(features[-1])
        return Prediction.of([AffinePart(matrix, translation * (max(shape) - 1))], shape)


class LocalNetwork(RegistrationNetwork):
    """Pair -> residual encoder and decoder -> the sum of one displacement from each of five resolutions.

    Parameters
    ----------
    dimensions, channels : int
        2 or 3; at the image's resolution, twice as many after each halving.

    Reference
    ---------
    Hu et al., Med. Image Anal. 49:1-13, 2018, doi 10.1016/j.media.2018.07.002.
    """

    multiple = 2**HALVINGS

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        widths = [channels * 2**number for number in range(HALVINGS, -1, -1)]
        self.encoder = ResidualEncoder(dimensions, channels)
        self.up = nn.ModuleList(UpBlock(dimensions, width) for width in widths[1:])
        self.heads = nn.ModuleList(FieldHead(dimensions, width) for width in widths)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the displacement of a pair."""
        pair = pad_to_multiple(torch.cat([fixed, moving], 1), self.multiple)
        *skips, features = self.encoder(pair)
        u = spread(self.heads[0](features), 2**HALVINGS, pair.shape[2:])
        for number, (up, skip) in enumerate(zip(self.up, reversed(skips), strict=True), start=1):
            features = up(features, skip)
            u = u + spread(self.heads[number](features), 2 ** (HALVINGS - number), pair.shape[2:])
        shape = fixed.shape[2:]
        return Prediction.of([DisplacementPart(crop(u, shape))], shape)


class ResidualEncoder(nn.Module):
    """A wide convolution of the pair, then a residual block at each of five resolutions."""

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        widths = [channels * 2**number for number in range(HALVINGS + 1)]
        entries = [
            NormalizedLayer(dimensions, 2, channels, kernel=FIRST_KERNEL),
            *(NormalizedLayer(dimensions, width // 2, width, stride=2) for width in widths[1:]),
        ]
        self.entries = nn.ModuleList(entries)
        self.blocks = nn.ModuleList(ResidualBlock(dimensions, width) for width in widths)

    def forward(self, pair: Tensor) -> list[Tensor]:
        """Return features of every resolution, finest first; voxel k of level i is at voxel k * 2 ** i."""
        found: list[Tensor] = []
        for entry, block in zip(self.entries, self.blocks, strict=True):
            found.append(block(entry(found[-1] if found else pair)))
        return found


class UpBlock(nn.Module):
    """Features on twice the grid: a transposed convolution, plus the interpolated features, plus the encoder's."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]
        self.up = up(2 * width, width, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.norm = nn.GroupNorm(1, width)
        self.block = ResidualBlock(dimensions, width)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Return features of the shape of `skip`."""
        learned = functional.leaky_relu(self.norm(self.up(features)), SLOPE)
        # Additive upsampling: neighboring channels are added, which leaves half as many.
        halves = features.unflatten(1, (-1, 2)).sum(2)
        return self.block(learned + spread(halves, 2, skip.shape[2:]) + skip)


class ResidualBlock(nn.Module):
    """Two normalized convolutions with a shortcut."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.first = NormalizedLayer(dimensions, width, width)
        self.second = unbiased(convolution(dimensions, width, width))
        self.norm = nn.GroupNorm(1, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return functional.leaky_relu(features + self.norm(self.second(self.first(features))), SLOPE)


class NormalizedLayer(nn.Sequential):
    """A convolution, normalization, a leaky rectifier.

    The authors normalize over batches of four; here each sample is normalized separately, for batches of one.
    """

    def __init__(self, dimensions: int, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        layer = unbiased(convolution(dimensions, inputs, outputs, kernel=kernel, stride=stride))
        super().__init__(layer, nn.GroupNorm(1, outputs), nn.LeakyReLU(SLOPE))


def spread(features: Tensor, stride: int, shape: Sequence[int]) -> Tensor:
    """Return features of strided layers interpolated on the grid of the image, their values kept."""
    return upsample_field(features, stride, shape) / stride


def unbiased(layer: nn.Module) -> nn.Module:
    """Return the convolution without its bias, which a normalization after it would remove."""
    layer.register_parameter("bias", None)
    return layer
