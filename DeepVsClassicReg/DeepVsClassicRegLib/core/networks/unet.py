"""The U-Net of VoxelMorph: strided encoder, nearest-neighbor decoder with skips, full or half resolution output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .blocks import ConvBlock, LargeKernelBlock, upsample

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
        Channels on the way back: one per doubling of the size, the rest at the final size.
    half : bool
        Whether to end at half the size of the image, which is where smooth fields live and 8 times cheaper in 3D.
    large_kernel : int
        0, or the width of a large-kernel block after every level of the encoder.

    Attributes
    ----------
    multiple : int
        The sizes it takes are multiples of this.
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
        result: Tensor = self.rest(features)
        return result
