"""Conversion between objects of the library and SimpleITK images (both LPS, without flips)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .grid import Grid
from .volume import LabelMap, Volume


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
