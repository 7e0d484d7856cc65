"""Lossless conversion between the library's fixed-to-moving transform and Slicer transform nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from ..core.images.grid import Grid
from ..core.transforms.affine import Affine
from ..core.transforms.field import BSpline, DisplacementField, VelocityField
from ..core.transforms.transform import Part, Transform
from .arrays import array_of_image
from .frames import FLIP, flipped, flipped_matrix, to_vtk


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
