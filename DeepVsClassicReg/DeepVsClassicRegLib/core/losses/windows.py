"""Box and Gaussian windows on torch tensors of any number of spatial dimensions, as separable sums."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

Tensor = torch.Tensor


def box_sum(image: Tensor, radius: int) -> Tensor:
    """Return the sum over the cube of `radius` around every voxel, with zeros outside.

    Parameters
    ----------
    image : (N, C, *spatial) tensor
        1 to 3 spatial dimensions.
    """
    result = image
    width = 2 * radius + 1
    for axis in range(2, image.ndim):
        padding = [0, 0] * (image.ndim - axis - 1) + [radius, radius]
        wide = functional.pad(result, padding)
        count = result.shape[axis]
        total = wide.narrow(axis, 0, count)
        for shift in range(1, width):
            total = total + wide.narrow(axis, shift, count)
        result = total
    return result


def box_mean(image: Tensor, radius: int) -> Tensor:
    """Return `box_sum` divided by the number of voxels of the cube."""
    return box_sum(image, radius) / (2 * radius + 1) ** (image.ndim - 2)


def separable(image: Tensor, halves: list[Tensor]) -> Tensor:
    """Return the image filtered along each spatial axis with a symmetric kernel, the border repeated.

    Parameters
    ----------
    image : (N, C, *spatial) tensor
        The image to filter.
    halves : list of 1D tensors
        Half of each axis' kernel, the center first.
    """
    result = image
    for number, half in enumerate(halves):
        axis, reach = number + 2, len(half) - 1
        count = result.shape[axis]
        first, last = result.narrow(axis, 0, 1), result.narrow(axis, count - 1, 1)
        sizes = [1] * result.ndim
        sizes[axis] = reach
        wide = torch.cat([first.repeat(sizes), result, last.repeat(sizes)], axis)
        total = half[0] * wide.narrow(axis, reach, count)
        for k in range(1, reach + 1):
            total = total + half[k] * (wide.narrow(axis, reach - k, count) + wide.narrow(axis, reach + k, count))
        result = total
    return result
