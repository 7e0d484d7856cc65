"""Conversion between Slicer's images and coordinates (VTK, RAS) and those of the library (NumPy, LPS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from ..core.errors import GeometryError
from ..core.images.grid import Grid

SLAB = 16
Array = npt.NDArray[np.float64]
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


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


def image_of(array: npt.NDArray[Any]) -> vtk.vtkImageData:
    """Return a VTK image with a copy of the voxels (x fastest) in index coordinates.

    Parameters
    ----------
    array : (Z, Y, X) or (Z, Y, X, C) array
        Voxels; int32 and smaller, uint8 and floats keep their type.
    """
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    image.AllocateScalars(get_vtk_array_type(array.dtype), array.shape[3] if array.ndim == 4 else 1)
    np.copyto(array_of_image(image), array)
    return image


def array_of_image(image: vtk.vtkImageData) -> npt.NDArray[Any]:
    """Return a view of the voxels of an image, (Z, Y, X) or (Z, Y, X, C)."""
    scalars = image.GetPointData().GetScalars()
    shape = image.GetDimensions()[::-1]
    components = scalars.GetNumberOfComponents()
    return vtk_to_numpy(scalars).reshape(shape if components == 1 else (*shape, components))


def array_of(node: slicer.vtkMRMLVolumeNode) -> npt.NDArray[Any]:
    """Return a view of the voxels of a volume node, (Z, Y, X) or (Z, Y, X, C)."""
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


def flipped(vectors: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return LPS points or vectors in RAS, or vice versa, shape (..., 3)."""
    array = np.asarray(vectors)
    return array * np.array([-1, -1, 1], dtype=array.dtype if array.dtype.kind == "f" else float)


def flipped_matrix(matrix: npt.ArrayLike) -> Array:
    """Return a (4, 4) map of LPS points as a map of RAS points, or vice versa."""
    return np.asarray(FLIP @ np.asarray(matrix, dtype=float) @ FLIP)


def to_vtk(matrix: npt.ArrayLike) -> vtk.vtkMatrix4x4:
    """Return a (4, 4) array as a VTK matrix."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=float).ravel().tolist())
    return result


def from_vtk(matrix: vtk.vtkMatrix4x4) -> Array:
    """Return a VTK matrix as a (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def world_matrix(node: slicer.vtkMRMLTransformableNode) -> Array:
    """Return the (4, 4) RAS matrix of a node's linear parent transforms; identity when it has none.

    Raises
    ------
    GeometryError
        When a parent is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise GeometryError(
            _("'{name}' is under the non-linear transform '{transform}'.").format(
                name=node.GetName(), transform=parent.GetName()
            ),
            hint=_("Harden the transform on a copy first, or select it as initial transform."),
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return from_vtk(matrix)


def ijk_to_lps(node: slicer.vtkMRMLVolumeNode) -> Array:
    """Return the (4, 4) matrix from voxel indices to LPS mm, including linear parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.asarray(FLIP @ world_matrix(node) @ from_vtk(matrix))


def grid_of_matrix(matrix: Array, size: tuple[int, int, int]) -> Grid:
    """Return the grid of a (4, 4) index-to-LPS matrix; `GeometryError` when its axes are sheared."""
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        axes = matrix[:3, :3] / spacing
    return Grid(size, _three(spacing), _three(matrix[:3, 3]), tuple(float(value) for value in axes.ravel()))


def grid_of(node: slicer.vtkMRMLVolumeNode) -> Grid:
    """Return the grid of a volume node in LPS mm, including linear parent transforms.

    Raises
    ------
    GeometryError
        When the node has no image, sheared axes, or a non-linear parent transform.
    """
    image = node.GetImageData()
    if image is None:
        raise GeometryError(_("'{name}' contains no image.").format(name=node.GetName()), hint=_("Load it again."))
    return grid_of_matrix(ijk_to_lps(node), image.GetDimensions())


def place(node: slicer.vtkMRMLVolumeNode, grid: Grid) -> None:
    """Give a volume node the geometry of a grid."""
    node.SetIJKToRASMatrix(to_vtk(FLIP @ grid.matrix))


def _three(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
