"""TransMorph: a Swin transformer encodes the pair, a convolutional decoder predicts the displacement."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as functional
from torch import nn

from ..errors import SettingsError
from ..losses.regularity import diffusion
from ..settings import option
from .base import LossContext, Method, MethodInfo, Prediction, RegistrationNetwork
from .blocks import crop, pad_to_multiple
from .heads import FieldHead
from .objectives import (
    checked_supervision,
    image_option,
    label_option,
    radius_option,
    smoothness_option,
    weighted_terms,
)
from .parts import DisplacementPart
from .pyramid import NormalizedBlock, resized

Tensor = torch.Tensor
PATCH = 4  # voxels per axis of a token
FORBIDDEN = -100.0  # attention between regions that are adjacent only by the cyclic shift of windows


@dataclass(frozen=True)
class TransMorphSettings:
    """Network and objective of TransMorph.

    The authors use 96 channels, depths 2-2-4-2, heads 4-4-8-8, windows of 5 x 6 x 7, 16 head channels, and drop 30 % of
    the residual branches at random, which small networks do not need.
    """

    channels: int = option(24, "Channels", tooltip="Channels of the first tokens; our choice.", minimum=1)
    depths: tuple[int, ...] = option(
        (2, 2, 2), "Blocks per level", tooltip="Windows of every other block are shifted; our choice.", minimum=1
    )
    heads: tuple[int, ...] = option((2, 4, 8), "Heads per level", tooltip="Our choice.", minimum=1, advanced=True)
    window: int = option(4, "Window", tooltip="Tokens per axis; our choice.", minimum=2, maximum=16, advanced=True)
    growth: int = option(
        4, "Hidden layer", tooltip="Multiple of the channels of a block.", minimum=1, maximum=8, advanced=True
    )
    head_channels: int = option(16, "Head channels", tooltip="At the image's resolution.", minimum=1, advanced=True)
    similarity: str = image_option()
    radius: int = radius_option()
    smoothness: float = smoothness_option()
    label_weight: float = label_option()


class TransMorph(Method):
    """The method, see `info`."""

    info: ClassVar[MethodInfo] = MethodInfo(
        name="transmorph",
        title="TransMorph",
        summary="Swin transformer over the pair with a convolutional decoder.",
        citation="Chen et al., Med. Image Anal. 82:102615, 2022, doi 10.1016/j.media.2022.102615, arXiv 2111.10480",
        settings=TransMorphSettings,
    )

    def network(self, settings: TransMorphSettings, *, dimensions: int = 3) -> RegistrationNetwork:
        """Return the network with random weights."""
        return SwinRegistration(settings, dimensions=dimensions)

    def loss(self, context: LossContext) -> Mapping[str, Tensor]:
        """Return the image, smoothness and label terms."""
        checked_supervision(context.supervision, self.info.supervision)
        return weighted_terms(context, diffusion(context.prediction.displacement))


class SwinRegistration(RegistrationNetwork):
    """Tokens of 4 voxels per axis -> levels of windowed attention -> decoder with skips from all resolutions.

    Reference
    ---------
    Chen et al., Med. Image Anal. 82:102615, 2022, doi 10.1016/j.media.2022.102615.
    """

    def __init__(self, settings: TransMorphSettings, *, dimensions: int = 3) -> None:
        super().__init__()
        depths, heads = settings.depths, settings.heads
        check(settings)
        self.multiple = PATCH * 2 ** (len(depths) - 1)
        widths = [settings.channels * 2**level for level in range(len(depths))]
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        self.embed = kind(2, widths[0], PATCH, stride=PATCH)
        self.embed_norm = nn.LayerNorm(widths[0])
        self.levels = nn.ModuleList(
            nn.ModuleList(
                SwinBlock(dimensions, width, count, settings.window, growth=settings.growth, shifted=number % 2 == 1)
                for number in range(depth)
            )
            for width, depth, count in zip(widths, depths, heads, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.merges = nn.ModuleList(PatchMerging(dimensions, width) for width in widths[:-1])
        half = max(widths[0] // 2, 1)
        self.half_entry = NormalizedBlock(dimensions, 2, half)
        self.full_entry = NormalizedBlock(dimensions, 2, settings.head_channels)
        skips = [*reversed(widths[:-1]), half, settings.head_channels]
        outs = [*reversed(widths[:-1]), half, settings.head_channels]
        self.up = nn.ModuleList()
        before = widths[-1]
        for skip, out in zip(skips, outs, strict=True):
            self.up.append(
                nn.Sequential(NormalizedBlock(dimensions, before + skip, out), NormalizedBlock(dimensions, out, out))
            )
            before = out
        self.head = FieldHead(dimensions, before)

    def forward(self, fixed: Tensor, moving: Tensor) -> Prediction:
        """Return the map of a pair."""
        shape = fixed.shape[2:]
        pair = pad_to_multiple(torch.cat([moving, fixed], 1), self.multiple)
        pool = {2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(shape)]
        skips = [self.full_entry(pair), self.half_entry(pool(pair, 2)), *self._tokens(pair)]
        hidden = skips.pop()
        for up in self.up:
            skip = skips.pop()
            hidden = up(torch.cat([resized(hidden, skip.shape[2:]), skip], 1))
        u = crop(self.head(hidden), shape).float()
        return Prediction.of([DisplacementPart(u)], shape)

    def _tokens(self, pair: Tensor) -> list[Tensor]:
        """Return the features (N, C, *grid) of all levels of the transformer, finest first."""
        tokens = self.embed_norm(self.embed(pair).movedim(1, -1))
        found = []
        for number, (blocks, norm) in enumerate(zip(self.levels, self.norms, strict=True)):
            if number:
                tokens = self.merges[number - 1](tokens)
            for block in cast("nn.ModuleList", blocks):
                tokens = block(tokens)
            found.append(norm(tokens).movedim(-1, 1))
        return found


class PatchMerging(nn.Module):
    """Downsample a grid of tokens: 2 ** D neighbors are concatenated and reduced to twice the channels."""

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2**dimensions * channels)
        self.reduce = nn.Linear(2**dimensions * channels, 2 * channels, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, *grid / 2, 2 C) of (N, *grid, C)."""
        starts = itertools.product((0, 1), repeat=tokens.ndim - 2)
        parts = [tokens[(slice(None), *(slice(start, None, 2) for start in corner))] for corner in starts]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class SwinBlock(nn.Module):
    """Attention within windows, then a hidden layer, both with pre-normalization and a shortcut.

    Parameters
    ----------
    dimensions, channels, heads : int
        2 or 3; channels of the tokens, a multiple of the heads.
    window : int
        Tokens per axis of a window; smaller grids are one window.
    growth : int
        Channels of the hidden layer, times `channels`.
    shifted : bool
        Whether the windows are shifted by half a window relative to the previous block.

    Reference
    ---------
    Liu et al., Swin Transformer, ICCV 2021, arXiv 2103.14030.
    """

    def __init__(
        self, dimensions: int, channels: int, heads: int, window: int, *, growth: int = 4, shifted: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.window, self.shifted = heads, window, shifted
        self.first_norm, self.second_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.queries = nn.Linear(channels, 3 * channels)
        self.exit = nn.Linear(channels, channels)
        self.hidden = nn.Sequential(
            nn.Linear(channels, growth * channels), nn.GELU(), nn.Linear(growth * channels, channels)
        )
        self.bias = nn.Parameter(0.02 * torch.randn((2 * window - 1) ** dimensions, heads))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (N, *grid, C) of the same shape."""
        tokens = tokens + self._attended(self.first_norm(tokens))
        return tokens + self.hidden(self.second_norm(tokens))

    def _attended(self, tokens: Tensor) -> Tensor:
        grid = tokens.shape[1:-1]
        sides = [min(self.window, n) for n in grid]
        shifts = [side // 2 if self.shifted and n > side else 0 for side, n in zip(sides, grid, strict=True)]
        margins = [-n % side for side, n in zip(sides, grid, strict=True)]
        axes = list(range(1, len(grid) + 1))
        padding = [0, 0, *(entry for margin in reversed(margins) for entry in (0, margin))]
        padded = torch.roll(functional.pad(tokens, padding), [-shift for shift in shifts], axes)
        mixed = self._attend(windows(padded, sides), sides, allowed(grid, sides, shifts, tokens.device))
        joined = torch.roll(joined_windows(mixed, sides, padded.shape), shifts, axes)
        return joined[(slice(None), *(slice(0, n) for n in grid))]

    def _attend(self, tokens: Tensor, sides: Sequence[int], mask: Tensor) -> Tensor:
        """Return the tokens (N, W, T, C) of W windows after attention within each window."""
        parts = self.queries(tokens).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-2, -3)
        near = self.bias[relative_positions(sides, self.window, tokens.device)].movedim(-1, 0)
        scores = parts[0] @ parts[1].transpose(-1, -2) / parts.shape[-1] ** 0.5 + near + mask[:, None]
        mixed = torch.softmax(scores, -1).to(parts.dtype) @ parts[2]
        return self.exit(mixed.transpose(-2, -3).flatten(-2))


def check(settings: TransMorphSettings) -> None:
    """Raise `SettingsError` when levels, heads and channels are inconsistent."""
    if not settings.depths or len(settings.depths) != len(settings.heads):
        raise SettingsError(
            f"TransMorph has blocks for {len(settings.depths)} and heads for {len(settings.heads)} levels.",
            hint="Use one number per level in 'depths' and 'heads'.",
        )
    for level, heads in enumerate(settings.heads):
        width = settings.channels * 2**level
        if width % heads:
            raise SettingsError(
                f"The {width} channels of level {level + 1} cannot be divided by {heads} heads.",
                hint="Use a multiple of the heads.",
            )


def windows(tokens: Tensor, sides: Sequence[int]) -> Tensor:
    """Return tokens (N, *grid, C) as (N, W, T, C): W windows of T tokens; the grid is a multiple of the sides."""
    for axis, side in reversed(list(enumerate(sides))):
        tokens = tokens.unflatten(axis + 1, (-1, side))
    count = len(sides)
    order = [0, *range(1, 2 * count, 2), *range(2, 2 * count + 1, 2), 2 * count + 1]
    return tokens.permute(order).flatten(count + 1, 2 * count).flatten(1, count)


def joined_windows(tokens: Tensor, sides: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return tokens (N, W, T, C) of windows on their grid, (N, *grid, C) of the given shape; undoes `windows`."""
    count = len(sides)
    counts = [n // side for n, side in zip(shape[1:-1], sides, strict=True)]
    split = tokens.unflatten(2, list(sides)).unflatten(1, counts)
    order = [0, *(entry for axis in range(count) for entry in (1 + axis, 1 + count + axis)), 2 * count + 1]
    return split.permute(order).reshape(tuple(shape))


def allowed(grid: Sequence[int], sides: Sequence[int], shifts: Sequence[int], device: torch.device) -> Tensor:
    """Return (W, T, T): 0 for tokens of a window that are neighbors, `FORBIDDEN` for others.

    Tokens are not neighbors when they are adjacent only by the cyclic shift, or when one of them is padding.
    """
    regions = torch.zeros([1, *[1] * len(grid), 1], device=device)
    for axis, (n, side, shift) in enumerate(zip(grid, sides, shifts, strict=True)):
        place = torch.arange(n + -n % side, device=device)
        region = torch.roll((place >= n).float(), -shift)
        if shift:
            region[-shift:] += 2
        sizes = [1] * (len(grid) + 2)
        sizes[axis + 1] = len(region)
        regions = regions * 4 + region.view(sizes)
    label = windows(regions, sides)[0, :, :, 0]
    return (label[:, :, None] != label[:, None, :]).float() * FORBIDDEN


def relative_positions(sides: Sequence[int], window: int, device: torch.device) -> Tensor:
    """Return (T, T) places in the table of biases: one per offset between two tokens of a window."""
    axes = [torch.arange(side, device=device) for side in sides]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
    offsets = points[:, None] - points[None] + window - 1
    place = torch.zeros_like(offsets[..., 0])
    for axis in range(len(sides)):
        place = place * (2 * window - 1) + offsets[..., axis]
    return place
