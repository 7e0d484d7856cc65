"""A coarse-to-fine network that applies one small matching unit to every scale of an image pyramid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import nn

from .base import Level, Prediction, RegistrationNetwork
from .blocks import MEAN_POOL, SLOPE, convolution, crop, pad_to_multiple, sixteen_bits, small_start
from .flow import LINEAR, compose, integrate, warp

Tensor = torch.Tensor
SMALLEST = 8  # voxels along the shortest axis of the coarsest image
CACHED = 100_000  # numbers of a slab
REACH = 1.5  # largest displacement of a unit in voxels, slightly more than the range of the correlation


class NormalizedBlock(nn.Module):
    """A convolution, normalization of every channel over the image, a leaky rectifier."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, *, down: bool = False) -> None:
        super().__init__()
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        # An even kernel puts the coarse voxel in the middle of the fine ones, as average pooling does.
        kernel, stride = (4, 2) if down else (3, 1)
        self.layer = kind(inputs, outputs, kernel, stride, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return features on the same or half the grid."""
        return functional.leaky_relu(normalized(self.layer(image)), SLOPE, inplace=not torch.is_grad_enabled())


class FeatureUNet(nn.Module):
    """Features of one image at half its resolution, every channel with mean 0 and variance 1."""

    def __init__(self, dimensions: int, channels: tuple[int, int, int, int], outputs: int) -> None:
        super().__init__()
        first, half, quarter, eighth = channels

        def level(inputs: int, width: int) -> nn.Module:
            return nn.Sequential(
                NormalizedBlock(dimensions, inputs, width, down=True), NormalizedBlock(dimensions, width, width)
            )

        self.entry = NormalizedBlock(dimensions, 1, first)
        self.down = nn.ModuleList([level(first, half), level(half, quarter), level(quarter, eighth)])
        self.lateral = nn.ModuleList(
            [convolution(dimensions, eighth, quarter, kernel=1), convolution(dimensions, quarter, half, kernel=1)]
        )
        self.up = nn.ModuleList([NormalizedBlock(dimensions, width, width) for width in (quarter, half)])
        self.exit = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions](half, outputs, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (N, outputs, *spatial / 2) features of an (N, 1, *spatial) image of even size."""
        skips = [self.entry(image)]
        for level in self.down:
            skips.append(level(skips[-1]))
        features = skips.pop()
        for lateral, up in zip(self.lateral, self.up, strict=True):
            skip = skips.pop()
            features = up(skip + resized(lateral(features), skip.shape[2:]))
        return normalized(self.exit(features))


class MatchingUnit(nn.Module):
    """The velocity that improves a match, from the features of both images and their local correlations."""

    def __init__(self, dimensions: int, features: int, width: int) -> None:
        super().__init__()
        offsets = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=dimensions)))
        self.register_buffer("offsets", offsets, persistent=False)
        self.sharpness = nn.Parameter(torch.tensor(6.0))
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        inputs = 2 * features + len(offsets) + dimensions
        self.entry = kind(inputs, width, 1, bias=False)
        self.hidden = kind(width, width, 1, bias=False)
        self.exit = small_start(kind(width, dimensions, 3, padding=1), scale=1e-4)

    def forward(self, fixed: Tensor, warped: Tensor) -> Tensor:
        """Return the velocity in voxels of the features' grid."""
        correlation = local_correlation(fixed, warped)
        chance = torch.softmax(correlation * self.sharpness, 1)
        best = torch.einsum("nk...,kd->nd...", chance, self.offsets.to(chance.dtype))
        hidden = torch.cat([fixed, warped, correlation, best], 1)
        for layer in (self.entry, self.hidden):
            hidden = functional.leaky_relu(normalized(layer(hidden)), SLOPE, inplace=not torch.is_grad_enabled())
        return REACH * torch.tanh(self.exit(hidden) / REACH)


class PyramidNetwork(RegistrationNetwork):
    """Features, correlation, velocity, the same weights at every scale; both directions share the features.

    Every unit receives the residual of the previous units (with separate gradients), so that each application is a
    separate training example: the network needs few steps, and can run at other resolutions and with more levels or
    iterations than in training. In evaluation mode each velocity is half the difference of both directions (Greer et
    al., ICCV 2023, arXiv 2305.00087, use such symmetry as a principle), so that equal images are not deformed.

    Parameters
    ----------
    dimensions : int
        2 or 3.
    channels : tuple of 4 int
        Of the feature network at the image's resolution and its halvings.
    features, width : int
        Features per voxel; channels of the matching unit.
    levels : int
        Scales of the image pyramid: the images, half their resolution, and so on; fields live on half of that.
        Small images get fewer.
    iterations : int
        Applications of the unit at each scale except the finest, which has `last_iterations`.
    last_iterations : int
        Applications at the finest scale.
    squarings : int
        Of the integration of each velocity.

    References
    ----------
    The parts are those of Dual-PRNet (Hu et al., MICCAI 2019, arXiv 1909.11966; correlation: Kang et al., Med. Image
    Anal. 2022) and of PWC-Net (Sun et al., CVPR 2018, arXiv 1709.02371); sharing them among scales follows SPyNet's
    and recursive networks' idea.
    """

    scale_free = True

    def __init__(
        self,
        *,
        dimensions: int = 3,
        channels: tuple[int, int, int, int] = (8, 24, 32, 48),
        features: int = 16,
        width: int = 32,
        levels: int = 3,
        iterations: int = 2,
        last_iterations: int = 1,
        squarings: int = 4,
    ) -> None:
        super().__init__()
        self.dimensions, self.levels, self.squarings = dimensions, levels, squarings
        self.iterations, self.last_iterations = iterations, last_iterations
        self.extract = FeatureUNet(dimensions, channels, features)
        self.match = MatchingUnit(dimensions, features, width)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the prediction; both directions in training mode."""
        count, shape = len(fixed), tuple(fixed.shape[2:])
        levels = min(self.levels, max(1, int(math.log2(max(min(shape) / SMALLEST, 1))) + 1))
        images = pad_to_multiple(torch.cat([fixed, moving]), 2**levels)
        found = self._levels(images, count, levels, both=self.training)
        finest = found[-1]
        full = crop(refined(finest.displacement, images.shape[2:]), shape)
        forward = Prediction(full[:count], levels=tuple(part(level, 0, count) for level in found))
        if not self.training:
            return forward
        backward = Prediction(full[count:], levels=tuple(part(level, count, 2 * count) for level in found))
        return Prediction(forward.displacement, levels=forward.levels, backward=backward)

    def _levels(self, images: Tensor, count: int, levels: int, *, both: bool) -> list[Level]:
        found: list[Level] = []
        for scale in reversed(range(levels)):
            features = self._features(MEAN_POOL[self.dimensions](images, 2**scale) if scale else images)
            swapped = torch.cat([features[count:], features[:count]])
            fixed, moving = (features, swapped) if both else (features[:count], features[count:])
            shape = features.shape[2:]
            u = refined(found[-1].displacement, shape) if found else fixed.new_zeros((len(fixed), len(shape), *shape))
            for _ in range(self.iterations if scale else self.last_iterations):
                u = u.detach()
                velocity = self._velocity(fixed, warp(moving, u))
                u = compose(integrate(velocity, steps=self.squarings), u)
                found.append(Level(velocity, u, 2 ** (scale + 1)))
        return found

    def _features(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return self.extract(images)
        # One after the other halves the memory; 16 bits change no Dice by more than 0.0003 (Testing/bench/MODELS.md).
        with sixteen_bits(images.device):
            return torch.cat([self.extract(image[None]) for image in images]).float()

    def _velocity(self, fixed: Tensor, warped: Tensor) -> Tensor:
        velocity: Tensor = self.match(fixed, warped)
        if self.training:
            return velocity
        # Half the difference of both directions: nothing moves when both images are the same.
        other: Tensor = self.match(warped, fixed)
        return (velocity - other) / 2


def local_correlation(fixed: Tensor, moving: Tensor) -> Tensor:
    """Return the mean product of fixed features and moving features one voxel around.

    Parameters
    ----------
    fixed, moving : (N, C, *spatial) tensors

    Returns
    -------
    (N, 3**D, *spatial) tensor
        Offsets in the order of `itertools.product((-1, 0, 1), repeat=D)`.
    """
    shape = fixed.shape[2:]
    around = functional.pad(moving, [1] * (2 * len(shape)), mode="replicate")
    offsets = list(itertools.product(range(3), repeat=len(shape)))
    if torch.is_grad_enabled() or fixed.device.type != "cpu":
        return torch.cat([(fixed * _window(around, offset, shape)).mean(1, keepdim=True) for offset in offsets], 1)
    # Without gradients computed in slabs, whose products fit into the processor's cache: a third of the time.
    found = fixed.new_empty((len(fixed), len(offsets), *shape))
    depth = max(1, CACHED // (fixed[:, :, 0].numel()))
    for first in range(0, shape[0], depth):
        slab = fixed[:, :, first : first + depth]
        product, part = torch.empty_like(slab), around[:, :, first : first + depth + 2]
        for number, offset in enumerate(offsets):
            torch.mul(slab, _window(part, offset, slab.shape[2:]), out=product)
            torch.mean(product, 1, out=found[:, number, first : first + depth])
    return found


def _window(around: Tensor, offset: Sequence[int], shape: Sequence[int]) -> Tensor:
    return around[(slice(None), slice(None), *(slice(o, o + n) for o, n in zip(offset, shape, strict=True)))]


def normalized(features: Tensor) -> Tensor:
    """Return the features with mean 0 and variance 1 per channel over the image."""
    if features[0, 0].numel() == 1:
        return features * 0
    # One channel per group is instance normalization; torch computes it four times as fast under this name.
    return functional.group_norm(features, features.shape[1], eps=1e-5)


def resized(image: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Return values on a grid of other voxels over the same box (voxel edges coincide)."""
    return functional.interpolate(image, size=tuple(shape), mode=LINEAR[len(shape)], align_corners=False)


def refined(u: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Return a displacement on a finer grid over the same box, in voxels of that grid."""
    if u.shape[2:] == torch.Size(shape):
        return u
    gains = [new / old for new, old in zip(shape, u.shape[2:], strict=True)]
    return resized(u, shape) * u.new_tensor(gains).view(1, -1, *[1] * len(gains))


def part(level: Level, start: int, stop: int) -> Level:
    """Return some samples of a level."""
    return Level(level.residual[start:stop], level.displacement[start:stop], level.stride)
