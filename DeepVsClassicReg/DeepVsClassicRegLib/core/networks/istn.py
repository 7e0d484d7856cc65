"""ISTN: an image transformer predicts a structure map of each image, a spatial transformer aligns the maps."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
import torch.nn.functional as functional
from torch import nn

from ..errors import SettingsError
from ..settings import option
from .affine import AffineBounds
from .base import ExtraMap, LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import SLOPE, convolution, crop, halved, pad_to_multiple
from .flow import warp
from .heads import AffineHead, SplineHead
from .objectives import checked_supervision, labels_of
from .parts import AffinePart, Part, SplinePart
from .unet import keep_variance

Tensor = torch.Tensor
EXPLICIT, IMPLICIT = "explicit", "implicit"
SPLINE, AFFINE = "spline", "affine"
HALVINGS = 3  # downsamplings of the spatial transformer, which define the distance of control points
FIXED_MAP, MOVING_MAP = "fixed map", "moving map"


@dataclass(frozen=True)
class ISTNSettings:
    """Networks, objective and refinement; unless stated otherwise the defaults are the authors'."""

    channels: int = option(
        4,
        "Channels of the image transformer",
        tooltip="Channels of its finest level, doubled at each coarser one.",
        minimum=2,
    )
    spatial_channels: tuple[int, ...] = option(
        (8, 16, 32),
        "Channels of the spatial transformer",
        tooltip="One entry per downsampling by 2.",
        minimum=1,
        advanced=True,
    )
    transform: str = option(
        SPLINE,
        "Transform",
        tooltip="A cubic B-spline with a control point every 8 voxels (the authors': 10 to 20), or an affine map.",
        choices=(SPLINE, AFFINE),
    )
    reach: float = option(
        0.2,
        "Largest displacement of a control point",
        tooltip="Fraction of half the image size.",
        minimum=0.01,
        maximum=1.0,
    )
    variant: str = option(
        EXPLICIT,
        "Variant",
        tooltip="explicit: the maps are compared with the labels; implicit: each map is compared with the labels of "
        "the other image through the transform, so that structures need not be exact.",
        choices=(EXPLICIT, IMPLICIT),
    )
    refinement_steps: int = option(
        20,
        "Steps of the refinement",
        tooltip="Gradient steps of the spatial transformer on the registered pair; the authors use 50.",
        minimum=0,
        maximum=1000,
    )
    refinement_rate: float = option(1e-3, "Learning rate of the refinement", minimum=1e-6, maximum=0.1, advanced=True)

    def __post_init__(self) -> None:
        if len(self.spatial_channels) != HALVINGS:
            raise SettingsError(f"The spatial transformer has {HALVINGS} levels, got {self.spatial_channels}.")


class ISTN(Method):
    """The method, see `info`.

    The authors': both networks and their widths, bounds of the affine map and of the control points, mean squared
    differences in all terms (explicit: maps with labels, and warped labels; implicit: each map with the other image's
    labels through the transform, and warped labels; without labels the images), refinement of the spatial transformer
    on the maps of the pair. The map is one image in which every structure has its own brightness. Our choice:
    control points from convolutions instead of a dense layer, so that images of any size fit; rectifiers that leak;
    labels are compared one by one; without labels the spatial transformer sees (unguided) maps and the refinement
    compares the images.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="istn",
        title="Image-and-spatial transformer network",
        summary="Predicts a structure map of each image and aligns the maps, with refinement on each pair.",
        citation="Lee et al., MICCAI 2019, doi 10.1007/978-3-030-32245-8_38, arXiv 1907.09200",
        settings=ISTNSettings,
        supervision=("labels", "none"),
    )

    def network(self, settings: ISTNSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return ImageAndSpatialTransformer(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the terms of the maps and of the warped labels; without labels that of the images."""
        checked_supervision(context.supervision, self.info.supervision)
        prediction, batch, settings = context.prediction, context.batch, context.settings
        u = prediction.displacement
        if context.supervision == "none":
            return {"image": functional.mse_loss(warp(batch.moving, u), batch.fixed)}
        fixed_labels, moving_labels = labels_of(batch)
        network = cast("ImageAndSpatialTransformer", context.network)
        network.draws_structures.fill_(True)
        drawn = prediction.features[FIXED_MAP], prediction.features[MOVING_MAP]
        wanted = structure_map(fixed_labels), structure_map(moving_labels)
        if settings.variant == EXPLICIT:
            maps = functional.mse_loss(drawn[0], wanted[0]) + functional.mse_loss(drawn[1], wanted[1])
        else:
            maps = functional.mse_loss(warp(drawn[1], u), wanted[0]) + functional.mse_loss(warp(wanted[1], u), drawn[0])
        return {"maps": maps, "labels": functional.mse_loss(warp(moving_labels, u), fixed_labels)}


def structure_map(labels: Tensor) -> Tensor:
    """Return one image (N, 1, *spatial) of K memberships (N, K, *spatial): label k of K has the brightness k / K."""
    levels = torch.arange(1, labels.shape[1] + 1, dtype=labels.dtype, device=labels.device) / labels.shape[1]
    return torch.einsum("nk...,k->n...", labels, levels)[:, None]


class ImageAndSpatialTransformer(RegistrationNetwork):
    """Each image -> its map; both maps -> a transform.

    The buffer `draws_structures` is set when the maps are trained with labels: only then are they shown to the user and
    compared in the refinement.

    Reference
    ---------
    Lee et al., MICCAI 2019, arXiv 1907.09200.
    """

    draws_structures: Tensor

    def __init__(self, settings: ISTNSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        self.adaptation_steps, self.refinement_rate = settings.refinement_steps, settings.refinement_rate
        self.image = ImageTransformer(dimensions, settings.channels)
        self.spatial = SpatialTransformer(dimensions, settings)
        self.register_buffer("draws_structures", torch.tensor(False))

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the transform of a pair; the maps are features, and extras when they show structures."""
        return self._predicted(self.spatial, *(self.image(image).float() for image in (fixed, moving)))

    def adapted(self, fixed: Tensor, moving: Tensor, steps: int, check_cancelled: Callable[[], None]) -> Prediction:
        """Return the transform after steps of the spatial transformer toward equal maps of this pair."""
        spatial = copy.deepcopy(self.spatial).requires_grad_(True)
        with torch.no_grad():
            fixed_map, moving_map = (self.image(image).float() for image in (fixed, moving))
        target, source = (fixed_map, moving_map) if bool(self.draws_structures) else (fixed, moving)
        optimizer = torch.optim.Adam(spatial.parameters(), lr=self.refinement_rate)
        for _ in range(steps):
            check_cancelled()
            u = self._predicted(spatial, fixed_map, moving_map).displacement
            loss = functional.mse_loss(warp(source, u), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return self._predicted(spatial, fixed_map, moving_map)

    def _predicted(self, spatial: nn.Module, fixed_map: Tensor, moving_map: Tensor) -> Prediction:
        shape = fixed_map.shape[2:]
        found = Prediction.of([spatial(fixed_map, moving_map)], shape)
        features = {FIXED_MAP: fixed_map, MOVING_MAP: moving_map}
        extras: dict[str, ExtraMap] = {}
        if bool(self.draws_structures) and not self.training:
            warped = warp(moving_map, found.displacement)
            extras["structures_fixed"] = ExtraMap(fixed_map, title="Structures in the fixed volume")
            extras["structures_warped"] = ExtraMap(warped, title="Structures in the warped volume")
        return replace(found, features=features, extras=extras)


class ImageTransformer(nn.Module):
    """A small U-Net of three levels whose skips are added: an image (N, 1, *spatial) -> a map of the same shape."""

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        down = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        up = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]
        half, one, two, four = channels // 2, channels, 2 * channels, 4 * channels

        def layer(inputs: int, outputs: int) -> nn.Module:
            return convolution(dimensions, inputs, outputs)

        self.entry = nn.ModuleList([layer(1, half), layer(half, one)])
        self.down = nn.ModuleList([down(one, two, 2, stride=2), down(two, four, 2, stride=2)])
        self.below = nn.ModuleList([layer(two, two), layer(four, four)])
        self.up = nn.ModuleList([up(four, two, 2, stride=2), up(two, one, 2, stride=2)])
        self.mix = layer(two, two)
        self.exit = nn.ModuleList([layer(one, half), layer(half, half)])
        self.last = layer(half, 1)
        self.apply(keep_variance)

    def forward(self, image: Tensor) -> Tensor:
        """Return the map of an image."""
        fine = rectified(self.entry, pad_to_multiple(image, 4))
        middle = rectified(self.below[:1], self.down[0](fine))
        coarse = rectified(self.below[1:], self.down[1](middle))
        middle = functional.leaky_relu(self.mix(self.up[0](coarse) + middle), SLOPE)
        fine = rectified(self.exit, self.up[1](middle) + fine)
        return crop(self.last(fine), image.shape[2:])


class SpatialTransformer(nn.Module):
    """Two maps -> convolutions of width 5 and pooling -> an affine map or the control points of a spline."""

    def __init__(self, dimensions: int, settings: ISTNSettings) -> None:
        super().__init__()
        widths = [2, *settings.spatial_channels]
        self.reach = settings.reach
        self.layers = nn.ModuleList(
            convolution(dimensions, inputs, outputs, kernel=5) for inputs, outputs in itertools.pairwise(widths)
        )
        self.layers.apply(keep_variance)
        # The authors' bounds; theirs of the translation is a part of half the image.
        bounds = AffineBounds(translation=0.05, rotation=math.pi / 4, log_scale=0.2, shear=math.pi / 4)
        spacing = 2**HALVINGS
        self.head: AffineHead | SplineHead
        if settings.transform == AFFINE:
            self.head = AffineHead(dimensions, widths[-1], bounds=bounds)
        else:
            self.head = SplineHead(dimensions, widths[-1], spacing=spacing, stride=spacing)

    def forward(self, fixed_map: Tensor, moving_map: Tensor) -> Part:
        """Return the transform of a pair of maps."""
        shape = fixed_map.shape[2:]
        features = pad_to_multiple(torch.cat([moving_map, fixed_map], 1), 2**HALVINGS)
        for layer in self.layers:
            features = halved(functional.leaky_relu(layer(features), SLOPE))
        if isinstance(self.head, AffineHead):
            matrix, translation = self.head(features)
            return AffinePart(matrix, translation * (max(shape) - 1))
        raw = self.head(features, shape)
        return SplinePart(self._bounded(raw, shape), self.head.spacing)

    def _bounded(self, raw: Tensor, shape: Sequence[int]) -> Tensor:
        """Return control points in voxels, each limited by its bound."""
        bounds = raw.new_tensor([self.reach * (size - 1) / 2 for size in shape]).view(1, -1, *[1] * len(shape))
        return bounds * torch.tanh(raw / bounds)


def rectified(layers: Sequence[nn.Module] | nn.ModuleList, features: Tensor) -> Tensor:
    """Return the features after layers, each followed by a leaky rectifier."""
    for layer in layers:
        features = functional.leaky_relu(layer(features), SLOPE)
    return features
