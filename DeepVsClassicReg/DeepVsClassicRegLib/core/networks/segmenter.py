"""A segmentation network: memberships of structures from one image, trained on label maps in random contrasts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, cast

import torch
import torch.nn.functional as functional
from torch import nn

from ..errors import RegistrationError, SettingsError
from ..settings import option
from .base import Batch, LossContext, Method, MethodInfo, RegistrationNetwork, SegmentationScores
from .blocks import SLOPE, convolution, crop, pad_to_multiple, upsample
from .objectives import checked_supervision

Tensor = torch.Tensor
Settings = TypeVar("Settings")
GROUP = 8  # channels that are normalized together
FEWEST = 20  # voxels of a structure in an image, below which its Dice is not measured
STEP = 2  # the loss is computed at every other voxel along each axis, at a random offset


def widths_option() -> Any:
    """Return the setting `widths` of the segmentation network."""
    return option(
        (24, 32, 64, 96),
        "Channels of the levels",
        tooltip="Of the segmentation; its first level has half the resolution of the image, each further one half of "
        "that. Our choice.",
        minimum=GROUP,
        maximum=512,
        advanced=True,
    )


@dataclass(frozen=True)
class SegmenterSettings:
    """Architecture and loss of the segmentation network."""

    structures: tuple[int, ...] = option(
        (), "Labels of the structures", tooltip="Those of the training data when empty.", minimum=1, advanced=True
    )
    widths: tuple[int, ...] = widths_option()
    dice_weight: float = option(1.0, "Weight of the Dice term", minimum=0)
    entropy_weight: float = option(1.0, "Weight of the cross-entropy", minimum=0)

    def __post_init__(self) -> None:
        if any(width % GROUP for width in self.widths):
            raise SettingsError(f"The channels of every level must be multiples of {GROUP}, got {self.widths}.")


class SegmentationNetwork(RegistrationNetwork):
    """A U-Net whose first convolution halves the resolution and whose last one doubles it (sub-pixel convolution).

    Nothing is computed at full resolution, which makes it several times faster on a CPU.

    Parameters
    ----------
    settings : SegmenterSettings
        With the labels of the structures.
    dimensions : int
        2 or 3.

    References
    ----------
    Ronneberger et al., MICCAI 2015, arXiv 1505.04597; Shi et al. (sub-pixel convolution), CVPR 2016, arXiv 1609.05158.
    """

    def __init__(self, settings: SegmenterSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        if not settings.structures:
            raise SettingsError(
                "A segmentation network needs the labels of its structures.",
                hint="Train it with labels, or give 'structures'.",
            )
        self.multiple = 2 ** len(settings.widths)
        self.classes, self.dimensions = len(settings.structures) + 1, dimensions
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = 1
        for width in settings.widths:
            self.down.append(
                nn.Sequential(_block(dimensions, before, width, stride=2), _block(dimensions, width, width))
            )
            before = width
        for skip in reversed(settings.widths[:-1]):
            self.up.append(_block(dimensions, before + skip, skip))
            before = skip
        self.head = convolution(dimensions, before, self.classes * 2**dimensions, kernel=1)

    def forward(self, image: Tensor, other: Tensor | None = None) -> SegmentationScores:
        """Return the scores of images (N, 1, *spatial); those of `other` follow them along the first axis."""
        images = image if other is None else torch.cat([image, other])
        features: Tensor = pad_to_multiple(images, self.multiple)
        skips = []
        for level in self.down:
            features = level(features)
            skips.append(features)
        features = skips.pop()
        for level in self.up:
            features = level(torch.cat([upsample(features), skips.pop()], 1))
        return SegmentationScores(crop(_spread(self.head(features), self.classes), images.shape[2:]))


def _block(dimensions: int, inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    """Return a convolution, a group normalization and a leaky rectifier."""
    layer = convolution(dimensions, inputs, outputs, stride=stride)
    return nn.Sequential(layer, nn.GroupNorm(outputs // GROUP, outputs), nn.LeakyReLU(SLOPE))


def _spread(values: Tensor, channels: int) -> Tensor:
    """Return (N, channels * 2^D, *coarse) as (N, channels, *fine), twice the size along each axis."""
    coarse = values.shape[2:]
    dimensions = len(coarse)
    parts = values.reshape(len(values), channels, *[2] * dimensions, *coarse)
    order = [place for axis in range(dimensions) for place in (2 + dimensions + axis, 2 + axis)]
    return parts.permute(0, 1, *order).reshape(len(values), channels, *[2 * size for size in coarse])


class Segmenter(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="segmenter",
        title="Segmentation of structures",
        summary="Segments one image; trained on images generated from label maps it needs no particular contrast.",
        citation="Billot et al., SynthSeg, Med. Image Anal. 86:102789, 2023, doi 10.1016/j.media.2023.102789",
        settings=SegmenterSettings,
        supervision=("labels",),
        kind="segmentation",
        partial_labels=True,
    )

    def network(self, settings: SegmenterSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the module with random weights."""
        return SegmentationNetwork(settings, dimensions=dimensions)

    def fitted(self, settings: SegmenterSettings, labels: Mapping[int, str]) -> SegmenterSettings:
        """Return the settings with the labels of the training data."""
        return fitted_structures(settings, labels)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return 1 minus the mean soft Dice of the structures in the batch, and the cross-entropy."""
        checked_supervision(context.supervision, self.info.supervision)
        settings = context.settings
        terms = segmentation_terms(*labeled(cast("Any", context.prediction).values, context.batch))
        return {
            "dice_term": settings.dice_weight * terms["dice_term"],
            "entropy": settings.entropy_weight * terms["entropy"],
        }

    @torch.no_grad()
    def measures(self, context: LossContext) -> Mapping[str, float]:
        """Return the mean Dice of the structures that the images show."""
        return mean_structure_dice(*labeled(cast("Any", context.prediction).values, context.batch), "dice")


def fitted_structures(settings: Settings, labels: Mapping[int, str]) -> Settings:
    """Return the settings of a method, a dataclass with `structures`, with the labels of the training data.

    Raises
    ------
    SettingsError
        When the data have no labels, or others than the network.
    """
    if not labels:
        raise SettingsError(
            "The training data have no named structures, which a segmentation network needs.",
            hint="Use labels:FOLDER, or a dataset with label maps.",
        )
    known = cast("Any", settings).structures
    if known and tuple(known) != tuple(labels):
        raise SettingsError(f"The network has the structures {known}, the data {tuple(labels)}.")
    return cast("Settings", dataclasses.replace(cast("Any", settings), structures=tuple(labels)))


def segmentation_terms(scores: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Return 'dice_term', 1 minus the mean soft Dice of the structures in the batch, and 'entropy', the cross-entropy.

    Both are computed on a random coarse grid of the voxels, which takes an eighth of the time in 3D.

    Parameters
    ----------
    scores, truth : tensors
        As `labeled` returns them.
    """
    place = _coarse_grid(scores.ndim - 2)
    scores, truth = scores[place], with_background(truth[place])
    logarithms = functional.log_softmax(scores, 1)
    axes = (0, *range(2, scores.ndim))
    shares = logarithms.exp()
    both, whole = (shares * truth).sum(axes)[1:], (shares + truth).sum(axes)[1:]
    there = (truth.sum(axes)[1:] > 0).to(whole.dtype)
    dice = ((2 * both + 1) / (whole + 1) * there).sum() / there.sum().clamp(min=1)
    return {"dice_term": 1 - dice, "entropy": -(truth * logarithms).sum(1).mean()}


@torch.no_grad()
def mean_structure_dice(scores: Tensor, truth: Tensor, name: str) -> dict[str, float]:
    """Return the mean Dice of the structures that the images show, by this name; nothing when they show none."""
    found, known = scores.argmax(1), with_background(truth).argmax(1)
    values = [
        value
        for one, other in zip(found, known, strict=True)
        for value in structure_dice(one, other, scores.shape[1] - 1).values()
    ]
    return {name: sum(values) / len(values)} if values else {}


def labeled(scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the scores (M, K + 1, *spatial) and the memberships (M, K, *spatial) of the images that have labels.

    Parameters
    ----------
    scores : (2 N, K + 1, *spatial) tensor
        Those of the fixed and then of the moving images.
    batch : Batch
        The pairs.

    Raises
    ------
    RegistrationError
        When no image has labels, or their number is not that of the network's structures.
    """
    sides = scores.split(len(batch.fixed))
    known = [(side, labels) for side, labels in zip(sides, _labels(batch), strict=True) if labels is not None]
    if not known:
        raise RegistrationError("Training of a segmentation needs labels of the images.", hint="Use data with labels.")
    values, truth = (torch.cat(entries) for entries in zip(*known, strict=True))
    if truth.shape[1] != values.shape[1] - 1:
        raise RegistrationError(
            f"The batch has {truth.shape[1]} structures, the network {values.shape[1] - 1}.",
            hint="Train on all labels (no --labels-per-step, dice_labels=0), without shapes.",
        )
    return values, truth


def with_background(memberships: Tensor) -> Tensor:
    """Return memberships (N, K, *spatial) with the remaining share of the background in front."""
    return torch.cat([(1 - memberships.sum(1, keepdim=True)).clamp(min=0), memberships], 1)


def structure_dice(found: Tensor, known: Tensor, count: int) -> dict[int, float]:
    """Return the Dice of the classes 1..count of two label images, for those with some voxels in `known`."""
    both = torch.bincount(known[found == known].reshape(-1), minlength=count + 1)
    one, other = (torch.bincount(image.reshape(-1), minlength=count + 1) for image in (found, known))
    return {
        number: float(2 * both[number] / (one[number] + other[number]))
        for number in range(1, count + 1)
        if other[number] >= FEWEST
    }


def _labels(batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    return batch.fixed_labels, batch.moving_labels


def _coarse_grid(dimensions: int) -> tuple[Any, ...]:
    offsets = torch.randint(STEP, (dimensions,)).tolist()
    return (slice(None), slice(None), *(slice(offset, None, STEP) for offset in offsets))
