"""Workarounds for known defects of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

Tensor = torch.Tensor
NARROW = 4  # voxels


def narrow_in_full_precision(module: nn.Module) -> None:
    """Let a module's convolutions compute images less than 4 voxels wide with 32 bits under autocast on the CPU.

    oneDNN (torch 2.13) returns uninitialized memory, up to 1e34, as the bfloat16 gradient of the weights when an image
    is 2 voxels wide. Computing such images takes almost no time.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.forward = partial(_convolved, layer.forward)  # type: ignore[method-assign]


def _convolved(convolve: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    if min(image.shape[2:]) >= NARROW or image.device.type != "cpu":
        return convolve(image)
    with torch.autocast("cpu", enabled=False):
        return convolve(image.float())
