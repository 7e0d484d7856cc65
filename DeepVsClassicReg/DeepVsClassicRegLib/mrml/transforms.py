"""Lossless conversion between the library's fixed-to-moving transform and Slicer transform nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.errors import RegistrationError
from ..core.images.grid import Grid
from ..core.transforms.invert import invert
from ..core.transforms.transform import Affine, BSpline, DisplacementField, Part, Transform, VelocityField
from .geometry import FLIP, array_of_image, flipped, flipped_matrix, from_vtk, to_vtk

MOST_SAMPLES = 300_000
AT_A_TIME = 20_000


def attach(node: slicer.vtkMRMLTransformNode, mapping: vtk.vtkAbstractTransform) -> None:
    """Set the transform from parent of a node to a map from `vtk_of`; fast, main thread only."""
    if isinstance(mapping, vtk.vtkMatrixToLinearTransform):
        node.SetMatrixTransformFromParent(mapping.GetInput())
    else:
        node.SetAndObserveTransformFromParent(mapping)


def vtk_of(transform: Transform) -> vtk.vtkAbstractTransform:
    """Return the fixed-to-moving map as a VTK transform of RAS points; copies fields, thread-safe."""
    parts = [_vtk_part(part) for part in transform.parts or (Affine.identity(),)]
    if len(parts) == 1:
        return parts[0]
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    for part in parts:
        chain.Concatenate(part)
    return chain


def use_linear_interpolation(node: slicer.vtkMRMLTransformNode) -> None:
    """Set the fields of a node to linear interpolation, as they were published.

    Slicer sets cubic interpolation for fields read from files, so after saving and loading a scene the transform
    would differ by some hundredths of a millimeter from the measured one.
    """
    parts = vtk.vtkCollection()
    mapping = node.GetTransformFromParent()
    if mapping is not None:
        slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, mapping)
    for index in range(parts.GetNumberOfItems()):
        part = parts.GetItemAsObject(index)
        if isinstance(part, slicer.vtkOrientedGridTransform):
            part.SetInterpolationModeToLinear()


def zero_border(field: DisplacementField) -> DisplacementField:
    """Return the field padded with one layer of repeated border values and one layer of zeros.

    Outside of a field VTK continues the border value, while ITK has displacement 0. The repeated layer reproduces
    ITK in the half voxel beyond the outermost nodes; the zeros end the field.
    """
    inner = np.pad(field.array_mm, ((1, 1), (1, 1), (1, 1), (0, 0)), mode="edge")
    return DisplacementField(np.pad(inner, ((1, 1), (1, 1), (1, 1), (0, 0))), field.grid.padded(2))


def _vtk_part(part: Part) -> vtk.vtkAbstractTransform:
    if isinstance(part, Affine):
        linear = vtk.vtkMatrixToLinearTransform()
        linear.SetInput(to_vtk(flipped_matrix(part.homogeneous)))
        return linear
    if isinstance(part, BSpline):
        spline = slicer.vtkOrientedBSplineTransform()
        spline.SetGridDirectionMatrix(_direction(part.grid))
        spline.SetCoefficientData(_vectors(part.coefficients_mm, part.grid, np.float64))
        # Equal to ITK's spline inside its domain; outside it decreases to zero gradually instead of abruptly.
        spline.SetBorderModeToZero()
        return spline
    return _vtk_field(part.exponential() if isinstance(part, VelocityField) else part)


def _vtk_field(field: DisplacementField) -> slicer.vtkOrientedGridTransform:
    bordered = zero_border(field)
    mapping = slicer.vtkOrientedGridTransform()
    mapping.SetGridDirectionMatrix(_direction(bordered.grid))
    mapping.SetDisplacementGridData(_vectors(bordered.array_mm, bordered.grid, np.float32))
    mapping.SetInterpolationModeToLinear()
    return mapping


def _direction(grid: Grid) -> vtk.vtkMatrix4x4:
    matrix = np.eye(4)
    matrix[:3, :3] = FLIP[:3, :3] @ grid.axes
    return to_vtk(matrix)


def _vectors(array_mm: npt.NDArray[Any], grid: Grid, kind: type) -> vtk.vtkImageData:
    """Return LPS vectors as the RAS image of VTK's transforms (vectors along patient axes)."""
    image = vtk.vtkImageData()
    image.SetDimensions(*grid.size)
    image.SetSpacing(*grid.spacing_mm)
    image.SetOrigin(*flipped(grid.origin_mm))
    image.AllocateScalars(vtk.VTK_FLOAT if kind is np.float32 else vtk.VTK_DOUBLE, 3)
    np.multiply(array_mm, np.array([-1, -1, 1], dtype=kind), out=array_of_image(image), casting="same_kind")
    return image


@dataclass(frozen=True, eq=False)
class Inverted:
    """The inverse of a part, computed later outside the main thread."""

    part: Part


@dataclass(frozen=True, eq=False)
class Opaque:
    """A copy of a VTK transform of RAS points that has no counterpart in the library."""

    mapping: vtk.vtkAbstractTransform


Piece = Part | Inverted | Opaque


def flattened(node: slicer.vtkMRMLTransformNode) -> list[Piece]:
    """Return the pieces of a node's fixed-to-moving map, including its parents; fast, main thread only.

    The first piece is applied first. All data are copied.
    """
    whole = vtk.vtkGeneralTransform()
    node.GetTransformFromWorld(whole)
    parts = vtk.vtkCollection()
    slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, whole)
    return [_piece(parts.GetItemAsObject(index)) for index in range(parts.GetNumberOfItems())]


def resolved(pieces: list[Piece], grid: Grid) -> Transform:
    """Return the pieces as a Transform, inverting and sampling where needed; any thread, may take seconds.

    Parameters
    ----------
    pieces : list
        From `flattened`.
    grid : Grid
        Region in which opaque pieces are sampled; its field of view is enlarged by 10 %, and the sampling is
        reduced to about 300,000 points.
    """
    return Transform.of([_resolved(piece, grid) for piece in pieces])


def _piece(mapping: Any) -> Piece:
    if isinstance(mapping, vtk.vtkLinearTransform | vtk.vtkHomogeneousTransform):
        return Affine.from_homogeneous(flipped_matrix(from_vtk(mapping.GetMatrix())))
    if isinstance(mapping, slicer.vtkOrientedBSplineTransform):
        bulk = mapping.GetBulkTransformMatrix()
        if bulk is not None and not np.allclose(from_vtk(bulk), np.eye(4)):
            return Opaque(_copy(mapping))
        image = mapping.GetCoefficientData()
        return _directed(BSpline(_lps_vectors(mapping, image), _grid(mapping, image)), mapping)
    if isinstance(mapping, vtk.vtkGridTransform):
        image = mapping.GetDisplacementGrid()
        if image is None:
            raise RegistrationError(_("A grid transform contains no displacements."), hint=_("Load it again."))
        return _directed(DisplacementField(_lps_vectors(mapping, image), _grid(mapping, image)), mapping)
    return Opaque(_copy(mapping))


def _directed(part: Part, mapping: vtk.vtkWarpTransform) -> Piece:
    return Inverted(part) if mapping.GetInverseFlag() else part


def _copy(mapping: vtk.vtkAbstractTransform) -> vtk.vtkAbstractTransform:
    copy = mapping.MakeTransform()
    copy.DeepCopy(mapping)
    return copy


def _lps_vectors(mapping: Any, image: vtk.vtkImageData) -> np.ndarray:
    vectors = array_of_image(image) * float(mapping.GetDisplacementScale())
    if isinstance(mapping, vtk.vtkGridTransform):
        vectors = vectors + float(mapping.GetDisplacementShift())
    return flipped(vectors)


def _grid(mapping: Any, image: vtk.vtkImageData) -> Grid:
    direction = getattr(mapping, "GetGridDirectionMatrix", lambda: None)()
    axes = np.eye(3) if direction is None else from_vtk(direction)[:3, :3]
    spacing, origin = image.GetSpacing(), flipped(np.array(image.GetOrigin()))
    lps = FLIP[:3, :3] @ axes
    return Grid(
        image.GetDimensions(),
        (spacing[0], spacing[1], spacing[2]),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(float(value) for value in lps.ravel()),
    )


def _resolved(piece: Piece, grid: Grid) -> Transform | Part:
    if isinstance(piece, Inverted):
        return invert(Transform((piece.part,)), grid).transform
    return _sampled(piece.mapping, grid) if isinstance(piece, Opaque) else piece


def _sampled(mapping: vtk.vtkAbstractTransform, grid: Grid) -> DisplacementField:
    coarse = grid.padded([max(1, round(0.1 * n)) for n in grid.size]).at_most(MOST_SAMPLES)
    points = flipped(coarse.points().reshape(-1, 3))
    moved = np.empty_like(points)
    # In pieces, because VTK holds Python's global lock and the application must stay responsive.
    for start in range(0, len(points), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        moved[part] = _transformed(mapping, points[part])
    return DisplacementField(flipped(moved - points).reshape(*coarse.shape, 3), coarse)


def _transformed(mapping: vtk.vtkAbstractTransform, points: np.ndarray) -> np.ndarray:
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    after.SetDataTypeToDouble()
    before.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    mapping.TransformPoints(before, after)
    return vtk_to_numpy(after.GetData())
