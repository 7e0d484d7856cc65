"""Creates segmentation nodes from label images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from .arrays import Image
from .frames import FLIP, to_vtk
from .segments import LabelStyle, default_color

NUMBER_TAG = "DeepVsClassicReg.Number"


def fill_segmentation(
    node: Any, image: Image, numbers: Sequence[int], styles: Mapping[int, LabelStyle] | None = None
) -> None:
    """Replace the content of a segmentation node with the labels of an image.

    All segments share the image, so no voxels are copied.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
        What is filled.
    image : Image
        Label numbers.
    numbers : sequence of int
        The labels that become segments.
    styles : mapping of int to LabelStyle, optional
        Names and colors; a label without style is named like 'Label 7' and gets a default color.
    """
    oriented = slicer.vtkOrientedImageData()
    oriented.ShallowCopy(image.data)
    oriented.SetImageToWorldMatrix(to_vtk(FLIP @ image.grid.matrix))
    name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(name)
    for number in numbers:
        style = (styles or {}).get(number) or LabelStyle(
            _("Label {number}").format(number=number), default_color(number)
        )
        segment = slicer.vtkSegment()
        segment.SetName(style.name)
        segment.SetColor(*style.color)
        segment.SetLabelValue(number)
        segment.SetTag(NUMBER_TAG, str(number))
        segment.AddRepresentation(name, oriented)
        segmentation.AddSegment(segment, f"Label_{number}")
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
