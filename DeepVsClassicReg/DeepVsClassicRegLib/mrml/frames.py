"""All conversions between Slicer's RAS and the library's LPS coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.errors import GeometryError
from ..core.images.grid import Grid

Array = npt.NDArray[np.float64]
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


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
