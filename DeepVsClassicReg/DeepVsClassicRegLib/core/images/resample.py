"""Volumes as SimpleITK images (both LPS, without flips), and all resampling on a grid with a transform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .grid import Grid
from .intensity import background_value
from .volume import LabelMap, Volume

# From this excess of a ratio of spacings on, one voxel more is averaged: 1.7 gives blocks of 2.
ROUND_UP = 0.3


def grid_of(image: sitk.Image) -> Grid:
    """Return the grid of a 3D SimpleITK image."""
    return Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def to_sitk(item: Volume | LabelMap) -> sitk.Image:
    """Return the volume (float32) or label map (int32) as a SimpleITK image."""
    return image_from_array(item.array, item.grid)


def image_from_array(array: npt.NDArray[Any], grid: Grid, *, vector: bool = False) -> sitk.Image:
    """Return a SimpleITK image of this (Z, Y, X) array, or (Z, Y, X, C) when `vector`."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    return place(image, grid)


def place(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Give the image the geometry of the grid and return it."""
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    return image


def volume_from_sitk(image: sitk.Image, *, name: str = "volume") -> Volume:
    """Return a scalar 3D SimpleITK image as a Volume."""
    return Volume(sitk.GetArrayFromImage(image).astype(np.float32), grid_of(image), name)


def labels_from_sitk(image: sitk.Image, *, name: str = "segmentation") -> LabelMap:
    """Return an integer 3D SimpleITK image as a LabelMap."""
    return LabelMap(sitk.GetArrayFromImage(image), grid_of(image), name=name)


def field_image(field_mm: npt.NDArray[Any], grid: Grid) -> sitk.Image:
    """Return a (Z, Y, X, 3) displacement array as a float64 vector image, as ITK transforms need it."""
    return image_from_array(np.asarray(field_mm, dtype=np.float64), grid, vector=True)


class Mapping(Protocol):
    """A fixed-to-moving transform that can be converted to SimpleITK."""

    def to_sitk(self) -> sitk.Transform:
        """Return the map as a SimpleITK transform."""
        ...


def warp_volume(
    moving: Volume, grid: Grid, transform: Mapping | None = None, *, fill: float | None = None, name: str | None = None
) -> Volume:
    """Return the moving volume on the grid, linearly interpolated.

    Parameters
    ----------
    moving : Volume
        The volume to resample.
    grid : Grid
        Grid of the result, usually the fixed volume's grid.
    transform : optional
        Maps points of `grid` to points of `moving` (fixed to moving); identity when not given.
    fill : float, optional
        Value outside the moving volume; default: its background.

    Returns
    -------
    Volume
        Where the moving volume has voxels that were not measured, `valid` is False where one of them or the
        outside of the moving volume enters the interpolation; otherwise it is None.
    """
    value = background_value(moving) if fill is None else fill
    image = resampled(to_sitk(moving), grid, transform, sitk.sitkLinear, value)
    valid = None if moving.valid is None else _measured(moving.valid, moving.grid, grid, transform)
    return Volume(
        sitk.GetArrayFromImage(image), grid_of(image), name or f"{moving.name} warped", valid, notes=moving.notes
    )


def continued(volume: Volume, grid: Grid, transform: Mapping | None = None) -> Volume:
    """Return the volume on the grid, linearly interpolated; outside it the border voxels are continued."""
    return volume_from_sitk(continued_image(to_sitk(volume), grid, transform), name=volume.name)


def continued_image(image: sitk.Image, grid: Grid, transform: Mapping | None = None) -> sitk.Image:
    """Return an image of numbers or vectors on the grid, as `continued`."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.size)
    resampler.SetOutputOrigin(grid.origin_mm)
    resampler.SetOutputSpacing(grid.spacing_mm)
    resampler.SetOutputDirection(grid.direction)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.UseNearestNeighborExtrapolatorOn()
    if transform is not None:
        resampler.SetTransform(transform.to_sitk())
    return resampler.Execute(image)


def sampled_on(volume: Volume, grid: Grid, transform: Mapping | None = None) -> Volume:
    """Return the volume on a grid as `warp_volume`, averaged over blocks of voxels first where the grid is coarser."""
    factors = [max(1, int(min(grid.spacing_mm) / own + ROUND_UP)) for own in volume.grid.spacing_mm]
    factors = [min(factor, size) for factor, size in zip(factors, volume.grid.size, strict=True)]
    fill = background_value(volume)
    if max(factors) > 1:
        volume = _block_means(volume, factors)
    return warp_volume(volume, grid, transform, fill=fill, name=volume.name)


def warp_labels(moving: LabelMap, grid: Grid, transform: Mapping | None = None) -> LabelMap:
    """Return the moving label map on the grid, nearest neighbor, 0 beyond its field of view."""
    image = resampled(to_sitk(moving), grid, transform, sitk.sitkNearestNeighbor, 0)
    warped = labels_from_sitk(image, name=f"{moving.name} warped")
    return replace(moving, array=warped.array, grid=warped.grid, name=warped.name)


def warp_smoothly(moving: LabelMap, grid: Grid, transform: Mapping | None = None) -> LabelMap:
    """Return the moving label map on the grid: the label of the largest linearly interpolated membership."""
    image = resampled(to_sitk(moving), grid, transform, sitk.sitkLabelLinear, 0)
    warped = labels_from_sitk(image, name=f"{moving.name} warped")
    return replace(moving, array=warped.array, grid=warped.grid, name=warped.name)


def _block_means(volume: Volume, factors: list[int]) -> Volume:
    """Return the means over blocks of voxels, of the measured ones where not all are."""
    if volume.valid is None:
        return replace(volume_from_sitk(sitk.BinShrink(to_sitk(volume), factors), name=volume.name), notes=volume.notes)
    weight = volume.valid.astype(np.float32)
    total = volume_from_sitk(sitk.BinShrink(image_from_array(volume.array * weight, volume.grid), factors))
    share = sitk.GetArrayFromImage(sitk.BinShrink(image_from_array(weight, volume.grid), factors))
    means = np.where(share > 0, total.array / np.maximum(share, np.float32(1e-6)), volume.array.min())
    return Volume(means, total.grid, volume.name, share > 0.5, volume.notes)


def measured_on(volume: Volume, grid: Grid, transform: Mapping | None = None) -> npt.NDArray[np.bool_]:
    """Return the voxels of a grid where only measured voxels of the volume enter the interpolation, (Z, Y, X)."""
    valid = np.ones(volume.grid.shape, bool) if volume.valid is None else volume.valid
    return _measured(valid, volume.grid, grid, transform)


def _measured(valid: npt.NDArray[np.bool_], own: Grid, grid: Grid, transform: Mapping | None) -> npt.NDArray[np.bool_]:
    """Return where only measured voxels enter the interpolation."""
    image = image_from_array(valid.astype(np.float32), own)
    return np.asarray(sitk.GetArrayFromImage(resampled(image, grid, transform, sitk.sitkLinear, 0)) > 0.999)


def resampled(image: sitk.Image, grid: Grid, transform: Mapping | None, interpolator: int, fill: float) -> sitk.Image:
    """Return an image of numbers or vectors on the grid with an interpolator of SimpleITK, `fill` outside of it."""
    mapping = sitk.Transform(3, sitk.sitkIdentity) if transform is None else transform.to_sitk()
    return sitk.Resample(
        image,
        grid.size,
        mapping,
        interpolator,
        grid.origin_mm,
        grid.spacing_mm,
        grid.direction,
        float(fill),
        image.GetPixelID(),
    )
