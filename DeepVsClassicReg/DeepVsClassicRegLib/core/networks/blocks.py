"""Building blocks of networks in 2D and 3D: convolutions, large kernels, upsampling, padding to any size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import cast

import torch
import torch.nn.functional as functional
from torch import nn

Tensor = torch.Tensor
SLOPE = 0.2
CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}
MEAN_POOL = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


def convolution(dimensions: int, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    """Return a 2D or 3D convolution with an odd kernel that keeps the size (or divides it by the stride)."""
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    return kind(inputs, outputs, kernel, stride, padding=kernel // 2)


def small_start(layer: nn.Module, *, scale: float = 1e-5, bias: float = 0.0) -> nn.Module:
    """Return a layer whose initial output is nearly constant, but with non-zero gradients."""
    for name, values in layer.named_parameters():
        with torch.no_grad():
            if name == "bias":
                values.fill_(bias)
            else:
                values.normal_(0.0, scale)
    return layer


def sixteen_bits(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which convolutions use 16 bits (bfloat16) if the processor supports them natively.

    This takes half the time on recent x86 processors; other processors would emulate it, and GPUs are fast enough.
    """
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(native and device.type == "cpu"))


class ConvBlock(nn.Sequential):
    """A convolution and a leaky rectifier.

    Parameters
    ----------
    dimensions : int
        2 or 3.
    inputs, outputs : int
        Channels.
    kernel, stride : int
        Odd width of the kernel; 2 halves the size (rounding up).
    """

    def __init__(self, dimensions: int, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        layer = convolution(dimensions, inputs, outputs, kernel=kernel, stride=stride)
        super().__init__(layer, nn.LeakyReLU(SLOPE))


class LargeKernelBlock(nn.Module):
    """Parallel convolutions of widths `kernel`, 3 and 1 and a shortcut, summed, then a rectifier.

    All four are linear, so their kernels are summed first and applied as one convolution, with the parameters of
    parallel branches in the time of one.

    Parameters
    ----------
    dimensions, channels : int
        2 or 3; channels in and out.
    kernel : int
        Odd, at least 5.
    activation : module, optional
        Applied to the sum; a leaky rectifier when not given.

    Reference
    ---------
    Jia et al., U-Net vs Transformer, MLMI 2022, arXiv 2208.04939.
    """

    def __init__(self, dimensions: int, channels: int, *, kernel: int = 5, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.dimensions, self.kernel = dimensions, kernel
        self.activation = activation or nn.LeakyReLU(SLOPE)
        self.branches = nn.ModuleList(
            convolution(dimensions, channels, channels, kernel=width) for width in (kernel, 3, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        weight, bias = self._summed()
        return self.activation(features + CONVOLVE[self.dimensions](features, weight, bias, padding=self.kernel // 2))

    def _summed(self) -> tuple[Tensor, Tensor]:
        layers = [cast("nn.Conv3d", branch) for branch in self.branches]
        weights = []
        for layer in layers:
            margin = (self.kernel - layer.weight.shape[-1]) // 2
            weights.append(functional.pad(layer.weight, [margin] * (2 * self.dimensions)))
        biases = [cast("Tensor", layer.bias) for layer in layers]
        return torch.stack(weights).sum(0), torch.stack(biases).sum(0)


def halved(image: Tensor) -> Tensor:
    """Return means over 3 voxels per axis at every other voxel: voxel k of the result is at voxel 2 k."""
    return MEAN_POOL[image.ndim - 2](image, 3, stride=2, padding=1, count_include_pad=False)


def upsample(features: Tensor) -> Tensor:
    """Return the features on twice as many voxels per axis, each value repeated."""
    return functional.interpolate(features, scale_factor=2, mode="nearest")


def padded_shape(shape: Sequence[int], multiple: int) -> tuple[int, ...]:
    """Return the smallest shape that contains `shape` and whose sizes are multiples of `multiple`."""
    return tuple(-(-size // multiple) * multiple for size in shape)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Return the image padded at the end of each axis by repeating its border, to a multiple of voxels.

    The first voxel does not move, so displacements remain valid when `crop` removes the margin again.
    """
    wanted = padded_shape(image.shape[2:], multiple)
    margins: list[int] = []
    for size, new in zip(reversed(image.shape[2:]), reversed(wanted), strict=True):
        margins += [0, new - size]
    return functional.pad(image, margins, mode="replicate") if any(margins) else image


def crop(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the first voxels of each axis, undoing `pad_to_multiple`."""
    return image[(slice(None), slice(None), *(slice(0, size) for size in shape))]
