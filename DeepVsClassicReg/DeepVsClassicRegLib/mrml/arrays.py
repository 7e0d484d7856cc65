"""Numpy arrays and VTK images of the same voxels."""

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
    """Voxels that a node can take over, and where they lie.

    Attributes
    ----------
    data : vtkImageData
        On the index lattice.
    grid : Grid
        LPS world mm.
    """

    data: vtk.vtkImageData
    grid: Grid


def image_of(array: npt.NDArray[Any], *, components: int = 1) -> vtk.vtkImageData:
    """Return a VTK image with a copy of the voxels (x fastest), geometry left at the index lattice.

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
    """Return what a display of this window and level shows, as 0..255."""
    result = np.empty(array.shape, dtype=np.uint8)
    scale = 255.0 / max(float(window), 1e-12)
    offset = 127.5 - level * scale
    # Slab by slab: the float temporaries of a whole volume would not fit the cache.
    for start in range(0, len(array), SLAB):
        part = array[start : start + SLAB] * np.float32(scale) + np.float32(offset)
        result[start : start + SLAB] = np.clip(part, 0, 255, out=part)
    return result
