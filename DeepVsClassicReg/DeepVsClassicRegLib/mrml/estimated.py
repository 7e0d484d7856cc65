"""Segmentation nodes of segmentations that a network made; every segment is tagged as estimated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.files import read_json
from ..core.images.estimated import TAG, is_estimated
from ..core.images.segmentations import read_labels
from ..core.images.volume import LabelMap
from ..core.job import OUTPUT_FOLDER, RESULT_FILE
from .arrays import Image, image_of
from .inputs import Inputs
from .names import file_safe
from .segmentation import fill_segmentation
from .segments import LabelStyle, default_color


def load_segmentations(folder: Path) -> dict[str, LabelMap]:
    """Return side -> segmentation of the job folder of a finished worker; thread-safe."""
    files = read_json(folder / RESULT_FILE)["files"]
    return {side: read_labels(folder / OUTPUT_FOLDER / name) for side, name in files.items()}


def add_segmentations(found: Mapping[str, LabelMap], inputs: Inputs) -> dict[str, Any]:
    """Add the segmentations to the scene and return role ('fixed_labels', ...) -> segmentation node."""
    return {f"{side}_labels": _added(labels, getattr(inputs, side)) for side, labels in found.items()}


def has_estimated(node: Any) -> bool:
    """Return whether a network made a segmentation node."""
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return False
    segmentation = node.GetSegmentation()
    return any(segmentation.GetNthSegment(index).HasTag(TAG) for index in range(segmentation.GetNumberOfSegments()))


def _added(labels: LabelMap, volume: Any) -> Any:
    named = volume.GetName() if volume is not None else labels.name
    name = file_safe(_("{volume} estimated segmentation").format(volume=named))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))
    styles = {value: _style(labels, value) for value in labels.labels}
    fill_segmentation(node, Image(image_of(labels.array), labels.grid), labels.labels, styles)
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments() if is_estimated(labels) else 0):
        segmentation.GetNthSegment(index).SetTag(TAG, "1")
    if volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return node


def _style(labels: LabelMap, value: int) -> LabelStyle:
    name = labels.names.get(value, _("Label {number}").format(number=value))
    segment = labels.segments.get(value)
    color = segment.facts.get("Color", "").split() if segment is not None else []
    if len(color) != 3:
        return LabelStyle(name, default_color(value))
    red, green, blue = (float(part) for part in color)
    return LabelStyle(name, (red, green, blue))
