"""A network that scores patches of a fixed and a warped image, for all patches of a volume in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as functional
from torch import nn

from ..errors import RegistrationError
from ..settings import option
from .base import Batch, LossContext, PatchScores, RegistrationNetwork
from .blocks import MEAN_POOL, ConvBlock, convolution, crop, pad_to_multiple
from .flow import LINEAR

Tensor = torch.Tensor
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
HEAD = 5
EDGE = 0.03  # intensity gradient of an edge, per voxel; intensities are 0 to 1


@dataclass(frozen=True)
class PatchSettings:
    """Architecture of the network; by default patches have 32 voxels per axis."""

    widths: tuple[int, ...] = option(
        (16, 32),
        "Channels of the sequences",
        tooltip="Each sequence is two convolutions and a pooling, which halves the resolution.",
        minimum=1,
        maximum=512,
        advanced=True,
    )
    inputs: str = option(
        "edges",
        "Inputs",
        tooltip="images: both images, as in the papers; edges: also where each has edges, and where those are parallel "
        "(normalized gradients), which is the same in any contrast: our choice, learns from far fewer steps.",
        choices=("edges", "images"),
    )
    hidden: int = option(64, "Width of the last layers", tooltip="Our choice.", minimum=1, maximum=1024, advanced=True)


class PatchNetwork(RegistrationNetwork):
    """Two images as channels, sequences of (convolution, convolution, pooling), then three fully connected layers.

    The fully connected layers are convolutions, so that a volume takes little more time than one patch of its size;
    there is one output every `stride` voxels. No layer has a larger receptive field than a patch or depends on the
    voxel size.

    Parameters
    ----------
    settings : PatchSettings
        Architecture of the network.
    dimensions : int
        2 or 3.
    outputs : int
        Outputs per patch.
    lengths : bool
        Whether the outputs are lengths: not negative and not decreasing.

    References
    ----------
    Eppenhof and Pluim, J. Med. Imaging 5(2):024003, 2018, doi 10.1117/1.JMI.5.2.024003; normalized gradients: Haber and
    Modersitzki, MICCAI 2006, doi 10.1007/11866763_89.
    """

    scale_free = True

    def __init__(
        self, settings: PatchSettings, *, dimensions: int = 3, outputs: int = 1, lengths: bool = False
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(settings.widths)
        self.multiple = self.stride
        self.lengths, self.edges = lengths, settings.inputs == "edges"
        layers: list[nn.Module] = []
        inputs = 5 if self.edges else 2
        for width in settings.widths:
            layers += [
                _block(dimensions, inputs, width),
                _block(dimensions, width, width),
                MAX_POOL[dimensions](2),
            ]
            inputs = width
        self.sequences = nn.Sequential(*layers)
        half = max(1, settings.hidden // 2)
        self.head = nn.Sequential(
            _block(dimensions, inputs, settings.hidden, kernel=HEAD),
            ConvBlock(dimensions, settings.hidden, half, kernel=1),
            convolution(dimensions, half, outputs, kernel=1),
        )

    def forward(self, fixed: Tensor, moving: Tensor) -> PatchScores:
        """Return the scores of a fixed and a warped image, (N, 1, *spatial) both."""
        channels = [fixed, moving, *(edge_channels(fixed, moving) if self.edges else ())]
        values: Tensor = self.head(self.sequences(pad_to_multiple(torch.cat(channels, 1), self.stride)))
        if self.lengths:
            values = functional.softplus(values.float()).cumsum(1)
        return PatchScores(values, self.stride)


def _block(dimensions: int, inputs: int, outputs: int, *, kernel: int = 3) -> nn.Sequential:
    """Return a convolution, a batch normalization and a leaky rectifier."""
    block = ConvBlock(dimensions, inputs, outputs, kernel=kernel)
    return block.insert(1, BATCH_NORM[dimensions](outputs))


def edge_channels(fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the edges of the fixed and the warped image, and where they are parallel, (N, 1, *spatial) each.

    All are 0 to 1, independent of contrast, and differentiable everywhere.
    """
    here, there = slopes(fixed), slopes(moving)
    both = (here * there).sum(1, keepdim=True).square()
    here, there = (slope.square().sum(1, keepdim=True) for slope in (here, there))
    floor = EDGE**2
    return here / (here + floor), there / (there + floor), both / ((here + floor) * (there + floor))


def slopes(image: Tensor) -> Tensor:
    """Return the central differences of an image (N, 1, *spatial) along its axes, (N, D, *spatial); 0 at the border."""
    return torch.cat([_slope(image, axis) for axis in range(2, image.ndim)], 1)


def _slope(image: Tensor, axis: int) -> Tensor:
    count = image.shape[axis]
    inner = (image.narrow(axis, 2, count - 2) - image.narrow(axis, 0, count - 2)) / 2
    margin = [0, 0] * (image.ndim - 1 - axis) + [1, 1]
    return functional.pad(inner, margin)


def at_voxels(scores: PatchScores, shape: Sequence[int]) -> Tensor:
    """Return the scores interpolated linearly at every voxel of an image of this shape, (N, C, *shape)."""
    values = scores.values
    found = functional.interpolate(
        values, scale_factor=scores.stride, mode=LINEAR[values.ndim - 2], align_corners=False
    )
    return crop(found, shape)


def patch_means(image: Tensor, stride: int) -> Tensor:
    """Return the mean of an image over the `stride` voxels at the center of each patch, (N, C, *coarse)."""
    return MEAN_POOL[image.ndim - 2](pad_to_multiple(image, stride), stride)


def patch_weights(fixed: Tensor, stride: int) -> Tensor:
    """Return 1 for patches with foreground of the fixed image at their center, else 0; (N, 1, *coarse).

    The alignment of a background that is exactly 0 is not defined.
    """
    return (patch_means((fixed != 0).float(), stride) > 0).float()


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of values (N, C, *coarse) of each sample over its weights (N, 1, *coarse), (N, C)."""
    axes = tuple(range(2, values.ndim))
    return (values * weights).sum(axes) / weights.sum(axes).clamp(min=1e-6)


def dissimilarity(network: RegistrationNetwork, fixed: Tensor, warped: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return what a metric says of a fixed and a warped image, lower is better; differentiable by the warped image.

    Parameters
    ----------
    network : PatchNetwork
        Of a model of the kind 'metric', or 'error' (its middle quantile).
    fixed, warped : (N, 1, *spatial) tensors
        Intensities, 0 to 1.
    weight : (N, 1, *spatial) tensor, optional
        Where it is measured; everywhere the fixed image is not exactly 0 when not given.
    """
    scores: PatchScores = network(fixed, warped)
    middle = (scores.values.shape[1] - 1) // 2
    where = patch_weights(fixed, scores.stride) if weight is None else patch_means(weight, scores.stride)
    return weighted_mean(scores.values[:, middle : middle + 1], where).mean()


def scores_of(context: LossContext) -> PatchScores:
    """Return the scores of a context."""
    return cast("PatchScores", context.prediction)


def known_error(batch: Batch) -> Tensor:
    """Return the error to learn, (N, 1, *spatial) voxels; `RegistrationError` when the batch contains none."""
    if batch.error is None:
        raise RegistrationError(
            "Training with supervision 'error' needs moving images warped with a known error.",
            hint="Use generated pairs (shapes), aligned pairs, or --teacher ENGINE for others.",
        )
    return batch.error
