"""Linear sampling of an image along a displacement in voxels, as a torch operation for 2D and 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as functional

Tensor = torch.Tensor


def warp(image: Tensor, displacement: Tensor, *, padding: str = "border") -> Tensor:
    """Return image(x + u(x)), linearly interpolated.

    Parameters
    ----------
    image : (N, C, *spatial) tensor
        The image to sample; half precision is computed in single precision.
    displacement : (N, D, *out) tensor
        u in voxels of `image`, components in the order of the spatial axes (z, y, x); if `out` differs from `spatial`,
        both grids have the same first voxel.
    padding : str
        Values outside the image: 'border' repeats its border, 'zeros' is 0.

    Returns
    -------
    Tensor
        (N, C, *out).

    Reference
    ---------
    Jaderberg et al., Spatial Transformer Networks, arXiv 1506.02025.
    """
    u = at_least_single(displacement)
    grid = _sampling_grid(u, image.shape[2:])
    values = image.to(u.dtype)
    parts = _parts(grid)
    if parts == 1:
        return functional.grid_sample(values, grid, mode="bilinear", padding_mode=padding, align_corners=True)
    slabs = grid[0].unflatten(0, (parts, -1))
    views = values.expand(parts, *values.shape[1:])
    found = functional.grid_sample(views, slabs, mode="bilinear", padding_mode=padding, align_corners=True)
    return found.movedim(0, 1).flatten(1, 2)[None]


def _parts(grid: Tensor) -> int:
    """Return the number of slabs of one sample; on the CPU torch distributes only samples over threads."""
    if len(grid) > 1 or grid.device.type != "cpu" or torch.is_grad_enabled():
        return 1
    return math.gcd(grid.shape[1], torch.get_num_threads())


def at_least_single(values: Tensor) -> Tensor:
    """Convert half to single precision, because positions need more than 11 bits; other types do not change."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _sampling_grid(u: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the positions x + u(x) in the form of `grid_sample`: -1..1, components (x, y, z) last."""
    parts = []
    for axis in reversed(range(u.ndim - 2)):
        # One line per axis is broadcast, so that no full identity grid is created.
        gain = 2 / max(shape[axis] - 1, 1)
        count = u.shape[axis + 2]
        line = torch.arange(count, dtype=u.dtype, device=u.device) * gain - 1
        sizes = [1] * (u.ndim - 2)
        sizes[axis] = count
        parts.append(torch.add(line.view(sizes), u[:, axis], alpha=gain))
    # Stacked channel first and viewed channel last: writing contiguous planes is several times faster.
    return torch.stack(parts, 1).movedim(1, -1)
