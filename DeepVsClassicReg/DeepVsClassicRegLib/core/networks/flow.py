"""Displacements in voxels as tensors, 2D and 3D: sampling, composing, integrating, resizing, differentiating.

Everywhere a displacement is (N, D, *spatial) with its components in the order of the spatial axes (z, y, x), and the
centers of the first and last voxels of two lattices over one box coincide (torch's `align_corners=True`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional

Tensor = torch.Tensor
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def warp(image: Tensor, displacement: Tensor, *, padding: str = "border") -> Tensor:
    """Return image(x + u(x)), linearly interpolated.

    Parameters
    ----------
    image : (N, C, *spatial) tensor
        What is sampled; half precision is computed in single.
    displacement : (N, D, *out) tensor
        u, voxels of `image`; `out` may differ from `spatial`, both lattices then share their first voxel.
    padding : str
        Beyond the image: 'border' repeats its border, 'zeros' is 0.

    Returns
    -------
    Tensor
        (N, C, *out).

    Reference
    ---------
    Jaderberg et al., Spatial Transformer Networks, arXiv 1506.02025.
    """
    u = _at_least_single(displacement)
    grid = _sampling_grid(u, image.shape[2:])
    values = image.to(u.dtype)
    return functional.grid_sample(values, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return the displacement that goes along `first` and from there along `second`.

    u(x) = first(x) + second(x + first(x)); what `second` does at its border continues beyond it. Warping with u
    equals warping with `second`, then warping the result with `first`.
    """
    return first + warp(second, first)


def integrate(velocity: Tensor, *, steps: int = 7) -> Tensor:
    """Return the displacement after unit time along a stationary velocity, by scaling and squaring.

    Parameters
    ----------
    velocity : (N, D, *spatial) tensor
        Voxels of its own lattice per unit time.
    steps : int
        Number of squarings; 2 ** steps is the number of small steps.

    Reference
    ---------
    Arsigny et al., MICCAI 2006, doi 10.1007/11866565_113.
    """
    u = _at_least_single(velocity) / 2**steps
    for _ in range(steps):
        u = compose(u, u)
    return u


def resize_field(u: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a displacement on another lattice over the same box, in voxels of that lattice.

    Parameters
    ----------
    u : (N, D, *spatial) tensor
        In voxels of its own lattice.
    shape : sequence of D int
        Size of the new lattice.
    """
    old, new = tuple(u.shape[2:]), tuple(shape)
    if old == new:
        return u
    resized = functional.interpolate(_at_least_single(u), size=new, mode=LINEAR[len(new)], align_corners=True)
    gains = [(n - 1) / max(m - 1, 1) for n, m in zip(new, old, strict=True)]
    if len(set(gains)) == 1:
        return resized * gains[0]
    return resized * resized.new_tensor(gains).view(1, -1, *[1] * len(new))


def jacobian_determinant(u: Tensor) -> Tensor:
    """Return the determinant of the derivative of x -> x + u(x), (N, 1, *spatial).

    Central differences, one-sided at the border; 1 keeps the volume, 0 or less folds.
    """
    count = u.ndim - 2
    rows = [[_slope(u, component, axis) for axis in range(count)] for component in range(count)]
    for number in range(count):
        rows[number][number] = rows[number][number] + 1
    return _determinant(rows)[:, None]


def identity_grid(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return the voxel indices of a lattice, (1, D, *shape), with the dtype and device of `like`."""
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def _at_least_single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _sampling_grid(u: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the positions x + u(x) as `grid_sample` wants them: -1..1, components (x, y, z), last."""
    parts = []
    for axis in reversed(range(u.ndim - 2)):
        # A line per axis broadcasts: no full identity grid is ever built.
        gain = 2 / max(shape[axis] - 1, 1)
        count = u.shape[axis + 2]
        line = torch.arange(count, dtype=u.dtype, device=u.device) * gain - 1
        sizes = [1] * (u.ndim - 2)
        sizes[axis] = count
        parts.append(torch.add(line.view(sizes), u[:, axis], alpha=gain))
    # Stacked channel first and viewed channel last: writing contiguous planes is several times faster.
    return torch.stack(parts, 1).movedim(1, -1)


def _slope(u: Tensor, component: int, axis: int) -> Tensor:
    return torch.gradient(u[:, component], dim=axis + 1)[0]


def _determinant(rows: list[list[Tensor]]) -> Tensor:
    if len(rows) == 1:
        return rows[0][0]
    total = torch.zeros_like(rows[0][0])
    for number, first in enumerate(rows[0]):
        minor = [row[:number] + row[number + 1 :] for row in rows[1:]]
        total = total + (-1) ** number * first * _determinant(minor)
    return total
