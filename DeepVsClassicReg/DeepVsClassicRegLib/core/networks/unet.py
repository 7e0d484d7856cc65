"""The U-Nets of VoxelMorph (nearest-neighbor decoder) and of SymNet, LKU-Net and ICNet (transposed convolutions)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn

from .blocks import SLOPE, ConvBlock, LargeKernelBlock, convolution, upsample

Tensor = torch.Tensor


class UNet(nn.Module):
    """Features of an image (or of a pair stacked as channels).

    Parameters
    ----------
    dimensions : int
        2 or 3.
    inputs : int
        Channels of the image.
    encoder : sequence of int
        Channels of each level; every level halves the size.
    decoder : sequence of int
        Channels of the decoder: one per upsampling by 2, the rest at the final size.
    half : bool
        Whether to end at half the size of the image, sufficient for smooth fields and 8 times faster in 3D.
    large_kernel : int
        0, or the width of a large-kernel block after every level of the encoder.

    Attributes
    ----------
    multiple : int
        Sizes must be multiples of this.
    outputs : int
        Channels of the features.
    stride : int
        Voxels of the image per voxel of the features.

    References
    ----------
    Balakrishnan et al., VoxelMorph, IEEE TMI 38:1788-1800, 2019, doi 10.1109/TMI.2019.2897538.
    Dalca et al., Med. Image Anal. 57:226-236, 2019, doi 10.1016/j.media.2019.07.006.
    """

    def __init__(
        self,
        dimensions: int,
        inputs: int = 2,
        *,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32, 32, 16, 16),
        half: bool = True,
        large_kernel: int = 0,
    ) -> None:
        super().__init__()
        self.multiple = 2 ** len(encoder)
        self.stride = 2 if half else 1
        doublings = len(encoder) - int(half)
        skips = [inputs, *encoder]
        self.down = nn.ModuleList()
        for before, after in zip(skips[:-1], encoder, strict=True):
            level: list[nn.Module] = [ConvBlock(dimensions, before, after, stride=2)]
            if large_kernel:
                level.append(LargeKernelBlock(dimensions, after, kernel=large_kernel))
            self.down.append(nn.Sequential(*level))
        channels = skips.pop()
        self.up = nn.ModuleList()
        for after in decoder[:doublings]:
            self.up.append(ConvBlock(dimensions, channels, after))
            channels = after + skips.pop()
        self.rest = nn.Sequential()
        for after in decoder[doublings:]:
            self.rest.append(ConvBlock(dimensions, channels, after))
            channels = after
        self.outputs = channels

    def forward(self, image: Tensor) -> Tensor:
        """Return features, (N, outputs, *spatial / stride), of an image whose sizes are multiples of `multiple`."""
        skips = [image]
        for level in self.down:
            skips.append(level(skips[-1]))
        features = skips.pop()
        for level in self.up:
            features = torch.cat([upsample(level(features)), skips.pop()], 1)
        return self.rest(features)


class TransposedUNet(nn.Module):
    """Features of a pair at full resolution: four downsamplings, and a decoder with transposed convolutions.

    Parameters
    ----------
    dimensions, inputs : int
        2 or 3; channels of the image.
    start : int
        Channels at the image's resolution; 2, 4 and 8 times as many after each of the first three halvings.
    deepest : int
        After the fourth halving as many times `start`; the block there brings them to 8 times.
    block : callable, optional
        Makes what follows each strided convolution, from channels in and channels out; a convolution of width 3 and a
        rectifier when not given.
    activation : callable
        Makes the rectifiers, from the number of channels.

    Attributes
    ----------
    multiple : int
        Sizes must be multiples of this.
    outputs : int
        Channels of the features.

    References
    ----------
    Zhang, Inverse-consistent deep networks, arXiv 1809.03443.
    Mok and Chung, CVPR 2020, arXiv 2003.09514. Jia et al., MLMI 2022, arXiv 2208.04939.
    """

    multiple = 16

    def __init__(
        self,
        dimensions: int,
        inputs: int = 2,
        *,
        start: int = 8,
        deepest: int = 16,
        block: Callable[[int, int], nn.Module] | None = None,
        activation: Callable[[int], nn.Module] = lambda channels: nn.LeakyReLU(SLOPE),
    ) -> None:
        super().__init__()
        transposed = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]

        def layer(before: int, after: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(convolution(dimensions, before, after, stride=stride), activation(after))

        deep = block or layer
        self.entry = nn.Sequential(layer(inputs, start), layer(start, start))
        self.down = nn.ModuleList()
        before = 1
        for after, out in ((2, 2), (4, 4), (8, 8), (deepest, 8)):
            down = layer(before * start, after * start, 2)
            self.down.append(nn.Sequential(down, deep(after * start, out * start)))
            before = out
        self.up, self.mix = nn.ModuleList(), nn.ModuleList()
        for below, skip, middle, out in ((8, 8, 8, 4), (4, 4, 4, 2), (2, 2, 4, 2), (2, 1, 2, 2)):
            up = transposed(below * start, below * start, 2, stride=2)
            self.up.append(nn.Sequential(up, activation(below * start)))
            self.mix.append(
                nn.Sequential(layer((below + skip) * start, middle * start), layer(middle * start, out * start))
            )
        self.outputs = 2 * start
        levels = [cast("nn.Sequential", level) for level in self.down]
        for part in (self.entry, *self.up, *self.mix, *(level[0] for level in levels)):
            part.apply(keep_variance)
        if block is None:
            for level in levels:
                level[1].apply(keep_variance)

    def forward(self, image: Tensor) -> Tensor:
        """Return features (N, outputs, *spatial) of an image whose sizes are multiples of `multiple`."""
        skips = [self.entry(image)]
        for level in self.down:
            skips.append(level(skips[-1]))
        features = skips.pop()
        for up, mix in zip(self.up, self.mix, strict=True):
            features = mix(torch.cat([up(features), skips.pop()], 1))
        return features


def keep_variance(layer: nn.Module) -> None:
    """Initialize the weights of a convolution so that a rectifier after it keeps the signal variance (He et al., 2015).

    torch's default reduces it at every layer, so that a deep network without normalization trains slowly at first.
    """
    if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        inputs = layer.weight[0].numel()
        if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
            inputs = layer.in_channels  # kernel and stride are equal: every voxel gets one tap
        with torch.no_grad():
            layer.weight.normal_(0.0, (2 / ((1 + SLOPE**2) * inputs)) ** 0.5)
            if layer.bias is not None:
                layer.bias.zero_()
