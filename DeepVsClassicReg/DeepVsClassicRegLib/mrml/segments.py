"""Segmentations and label map volumes: their segments by name, the numbers both sides share, and their voxels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk

from ..core.images.grid import Grid
from .arrays import array_of, array_of_image
from .frames import FLIP, from_vtk, grid_of_matrix, ijk_to_lps, world_matrix

Color = tuple[float, float, float]
GRAY: Color = (0.7, 0.7, 0.7)


@dataclass(frozen=True)
class LabelStyle:
    """How a label is called and colored: taken from the moving segment, else from the fixed one."""

    name: str
    color: Color


@dataclass(frozen=True)
class Entry:
    """A segment of a segmentation (with its id) or a label of a label map volume (with its value)."""

    style: LabelStyle
    segment_id: str = ""
    value: int = 0


@dataclass(frozen=True)
class Numbering:
    """Numbers that mean the same on both sides.

    Attributes
    ----------
    fixed, moving : mapping of Entry to int
        Number of each segment or label.
    labels : mapping of int to LabelStyle
        Name and color of each number.
    """

    fixed: Mapping[Entry, int] = field(default_factory=dict)
    moving: Mapping[Entry, int] = field(default_factory=dict)
    labels: Mapping[int, LabelStyle] = field(default_factory=dict)

    @property
    def shared(self) -> set[int]:
        """Numbers that both sides hold."""
        return set(self.fixed.values()) & set(self.moving.values())


@dataclass(frozen=True, eq=False)
class Layer:
    """Voxels of labels on a lattice of their own.

    Attributes
    ----------
    array : (Z, Y, X) integer array
        Label values; a view of the node's voxels until it is copied.
    grid : Grid
        Where they lie, LPS world mm.
    numbers : mapping of int to int or None
        Label value -> number; None keeps the values.
    """

    array: npt.NDArray[Any]
    grid: Grid
    numbers: Mapping[int, int] | None


def entries(node: Any, segment_id: str = "") -> list[Entry]:
    """Return the segments or named labels of a node, only the chosen one when an id is given."""
    if node is None:
        return []
    if node.IsA("vtkMRMLSegmentationNode"):
        return _segments(node, segment_id)
    return _labels(node)


def numbering(fixed: list[Entry], moving: list[Entry]) -> Numbering:
    """Return numbers for the segments of both sides; equal names get equal numbers.

    Label map volumes keep their values. A single segment on either side is the same structure whatever it is
    called. Names are compared without regard to case, blanks and underscores.
    """
    if len(fixed) == len(moving) == 1 and fixed[0].segment_id and moving[0].segment_id:
        return Numbering({fixed[0]: 1}, {moving[0]: 1}, {1: moving[0].style})
    numbers: dict[tuple[str, int], int] = {}
    sides: list[dict[Entry, int]] = [{}, {}]
    # Labels with values of their own come first, so that segments adapt to them.
    for values_first in (True, False):
        for side, items in zip(sides, (fixed, moving), strict=True):
            for key, item in _keyed(items):
                if bool(item.segment_id) != values_first:
                    side[item] = _number(item, key, numbers)
    labels = {number: entry.style for side in sides for entry, number in side.items()}
    return Numbering(sides[0], sides[1], dict(sorted(labels.items())))


def layers(node: Any, numbers: Mapping[Entry, int] | None) -> list[Layer]:
    """Return the voxels of a segmentation or label map volume, not yet copied.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode
        Under linear parent transforms at most.
    numbers : mapping of Entry to int, optional
        Which segments become which number; without it (masks of label map volumes) values are kept.

    Raises
    ------
    GeometryError
        When the axes are sheared or a parent transform is not linear.
    """
    if not node.IsA("vtkMRMLSegmentationNode"):
        grid = grid_of_matrix(ijk_to_lps(node), node.GetImageData().GetDimensions())
        return [Layer(array_of(node), grid, None)]
    segmentation = node.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if not segmentation.ContainsRepresentation(name):
        node.CreateBinaryLabelmapRepresentation()
    world = FLIP @ world_matrix(node)
    found: dict[int, tuple[Any, dict[int, int]]] = {}
    for entry, number in (numbers or {}).items():
        segment = segmentation.GetSegment(entry.segment_id)
        image = segment.GetRepresentation(name) if segment is not None else None
        if image is None or image.IsEmpty():
            continue
        # Segments that do not overlap share one image; it is told apart by its address.
        shared = found.setdefault(id(image), (image, {}))
        shared[1][segment.GetLabelValue()] = number
    return [_layer(image, world, values) for image, values in found.values()]


def is_empty(node: Any, segment_id: str = "") -> bool:
    """Return whether nothing is drawn in a node (in the chosen segment, when there is one)."""
    if not node.IsA("vtkMRMLSegmentationNode"):
        image = node.GetImageData()
        return image is None or array_of_image(image).max(initial=0) <= 0
    segments = (node.GetSegmentation().GetSegment(entry.segment_id) for entry in entries(node, segment_id))
    return not any(_is_drawn(segment) for segment in segments)


def _is_drawn(segment: Any) -> bool:
    """Whether a segment holds anything; segments may share one label map, so bounds alone tell nothing."""
    voxels = segment.GetRepresentation("Binary labelmap")
    if voxels is not None:
        there = voxels.GetPointData().GetScalars() is not None
        return bool(there and (array_of_image(voxels) == segment.GetLabelValue()).any())
    bounds = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    segment.GetBounds(bounds)
    return bool(bounds[0] <= bounds[1])


def _segments(node: Any, segment_id: str) -> list[Entry]:
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return [
        Entry(LabelStyle(segmentation.GetSegment(name).GetName() or name, _color(segmentation.GetSegment(name))), name)
        for name in ids
        if segment_id in ("", name)
    ]


def _labels(node: Any) -> list[Entry]:
    image = node.GetImageData()
    if image is None:
        return []
    highest = int(array_of_image(image).max(initial=0))
    display = node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    if colors is None:
        return []
    found = []
    for value in range(1, min(highest, colors.GetNumberOfColors() - 1) + 1):
        name = colors.GetColorName(value) or ""
        if name and _is_defined(colors, value, name):
            rgba = [0.0] * 4
            colors.GetColor(value, rgba)
            found.append(Entry(LabelStyle(name, (rgba[0], rgba[1], rgba[2])), value=value))
    return found


def _is_defined(colors: Any, value: int, name: str) -> bool:
    if hasattr(colors, "GetColorDefined"):
        return bool(colors.GetColorDefined(value))
    return bool(name != colors.GetNoName())  # Slicer 5.10


def _color(segment: Any) -> Color:
    red, green, blue = segment.GetColor()
    return red, green, blue


def _keyed(items: Iterable[Entry]) -> list[tuple[tuple[str, int], Entry]]:
    """Number repeated names, so that the second 'Tumor' of one side meets the second of the other."""
    seen: Counter[str] = Counter()
    keyed = []
    for item in items:
        name = " ".join(item.style.name.replace("_", " ").split()).casefold()
        keyed.append(((name, seen[name]), item))
        seen[name] += 1
    return keyed


def _number(item: Entry, key: tuple[str, int], numbers: dict[tuple[str, int], int]) -> int:
    if item.value:
        numbers.setdefault(key, item.value)
        return item.value
    if key not in numbers:
        numbers[key] = max(numbers.values(), default=0) + 1
    return numbers[key]


def _layer(image: Any, world: np.ndarray, values: Mapping[int, int]) -> Layer:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_lps = world @ from_vtk(matrix)
    extent = image.GetExtent()
    first = to_lps @ np.array([extent[0], extent[2], extent[4], 1.0])
    to_lps = to_lps.copy()
    to_lps[:, 3] = first
    return Layer(array_of_image(image), grid_of_matrix(to_lps, image.GetDimensions()), values)
