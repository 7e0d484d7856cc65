"""Detects changes of the selected nodes without reading voxels."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import vtk

from .inputs import Inputs


def fingerprint(inputs: Inputs) -> tuple[Hashable, ...]:
    """Return a value that changes with the content of the selected nodes, but not with their names or display."""
    segments = (inputs.fixed_segment, inputs.moving_segment, inputs.fixed_mask_segment, inputs.moving_mask_segment)
    return (*((role, node.GetID(), _content(node), _place(node)) for role, node in inputs.given()), segments)


def _content(node: Any) -> Hashable:
    if node.IsA("vtkMRMLVolumeNode"):
        image, matrix = node.GetImageData(), vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        return (image.GetMTime() if image is not None else 0, _numbers(matrix))
    if node.IsA("vtkMRMLSegmentationNode"):
        return int(node.GetSegmentation().GetMTime())
    if node.IsA("vtkMRMLMarkupsNode"):
        return int(node.GetNumberOfControlPoints())
    if node.IsA("vtkMRMLTransformNode"):
        return int(node.GetTransformToWorldMTime())
    return int(node.GetMTime())


def _place(node: Any) -> Hashable:
    parent = node.GetParentTransformNode()
    return (parent.GetID(), int(parent.GetTransformToWorldMTime())) if parent is not None else None


def _numbers(matrix: Any) -> tuple[float, ...]:
    return tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
