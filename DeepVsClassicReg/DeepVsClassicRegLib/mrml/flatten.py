"""Converts Slicer's transform chains into the library's parts: exactly where possible, otherwise by sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.errors import RegistrationError
from ..core.images.grid import Grid
from ..core.transforms.affine import Affine
from ..core.transforms.field import BSpline, DisplacementField
from ..core.transforms.invert import invert
from ..core.transforms.transform import Part, Transform
from .arrays import array_of_image
from .frames import FLIP, flipped, flipped_matrix, from_vtk

MOST_SAMPLES = 300_000
AT_A_TIME = 20_000


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
        return _directed(BSpline(_vectors(mapping, image), _grid(mapping, image)), mapping)
    if isinstance(mapping, vtk.vtkGridTransform):
        image = mapping.GetDisplacementGrid()
        if image is None:
            raise RegistrationError(_("A grid transform contains no displacements."), hint=_("Load it again."))
        return _directed(DisplacementField(_vectors(mapping, image), _grid(mapping, image)), mapping)
    return Opaque(_copy(mapping))


def _directed(part: Part, mapping: vtk.vtkWarpTransform) -> Piece:
    return Inverted(part) if mapping.GetInverseFlag() else part


def _copy(mapping: vtk.vtkAbstractTransform) -> vtk.vtkAbstractTransform:
    copy = mapping.MakeTransform()
    copy.DeepCopy(mapping)
    return copy


def _vectors(mapping: Any, image: vtk.vtkImageData) -> np.ndarray:
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
    wide = grid.padded([max(1, round(0.1 * n)) for n in grid.size])
    factor = (wide.voxel_count / MOST_SAMPLES) ** (1 / 3)
    coarse = wide.with_spacing([s * factor for s in wide.spacing_mm]) if factor > 1 else wide
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
