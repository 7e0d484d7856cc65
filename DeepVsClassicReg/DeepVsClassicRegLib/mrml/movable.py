"""Copies of nodes that can be brought to the other side of a registration, by kind of node."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from ..core.errors import RegistrationError
from ..core.images.grid import Grid
from ..core.images.surfaces import with_points
from ..core.transforms.reliability import Reliability
from .geometry import (
    FLIP,
    array_of,
    array_of_image,
    flipped,
    flipped_matrix,
    grid_of,
    image_of,
    place,
    to_vtk,
    world_matrix,
)
from .segmentations import oriented_grid

LABELMAP, SURFACE = "Binary labelmap", "Closed surface"


class Movable(Protocol):
    """A node's content, independent of the scene once it is made."""

    notes: tuple[str, ...]
    grid: Grid | None

    def check(self, change: Any) -> Reliability:
        """Return how reliable a `SideChange` is for it; any thread."""
        ...

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is; any thread."""
        ...

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content to the scene and return it."""
        ...


def movable(node: Any) -> Movable:
    """Return a copy of a node's content.

    Raises
    ------
    RegistrationError
        When nodes of this kind or content cannot be brought to the other side.
    """
    for name, make in KINDS:
        if node.IsA(name):
            return make(node)
    raise RegistrationError(
        _("Nodes of the kind {kind} cannot be transformed.").format(kind=node.GetNodeTagName()),
        hint=_("Select volumes, segmentations, models or markups."),
    )


class MovableVolume:
    """A scalar volume, linearly interpolated."""

    def __init__(self, node: Any) -> None:
        self.notes: tuple[str, ...] = ()
        self.grid = grid_of(node)
        self._array = np.array(array_of(node))
        display = node.GetDisplayNode()
        self._shown = None
        if display is not None:
            self._shown = display.GetWindow(), display.GetLevel(), display.GetColorNodeID()
        self._moved: Any = None

    def check(self, change: Any) -> Reliability:
        """Return how reliable the change of sides is for it."""
        return change.check_volume(self.grid)

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is."""
        from ..core.images.volume import Volume

        moved = change.volume(Volume(self._array, self.grid))
        self._moved = image_of(moved.array), moved.grid
        return change.check_volume(self.grid)

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content and return it."""
        from .nodes import GRAY, show_volume

        image, grid = self._moved
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        low, high = image.GetScalarRange()
        window, level, color = self._shown or ((high - low) or 1.0, (low + high) / 2, GRAY)
        show_volume(node, window=window, level=level, color=color or GRAY)
        place(node, grid)
        node.SetAndObserveImageData(image)
        return node


class MovableLabels:
    """A label map volume."""

    def __init__(self, node: Any) -> None:
        self.notes: tuple[str, ...] = ()
        self.grid = grid_of(node)
        self._array = np.array(array_of(node))
        self._colors = node.GetDisplayNode().GetColorNodeID() if node.GetDisplayNode() is not None else None
        self._moved: Any = None

    def check(self, change: Any) -> Reliability:
        """Return how reliable the change of sides is for it."""
        return change.check_labels(self._labels())

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is."""
        moved = change.labels(self._labels(), interpolation)
        self._moved = image_of(moved.array.astype(self._array.dtype)), moved.grid
        return self.check(change)

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content and return it."""
        image, grid = self._moved
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
        place(node, grid)
        node.SetAndObserveImageData(image)
        node.CreateDefaultDisplayNodes()
        if self._colors:
            node.GetDisplayNode().SetAndObserveColorNodeID(self._colors)
        return node

    def _labels(self) -> Any:
        from ..core.images.volume import LabelMap

        return LabelMap(self._array, self.grid)


class MovableVectors:
    """A volume of colors, whose channels are interpolated, or of spatial vectors, which turn with the tissue."""

    def __init__(self, node: Any) -> None:
        self.grid = grid_of(node)
        self._array = np.array(array_of(node))
        self._type = node.GetVoxelVectorType()
        self._is_spatial = self._type == node.VoxelVectorTypeSpatial
        is_color = self._type in (node.VoxelVectorTypeColorRGB, node.VoxelVectorTypeColorRGBA)
        if not (self._is_spatial or is_color or self._array.dtype == np.uint8):
            raise RegistrationError(
                _("It is not known whether the components of '{name}' are colors or vectors.").format(
                    name=node.GetName()
                ),
                hint=_("Set its voxel vector type (SetVoxelVectorType) to ColorRGB or Spatial."),
            )
        self.notes = (_("Vectors are turned and stretched with the transform."),) if self._is_spatial else ()
        self._moved: Any = None

    def check(self, change: Any) -> Reliability:
        """Return how reliable the change of sides is for it."""
        return change.check_volume(self.grid)

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is."""
        if self._is_spatial:
            # Components are along RAS axes in the scene.
            moved = flipped(change.vectors(flipped(self._array), self.grid)).astype(self._array.dtype)
        else:
            moved = change.channels(self._array, self.grid)
        self._moved = image_of(moved), change.view
        return self.check(change)

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content and return it."""
        image, grid = self._moved
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", name)
        place(node, grid)
        node.SetAndObserveImageData(image)
        node.SetVoxelVectorType(self._type)
        node.CreateDefaultDisplayNodes()
        return node


class MovableSegmentation:
    """A segmentation: label maps are resampled layer by layer, closed surfaces are mapped."""

    def __init__(self, node: Any) -> None:
        self.notes: tuple[str, ...] = ()
        self.grid: Grid | None = None
        self._source = node
        self._segmentation = slicer.vtkSegmentation()
        self._segmentation.DeepCopy(node.GetSegmentation())
        world = FLIP @ world_matrix(node)
        self._layers: list[tuple[np.ndarray, Grid, list[str]]] = []
        self._surfaces: dict[str, tuple[Any, np.ndarray]] = {}
        self._moved_layers: list[Any] = []
        self._moved_surfaces: dict[str, Any] = {}
        if node.GetSegmentation().ContainsRepresentation(LABELMAP):
            self._take_label_maps(world)
        else:
            self._take_surfaces(world)
        if not self._layers and not self._surfaces:
            raise RegistrationError(_("'{name}' contains nothing.").format(name=node.GetName()))

    def check(self, change: Any) -> Reliability:
        """Return how reliable the change of sides is for it."""
        return change.check(self._points())

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is."""
        from ..core.images.volume import LabelMap

        for array, grid, segments in self._layers:
            moved = change.labels(LabelMap(array, grid), interpolation)
            self._moved_layers.append((image_of(moved.array.astype(np.int16)), moved.grid, segments))
        for segment, (mesh, points) in self._surfaces.items():
            self._moved_surfaces[segment] = with_points(mesh, flipped(change.points(points)[0]))
        return self.check(change)

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content and return it."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        segmentation = node.GetSegmentation()
        segmentation.SetSourceRepresentationName(LABELMAP if self._layers else SURFACE)
        parts = {
            segment: (LABELMAP, _oriented(image, grid))
            for image, grid, names in self._moved_layers
            for segment in names
        }
        parts |= {segment: (SURFACE, mesh) for segment, mesh in self._moved_surfaces.items()}
        for index in range(self._segmentation.GetNumberOfSegments()):
            key = self._segmentation.GetNthSegmentID(index)
            segment = self._segmentation.GetSegment(key)
            segment.RemoveAllRepresentations()
            if key in parts:
                segment.AddRepresentation(*parts[key])
            segmentation.AddSegment(segment, key)
        if reference is not None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
        _show_as(node, self._source)
        return node

    def _take_label_maps(self, world: np.ndarray) -> None:
        shared: dict[int, tuple[Any, list[str]]] = {}
        for index in range(self._segmentation.GetNumberOfSegments()):
            key = self._segmentation.GetNthSegmentID(index)
            image = self._segmentation.GetSegment(key).GetRepresentation(LABELMAP)
            if image is not None and not image.IsEmpty():
                shared.setdefault(id(image), (image, []))[1].append(key)
        for image, keys in shared.values():
            self._layers.append((array_of_image(image), oriented_grid(image, world), keys))
        self.grid = self._layers[0][1] if self._layers else None

    def _take_surfaces(self, world: np.ndarray) -> None:
        for index in range(self._segmentation.GetNumberOfSegments()):
            key = self._segmentation.GetNthSegmentID(index)
            mesh = self._segmentation.GetSegment(key).GetRepresentation(SURFACE)
            if mesh is not None and mesh.GetNumberOfPoints():
                points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)
                self._surfaces[key] = mesh, points @ world[:3, :3].T + world[:3, 3]

    def _points(self) -> np.ndarray:
        found = [points for _mesh, points in self._surfaces.values()]
        found += [grid.index_to_point(np.argwhere(array > 0)[:, ::-1]) for array, grid, _names in self._layers]
        return np.concatenate(found)


class MovableModel:
    """A model: its vertices are mapped, also out of non-linear parent transforms."""

    def __init__(self, node: Any) -> None:
        self.notes: tuple[str, ...] = ()
        self.grid: Grid | None = None
        mesh = node.GetMesh()
        if mesh is None or not mesh.GetNumberOfPoints():
            raise RegistrationError(_("'{name}' contains nothing.").format(name=node.GetName()))
        self._mesh = mesh.NewInstance()
        self._mesh.DeepCopy(mesh)
        self._source = node
        self._points = flipped(_world_points(node, mesh.GetPoints()))
        self._moved: Any = None

    def check(self, change: Any) -> Reliability:
        """Return how reliable the change of sides is for it."""
        return change.check(self._points)

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is."""
        points, checked = change.points(self._points)
        self._moved = with_points(self._mesh, flipped(points))
        return checked

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content and return it."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", name)
        node.SetAndObserveMesh(self._moved)
        _show_as(node, self._source)
        return node


class MovablePoints:
    """Markups whose control points determine them: point lists, lines, angles and curves."""

    def __init__(self, node: Any) -> None:
        self.notes: tuple[str, ...] = ()
        self.grid: Grid | None = None
        self._source = node
        defined = node.PositionDefined
        self._indices = [
            n for n in range(node.GetNumberOfControlPoints()) if node.GetNthControlPointPositionStatus(n) == defined
        ]
        if not self._indices:
            raise RegistrationError(_("'{name}' contains nothing.").format(name=node.GetName()))
        self._points = flipped([list(node.GetNthControlPointPositionWorld(n)) for n in self._indices])
        self._moved: Any = None

    def check(self, change: Any) -> Reliability:
        """Return how reliable the change of sides is for it."""
        return change.check(self._points)

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is."""
        points, checked = change.points(self._points)
        self._moved = flipped(points)
        return checked

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content and return it."""
        node = _copied_markups(self._source, name)
        for index, point in zip(self._indices, self._moved.tolist(), strict=True):
            node.SetNthControlPointPosition(index, *point)
        return node


class MovableShape:
    """A plane or region of interest: it keeps its shape and follows the transform as it is at its center."""

    def __init__(self, node: Any) -> None:
        self.grid: Grid | None = None
        self.notes = (_("It keeps its shape and follows the transform as it is at its center."),)
        self._source = node
        center = np.zeros(3)
        node.GetCenterWorld(center)
        self._center = flipped(center)
        self._matrix: Any = None

    def check(self, change: Any) -> Reliability:
        """Return how reliable the change of sides is for it."""
        return change.check([self._center])

    def move(self, change: Any, interpolation: str) -> Reliability:
        """Move the content and return how reliable that is."""
        from ..core.transforms.transform import Affine

        (moved,), checked = change.points([self._center])
        self._matrix = flipped_matrix(
            Affine.about(change.local(self._center), self._center, moved - self._center).homogeneous
        )
        return checked

    def publish(self, name: str, reference: Any) -> Any:
        """Add a node with the moved content and return it."""
        node = _copied_markups(self._source, name)
        parent = self._source.GetParentTransformNode()
        if parent is not None:
            node.SetAndObserveTransformNodeID(parent.GetID())
            node.HardenTransform()
        node.ApplyTransformMatrix(to_vtk(self._matrix))
        return node


class _Refused:
    """Kinds of volumes that cannot be brought to the other side correctly."""

    def __init__(self, node: Any) -> None:
        raise RegistrationError(
            _("Diffusion and tensor volumes are not supported: their directions must be turned, too."),
            hint=_("Use a program for diffusion images, or transform scalar maps such as FA."),
        )


KINDS: tuple[tuple[str, Any], ...] = (
    ("vtkMRMLVectorVolumeNode", MovableVectors),
    ("vtkMRMLTensorVolumeNode", _Refused),
    ("vtkMRMLDiffusionWeightedVolumeNode", _Refused),
    ("vtkMRMLLabelMapVolumeNode", MovableLabels),
    ("vtkMRMLScalarVolumeNode", MovableVolume),
    ("vtkMRMLSegmentationNode", MovableSegmentation),
    ("vtkMRMLModelNode", MovableModel),
    ("vtkMRMLMarkupsPlaneNode", MovableShape),
    ("vtkMRMLMarkupsROINode", MovableShape),
    ("vtkMRMLMarkupsNode", MovablePoints),
)


def is_movable(node: Any) -> bool:
    """Return whether nodes of this kind can be brought to the other side."""
    kind = next((make for name, make in KINDS if node.IsA(name)), _Refused)
    return kind is not _Refused


def _copied_markups(source: Any, name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(source.GetClassName(), name)
    node.CopyContent(source)
    node.SetName(name)
    _show_as(node, source)
    return node


def _show_as(node: Any, source: Any) -> None:
    """Show a new node as the node it was made from: visibility, colors, opacity."""
    node.CreateDefaultDisplayNodes()
    if source.GetDisplayNode() is not None and node.GetDisplayNode() is not None:
        node.GetDisplayNode().CopyContent(source.GetDisplayNode())


def _world_points(node: Any, points: Any) -> np.ndarray:
    """Return the points of a node in world coordinates, RAS."""
    if node.GetParentTransformNode() is None:
        return vtk_to_numpy(points.GetData()).astype(float)
    to_world, moved = vtk.vtkGeneralTransform(), vtk.vtkPoints()
    node.GetParentTransformNode().GetTransformToWorld(to_world)
    moved.SetDataTypeToDouble()
    to_world.TransformPoints(points, moved)
    return vtk_to_numpy(moved.GetData())


def _oriented(image: Any, grid: Grid) -> Any:
    oriented = slicer.vtkOrientedImageData()
    oriented.ShallowCopy(image)
    oriented.SetImageToWorldMatrix(to_vtk(FLIP @ grid.matrix))
    return oriented
