"""Segmentation and label map nodes: their segments, their label images, and nodes made from label images."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.images.grid import Grid
from ..core.images.matching import Structure, common_numbers
from ..core.images.volume import TAG
from .geometry import FLIP, Image, array_of, array_of_image, from_vtk, grid_of_matrix, ijk_to_lps, to_vtk, world_matrix

Color = tuple[float, float, float]
GRAY: Color = (0.7, 0.7, 0.7)
MOST_NAMES = 5
# Number of label maps with cached values; the largest value up to which values are counted instead of sorted.
MOST_IMAGES, MOST_VALUES = 8, 1 << 20
_known_values: dict[tuple[int, int], tuple[int, ...]] = {}
NUMBER_TAG = "DeepVsClassicReg.Number"


@dataclass(frozen=True)
class LabelStyle:
    """Name and color of a label, from the moving segment or else from the fixed one."""

    name: str
    color: Color


@dataclass(frozen=True)
class Entry:
    """A segment of a segmentation (with its id) or a label of a label map volume.

    Attributes
    ----------
    style : LabelStyle
        Name and color.
    segment_id : str
        Id of the segment; empty for a label of a label map volume.
    value : int
        Value of its voxels.
    from_palette : bool
        Whether the name comes from a general color table of Slicer and not from the data.
    """

    style: LabelStyle
    segment_id: str = ""
    value: int = 0
    from_palette: bool = False

    @property
    def structure(self) -> Structure:
        """The properties by which it is matched with the other side."""
        return Structure(self.style.name, self.value, bool(self.segment_id), self.from_palette)


@dataclass(frozen=True)
class Numbering:
    """Label numbers with the same meaning on both sides.

    Attributes
    ----------
    fixed, moving : mapping of Entry to int
        Number of each segment or label.
    labels : mapping of int to LabelStyle
        Name and color of each number.
    by_value : tuple of str
        Names of the structures that were matched by label value instead of by name.
    """

    fixed: Mapping[Entry, int] = field(default_factory=dict)
    moving: Mapping[Entry, int] = field(default_factory=dict)
    labels: Mapping[int, LabelStyle] = field(default_factory=dict)
    by_value: tuple[str, ...] = ()

    @property
    def matching(self) -> str:
        """A sentence on the structures matched by label value; empty when all were matched by name."""
        if not self.by_value:
            return ""
        if len(self.by_value) == len(self.shared):
            return _("The structures of both sides are matched by label value, not by name.")
        names = ", ".join(self.by_value[:MOST_NAMES]) + ("..." if len(self.by_value) > MOST_NAMES else "")
        return _("Matched by label value, not by name: {names}.").format(names=names)

    @property
    def shared(self) -> set[int]:
        """Numbers that exist on both sides."""
        return set(self.fixed.values()) & set(self.moving.values())


@dataclass(frozen=True, eq=False)
class Layer:
    """Voxels of labels on their own grid.

    Attributes
    ----------
    array : (Z, Y, X) integer array
        Label values; a view of the node's voxels until they are copied.
    grid : Grid
        Their grid, LPS mm.
    numbers : mapping of int to int or None
        Label value -> number; None keeps the values.
    """

    array: npt.NDArray[Any]
    grid: Grid
    numbers: Mapping[int, int] | None


def entries(node: Any, segment_id: str = "") -> list[Entry]:
    """Return the segments or named labels of a node, or only the one with the given id."""
    if node is None:
        return []
    if node.IsA("vtkMRMLSegmentationNode"):
        return _segments(node, segment_id)
    return _labels(node)


def numbering(fixed: list[Entry], moving: list[Entry]) -> Numbering:
    """Return numbers for the segments of both sides, by the same rules as for files, see `common_numbers`."""
    found = common_numbers([entry.structure for entry in fixed], [entry.structure for entry in moving])
    used = list(dict.fromkeys((*found.fixed, *found.moving)))
    # Slicer chooses the label values inside segmentations; numbers are 1, 2, ... unless a label map keeps its own.
    all_segments = all(entry.segment_id for entry in (*fixed, *moving))
    shown = {number: place if all_segments else number for place, number in enumerate(used, start=1)}
    sides = tuple(
        {entry: shown[number] for entry, number in zip(listed, numbers, strict=True)}
        for listed, numbers in ((fixed, found.fixed), (moving, found.moving))
    )
    labels: dict[int, LabelStyle] = {}
    for side in sides:
        for entry, number in side.items():
            if number not in labels or not entry.structure.is_generic:
                labels[number] = entry.style
    matched = [labels[shown[found.fixed[place]]].name for place, _other in found.by_value]
    return Numbering(sides[0], sides[1], dict(sorted(labels.items())), tuple(matched))


def layers(node: Any, numbers: Mapping[Entry, int] | None) -> list[Layer]:
    """Return the voxels of a segmentation or label map volume, not yet copied.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode
        Parent transforms must be linear.
    numbers : mapping of Entry to int, optional
        Number of each segment; without it (masks of label map volumes) values are kept.

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
        # Segments that do not overlap share one image, identified by its address.
        shared = found.setdefault(id(image), (image, {}))
        shared[1][segment.GetLabelValue()] = number
    return [_layer(image, world, values) for image, values in found.values()]


def is_empty(node: Any, segment_id: str = "") -> bool:
    """Return whether a node, or its selected segment, is empty."""
    if not node.IsA("vtkMRMLSegmentationNode"):
        image = node.GetImageData()
        return image is None or array_of_image(image).max(initial=0) <= 0
    segments = (node.GetSegmentation().GetSegment(entry.segment_id) for entry in entries(node, segment_id))
    return not any(_is_drawn(segment) for segment in segments)


def _is_drawn(segment: Any) -> bool:
    """Return whether a segment has voxels; segments may share one label map, so its bounds do not suffice."""
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
    segments = {name: segmentation.GetSegment(name) for name in ids if segment_id in ("", name)}
    return [
        Entry(LabelStyle(segment.GetName() or name, _color(segment)), name, segment.GetLabelValue())
        for name, segment in segments.items()
    ]


def _labels(node: Any) -> list[Entry]:
    image = node.GetImageData()
    if image is None:
        return []
    display = node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    palette = colors is not None and bool(colors.GetSingletonTag())  # only tables of Slicer have one
    return [Entry(_style(colors, value), value=value, from_palette=palette) for value in _values(image)]


def _values(image: Any) -> tuple[int, ...]:
    """Return the positive values of a label map, cached for every state of the image."""
    key = id(image), image.GetMTime()
    if key not in _known_values:
        voxels = array_of_image(image)
        voxels = voxels[voxels > 0]
        found = np.flatnonzero(np.bincount(voxels)) if voxels.max(initial=0) < MOST_VALUES else np.unique(voxels)
        while len(_known_values) >= MOST_IMAGES:
            _known_values.pop(next(iter(_known_values)))
        _known_values[key] = tuple(found.tolist())
    return _known_values[key]


def _style(colors: Any, value: int) -> LabelStyle:
    """Return name and color of a label; 'Label 7' when the color table does not define it."""
    if colors is not None and value < colors.GetNumberOfColors():
        name = colors.GetColorName(value) or ""
        if name and _is_defined(colors, value, name):
            rgba = [0.0] * 4
            colors.GetColor(value, rgba)
            return LabelStyle(name, (rgba[0], rgba[1], rgba[2]))
    return default_style(value)


def default_style(number: int) -> LabelStyle:
    """Return a name such as 'Label 7' and a color that is clearly different from those of the neighboring numbers."""
    color = colorsys.hsv_to_rgb((number * 0.618034) % 1.0, 0.65, 0.95)
    return LabelStyle(_("Label {number}").format(number=number), color)


def _is_defined(colors: Any, value: int, name: str) -> bool:
    if hasattr(colors, "GetColorDefined"):
        return bool(colors.GetColorDefined(value))
    return bool(name != colors.GetNoName())  # Slicer 5.10


def _color(segment: Any) -> Color:
    red, green, blue = segment.GetColor()
    return red, green, blue


def oriented_grid(image: Any, world: np.ndarray) -> Grid:
    """Return the grid of a segment's image; `world` is the (4, 4) matrix from its node's coordinates to LPS mm."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_lps = world @ from_vtk(matrix)
    extent = image.GetExtent()
    first = to_lps @ np.array([extent[0], extent[2], extent[4], 1.0])
    to_lps = to_lps.copy()
    to_lps[:, 3] = first
    return grid_of_matrix(to_lps, image.GetDimensions())


def _layer(image: Any, world: np.ndarray, values: Mapping[int, int]) -> Layer:
    return Layer(array_of_image(image), oriented_grid(image, world), values)


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
        style = (styles or {}).get(number) or default_style(number)
        segment = slicer.vtkSegment()
        segment.SetName(style.name)
        segment.SetColor(*style.color)
        segment.SetLabelValue(number)
        segment.SetTag(NUMBER_TAG, str(number))
        segment.AddRepresentation(name, oriented)
        segmentation.AddSegment(segment, f"Label_{number}")
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def has_estimated(node: Any) -> bool:
    """Return whether a network made a segmentation node."""
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return False
    segmentation = node.GetSegmentation()
    return any(segmentation.GetNthSegment(index).HasTag(TAG) for index in range(segmentation.GetNumberOfSegments()))
