"""Memory that a network needs for a volume, and available memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ...device import available_memory_mb
from ...networks.base import RegistrationNetwork

Tensor = torch.Tensor
PROBE = 32
# Alive at once in the widest layer of a U-shaped network: input, skipped features, both sides of a layer, its
# work space. Measured on the CPU, bytes per voxel: voxelmorph 97, voxelmorph-diff 104, synthmorph 178 to 201
# with 16 bits, 210 to 272 without (80 x 96 x 112 to 144 x 160 x 128); estimated 240, 240, 248 and 280.
ALIVE = 5
# Sampling fields, composing and integrating keep a few (3, Z, Y, X) fields beside the features.
FIELDS = 14 * 3 * 4
SHARE = 0.8
ROUNDS, LEAST_FACTOR = 20, 1.05
GIB = 2**30


def forward_bytes(network: RegistrationNetwork, shape: Sequence[int]) -> float:
    """Return the estimated memory of a forward pass on images of this shape, given by the network or measured."""
    own = network.memory_bytes(shape)
    return math.prod(shape) * bytes_per_voxel(network, len(shape)) if own is None else own


def bytes_per_voxel(network: nn.Module, dimensions: int = 3) -> float:
    """Return the estimated memory of a forward pass per input voxel, from a small forward pass.

    Only the largest outputs of the layers are counted; inference frees the others.
    """
    sizes: list[int] = []

    def note(_module: nn.Module, _given: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() * output.element_size())

    leaves = [part for part in network.modules() if not list(part.children())]
    handles = [part.register_forward_hook(note) for part in leaves]
    image = torch.zeros(1, 1, *[PROBE] * dimensions)
    try:
        with torch.inference_mode():
            network(image, image)
    finally:
        for handle in handles:
            handle.remove()
    return sum(sorted(sizes)[-ALIVE:]) / PROBE**dimensions + FIELDS


def free_bytes(device: str) -> float | None:
    """Return the available memory of a device, None when unknown."""
    if device == "cuda":
        return SHARE * torch.cuda.mem_get_info()[0]
    available = available_memory_mb()
    return None if available is None else SHARE * 1e6 * available


def fitting_factor(shape_at: Callable[[float], Sequence[int]], network: RegistrationNetwork, bound: float) -> float:
    """Return how many times coarser the grid must be for a forward pass to stay within the memory.

    Parameters
    ----------
    shape_at : callable
        Returns the shape of the images for a coarsening factor.
    network : RegistrationNetwork
        May provide its own memory estimate, which need not be proportional to the number of voxels.
    bound : float
        Memory limit in bytes.
    """
    shape = shape_at(1.0)
    if network.memory_bytes(shape) is None:
        need = forward_bytes(network, shape)
        return 1.0 if need <= bound else float((need / bound) ** (1 / len(shape)))
    factor = 1.0
    for _ in range(ROUNDS):
        shape = shape_at(factor)
        need = forward_bytes(network, shape)
        if need <= bound:
            break
        # Half a step at a time: the memory may grow with the square of the number of voxels.
        factor *= max(float((need / bound) ** (0.5 / len(shape))), LEAST_FACTOR)
    return factor
