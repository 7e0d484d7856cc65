"""Conversion between NumPy arrays and VTK images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from ..core.images.grid import Grid

SLAB = 16


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels in the form that a node takes, and their grid.

    Attributes
    ----------
    data : vtkImageData
        In index coordinates (origin 0, spacing 1).
    grid : Grid
        In LPS mm.
    """

    data: vtk.vtkImageData
    grid: Grid


def image_of(array: npt.NDArray[Any], *, components: int = 1) -> vtk.vtkImageData:
    """Return a VTK image with a copy of the voxels (x fastest) in index coordinates.

    Parameters
    ----------
    array : (Z, Y, X) or, with `components` > 1, (Z, Y, X, components) array
        Voxels; int32 and smaller, uint8 and floats keep their type.
    """
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    image.AllocateScalars(get_vtk_array_type(array.dtype), components)
    np.copyto(array_of_image(image), array)
    return image


def array_of_image(image: vtk.vtkImageData) -> npt.NDArray[Any]:
    """Return a view of the voxels of an image, (Z, Y, X) or (Z, Y, X, C)."""
    scalars = image.GetPointData().GetScalars()
    shape = image.GetDimensions()[::-1]
    components = scalars.GetNumberOfComponents()
    return vtk_to_numpy(scalars).reshape(shape if components == 1 else (*shape, components))


def array_of(node: slicer.vtkMRMLVolumeNode) -> npt.NDArray[Any]:
    """Return a view of the voxels of a volume node, (Z, Y, X)."""
    return array_of_image(node.GetImageData())


def windowed(array: npt.NDArray[np.floating], window: float, level: float) -> npt.NDArray[np.uint8]:
    """Return the gray values 0..255 that a display with this window and level shows."""
    result = np.empty(array.shape, dtype=np.uint8)
    scale = 255.0 / max(float(window), 1e-12)
    offset = 127.5 - level * scale
    # In slabs: the temporary float arrays of a whole volume do not fit into the cache.
    for start in range(0, len(array), SLAB):
        part = array[start : start + SLAB] * np.float32(scale) + np.float32(offset)
        result[start : start + SLAB] = np.clip(part, 0, 255, out=part)
    return result
