"""The voxels of the fixed grid that are evaluated, and their positions in the moving volume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..images.grid import Grid
from ..images.intensity import foreground
from ..images.resample import image_from_array, resampled, warp_labels
from ..images.volume import Volume
from ..pair import Pair, without_excluded
from ..transforms.transform import Affine, DisplacementField, Transform

FEWEST_VOXELS = 100
Array = npt.NDArray[np.float64]
Sampled = Affine | DisplacementField
POINTS_AT_ONCE = 1 << 20
VOXELS_PER_SLAB = 1 << 22


def fixed_region(pair: Pair) -> tuple[npt.NDArray[np.bool_], str]:
    """Return the region on the fixed grid, (Z, Y, X), and its description.

    The foreground contains voxels that exceed the background by 10 % of the robust range or have a fixed label; holes
    (ventricles, airways) are filled in each slice. Voxels that were not measured, and excluded regions, are left out.
    """
    if pair.fixed_mask is not None:
        mask = pair.fixed_mask
        if not mask.grid.same_as(pair.fixed.grid):
            mask = warp_labels(mask, pair.fixed.grid)
        inside = _measured(mask.mask(), pair)
        if inside.sum() >= FEWEST_VOXELS:
            return inside, "the fixed mask"
    inside = foreground(pair.fixed)
    if pair.fixed_labels is not None and pair.fixed_labels.grid.same_as(pair.fixed.grid):
        inside = inside | (pair.fixed_labels.array != 0)
    filled = _measured(_filled(inside), pair)
    if filled.sum() < FEWEST_VOXELS:
        return np.ones_like(filled), "the whole fixed volume"
    return filled, "the fixed foreground"


def _measured(inside: npt.NDArray[np.bool_], pair: Pair) -> npt.NDArray[np.bool_]:
    valid = without_excluded(pair).fixed.valid
    return inside if valid is None else inside & valid


def _filled(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill the holes of each slice: in one volume, in which full planes keep the slices apart."""
    planes = np.ones((2 * len(inside) + 1, *inside.shape[1:]), dtype=np.uint8)
    planes[1::2] = inside
    return np.asarray(sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(planes)))[1::2] > 0)


class Ready:
    """A transform that is converted to SimpleITK once and used many times."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform.to_sitk()

    def to_sitk(self) -> sitk.Transform:
        """Return the SimpleITK transform."""
        return self._transform

    def displacement_on(self, grid: Grid) -> DisplacementField:
        """Return the transform sampled on the voxels of a grid."""
        field = sitk.TransformToDisplacementField(
            self._transform, sitk.sitkVectorFloat32, grid.size, grid.origin_mm, grid.spacing_mm, grid.direction
        )
        return DisplacementField.from_sitk(field)


def slabs(grid: Grid, *, voxels: int = VOXELS_PER_SLAB) -> Iterator[slice]:
    """Yield ranges of z with about `voxels` voxels each, which together cover the grid."""
    rows = max(4, voxels // (grid.size[0] * grid.size[1]))
    for start in range(0, grid.size[2], rows):
        yield slice(start, min(start + rows, grid.size[2]))


def slab_of(grid: Grid, part: slice, *, margin: int = 0) -> Grid:
    """Return the slices of a range of z as a grid, with up to `margin` additional slices on each side."""
    start, stop = max(part.start - margin, 0), min(part.stop + margin, grid.size[2])
    return grid.cropped((0, 0, start), (grid.size[0], grid.size[1], stop - start))


def moving_indices(grid: Grid, moving: Grid, mapping: Sampled) -> Iterator[tuple[slice, Array]]:
    """Yield ranges of z and the continuous moving indices (i, j, k) of their voxels, shape (N, 3).

    Parameters
    ----------
    grid, moving : Grid
        The fixed grid (or a slab of it) and the moving grid.
    mapping : Affine or DisplacementField
        Fixed-to-moving transform; a field must be defined on `grid`.
    """
    back = np.linalg.inv(moving.matrix)
    linear = mapping.homogeneous if isinstance(mapping, Affine) else np.eye(4)
    full = back @ linear @ grid.matrix
    depth, height, width = grid.shape
    rows = max(1, POINTS_AT_ONCE // (height * width))
    plane = np.stack(np.meshgrid(np.arange(width), np.arange(height), indexing="xy"), axis=-1).reshape(-1, 2)
    flat = plane @ full[:3, :2].T + full[:3, 3]
    for start in range(0, depth, rows):
        part = slice(start, min(start + rows, depth))
        layers = np.arange(part.start, part.stop)[:, None] * full[:3, 2]
        index = (flat[None] + layers[:, None]).reshape(-1, 3)
        if isinstance(mapping, DisplacementField):
            index += mapping.array_mm[part].reshape(-1, 3) @ back[:3, :3].T
        yield part, index


def indices_at(
    grid: Grid, moving: Grid, mapping: Sampled, places: npt.NDArray[np.intp]
) -> Iterator[tuple[npt.NDArray[np.intp], Array]]:
    """Yield some voxels of a grid and their continuous moving indices, rows (i, j, k) of shape (3, N).

    Parameters
    ----------
    places : (N,) array
        Numbers of the voxels in the flattened array of the grid.
    """
    back = np.linalg.inv(moving.matrix)
    linear = mapping.homogeneous if isinstance(mapping, Affine) else np.eye(4)
    full = back @ linear @ grid.matrix
    for start in range(0, len(places), POINTS_AT_ONCE):
        part = places[start : start + POINTS_AT_ONCE]
        # Products of small matrices with contiguous rows of floats are fast, others are not.
        own = np.array(np.unravel_index(part, grid.shape)[::-1], dtype=float)
        index = full[:3, :3] @ own + full[:3, 3:]
        if isinstance(mapping, DisplacementField):
            moved = mapping.array_mm.reshape(-1, 3).take(part, axis=0)
            index += back[:3, :3] @ moved.T.astype(float, order="C")
        yield part, index


def warped_array(
    image: sitk.Image, grid: Grid, mapping: Sampled, *, interpolator: int, fill: float
) -> npt.NDArray[Any]:
    """Return an image on a grid, `fill` outside of it; a field must be defined on the grid."""
    if isinstance(mapping, Affine):
        return sitk.GetArrayFromImage(resampled(image, grid, mapping, interpolator, fill))
    # Unlike a resampler with this field as transform it does not interpolate the field, which takes twice as long.
    warp = sitk.WarpImageFilter()
    warp.SetInterpolator(interpolator)
    warp.SetEdgePaddingValue(fill)
    field = image_from_array(mapping.array_mm, grid, vector=True)
    warp.SetOutputParameteresFromImage(field)
    return sitk.GetArrayFromImage(warp.Execute(image, field))


def seen_voxels(grid: Grid, moving: Volume, mapping: Sampled) -> npt.NDArray[np.bool_]:
    """Return which voxels of a grid are mapped to measured voxels of the moving volume, (Z, Y, X)."""
    seen = np.empty(grid.shape, dtype=bool)
    for part, index in moving_indices(grid, moving.grid, mapping):
        seen[part] = is_seen(moving, index).reshape(seen[part].shape)
    return seen


def is_seen(moving: Volume, index: Array) -> npt.NDArray[np.bool_]:
    """Return which continuous indices (i, j, k), shape (N, 3), are in measured voxels of the moving volume, (N,)."""
    inside = in_grid(moving.grid, index)
    if moving.valid is not None:
        i, j, k = np.clip(np.rint(index), 0, np.array(moving.grid.size) - 1).astype(int).T
        inside &= moving.valid[k, j, i]
    return inside


def in_grid(grid: Grid, index: Array) -> npt.NDArray[np.bool_]:
    """Return which continuous indices (i, j, k), shape (N, 3), are in voxels of a grid, (N,)."""
    inside = np.ones(len(index), dtype=bool)
    for axis, size in enumerate(grid.size):
        inside &= (index[:, axis] >= -0.5) & (index[:, axis] <= size - 0.5)
    return inside
