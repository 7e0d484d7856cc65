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
