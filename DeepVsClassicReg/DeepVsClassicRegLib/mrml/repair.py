"""Pairs of points that show where a run is wrong, a live preview of their correction, and the inputs of the repair."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..core.errors import RegistrationError
from .inputs import Inputs
from .nodes import hidden_node
from .runs import Run

POINTS = "vtkMRMLMarkupsFiducialNode"
FIXED_COLOR, WARPED_COLOR = (0.2, 0.8, 0.3), (1.0, 0.45, 0.1)


class PointPairs(VTKObservationMixin):
    """Pairs of points in the views of a run: F where the fixed volume shows a structure, W where the warped one does.

    Parameters
    ----------
    run : Run
        The run that is repaired.
    changed : callable
        Called when a point is added, moved or removed.

    Attributes
    ----------
    fixed, warped : vtkMRMLMarkupsFiducialNode
        Point k of one belongs to point k of the other.
    """

    def __init__(self, run: Run, changed: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.run, self._changed = run, changed
        self.fixed = _points_node(f"{run.title} F", "F", FIXED_COLOR)
        self.warped = _points_node(f"{run.title} W", "W", WARPED_COLOR)
        self.placing = False
        self._preview: Any = None
        self.addObserver(self.fixed, self.fixed.PointPositionDefinedEvent, self._on_placed)
        for node in (self.fixed, self.warped):
            for event in (node.PointModifiedEvent, node.PointRemovedEvent):
                self.addObserver(node, event, self._on_moved)

    @property
    def count(self) -> int:
        """Number of pairs."""
        lists = (self.fixed, self.warped)
        if any(node.GetScene() is None for node in lists):
            return 0
        return min(node.GetNumberOfDefinedControlPoints() for node in lists)

    def add(self, point_ras: Any) -> None:
        """Add a pair at a position; its points are then dragged apart."""
        self.fixed.AddControlPointWorld(vtk.vtkVector3d(*point_ras))
        self._complete()

    def remove_last(self) -> None:
        """Remove the last pair."""
        for node in (self.warped, self.fixed):
            if node.GetNumberOfControlPoints():
                node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)

    def place_by_mouse(self, on: bool) -> None:
        """Start or end placing pairs by clicks in the views."""
        self.placing = on
        logic = slicer.app.applicationLogic()
        selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
        if on:
            selection.SetReferenceActivePlaceNodeClassName(POINTS)
            selection.SetActivePlaceNodeID(self.fixed.GetID())
        interaction.SetPlaceModePersistence(int(on))
        interaction.SetCurrentInteractionMode(interaction.Place if on else interaction.ViewTransform)

    def preview(self, on: bool) -> None:
        """Show the warped volume bent by the pairs, or end that."""
        if on and self._preview is None:
            warped = self.run.need("warped")
            self._preview = slicer.mrmlScene.AddNode(
                hidden_node("vtkMRMLTransformNode", _("Preview of the repair"), saved=False)
            )
            warped.SetAndObserveTransformNodeID(self._preview.GetID())
            self._bend()
        elif not on and self._preview is not None:
            warped = self.run.node("warped")
            if warped is not None:
                warped.SetAndObserveTransformNodeID(None)
            slicer.mrmlScene.RemoveNode(self._preview)
            self._preview = None

    def moving_points(self) -> Any:
        """Add and return the list of the corresponding points of the moving volume: W mapped by the run.

        Raises
        ------
        RegistrationError
            When there is no pair, or the transform was deleted.
        """
        if self.count == 0:
            raise RegistrationError(_("There is no pair of points."), hint=_("Add one where the result is wrong."))
        mapping = vtk.vtkGeneralTransform()
        self.run.need("transform").GetTransformFromWorld(mapping)
        node = _points_node(f"{self.run.title} M", "M", WARPED_COLOR)
        node.GetDisplayNode().SetVisibility(False)  # it would be seen at wrong places of the fixed volume
        for point in _positions(self.warped):
            node.AddControlPointWorld(vtk.vtkVector3d(*mapping.TransformPoint(point.tolist())))
        return node

    def close(self, *, keep_fixed: bool = False) -> None:
        """Remove the points and the preview; with `keep_fixed` the points F stay, as landmarks of a run."""
        self.removeObservers()
        self.preview(False)
        if self.placing:
            self.place_by_mouse(False)
        for node in (self.warped,) if keep_fixed else (self.warped, self.fixed):
            if node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)
        if keep_fixed and self.fixed.GetScene() is not None:
            self.fixed.GetDisplayNode().SetVisibility(False)

    def _on_placed(self, _caller: Any, _event: str) -> None:
        self._complete()

    def _on_moved(self, _caller: Any, _event: str) -> None:
        if self._preview is not None:
            self._bend()
        self._changed()

    def _complete(self) -> None:
        """Add the points W that are missing, at the positions of their partners."""
        for point in _positions(self.fixed)[self.warped.GetNumberOfControlPoints() :]:
            self.warped.AddControlPointWorld(vtk.vtkVector3d(*point))
        self._changed()

    def _bend(self) -> None:
        """Set the preview to the thin-plate spline that maps F to W and leaves the corners of the volume."""
        count = self.count
        corners = _corners(self.run.need("warped"))
        spline = vtk.vtkThinPlateSplineTransform()
        spline.SetBasisToR()
        for node, use in ((self.fixed, spline.SetSourceLandmarks), (self.warped, spline.SetTargetLandmarks)):
            points = vtk.vtkPoints()
            for point in (*_positions(node)[:count], *corners):
                points.InsertNextPoint(*point)
            use(points)
        self._preview.SetAndObserveTransformFromParent(spline)


def repair_inputs(run: Run, fixed_points: Any, moving_points: Any) -> Inputs:
    """Return the inputs of a registration that continues a run with landmarks.

    Parameters
    ----------
    run : Run
        The run.
    fixed_points, moving_points : vtkMRMLMarkupsFiducialNode
        Corresponding points in the fixed and the moving volume.

    Raises
    ------
    RegistrationError
        When a volume or the transform of the run was deleted.
    """
    return Inputs(
        fixed=run.need("fixed"),
        moving=run.need("moving"),
        fixed_channel=run.channel("fixed"),
        moving_channel=run.channel("moving"),
        fixed_labels=run.node("fixed_labels"),
        moving_labels=run.node("moving_labels"),
        fixed_points=fixed_points,
        moving_points=moving_points,
        initial=run.need("transform"),
    )


def shown_place() -> tuple[float, float, float]:
    """Return the point, RAS, where the planes of the slice views meet."""
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.IsMappedInLayout()]
    matrices = [slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()) for node in nodes]
    normals = np.array([matrix[:3, 2] for matrix in matrices])
    offsets = np.array([matrix[:3, 2] @ matrix[:3, 3] for matrix in matrices])
    # The least-squares solution; with parallel planes only, the one nearest to the center of the first view.
    first = matrices[0][:3, 3] if matrices else np.zeros(3)
    change = np.linalg.lstsq(normals, offsets - normals @ first, rcond=None)[0] if matrices else np.zeros(3)
    x, y, z = (first + change).tolist()
    return x, y, z


def _points_node(name: str, prefix: str, color: tuple[float, float, float]) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(POINTS, slicer.mrmlScene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetControlPointLabelFormat(f"{prefix}%d")
    display = node.GetDisplayNode()
    display.SetColor(*color)
    display.SetSelectedColor(*color)
    display.SetGlyphScale(2.0)
    display.SetTextScale(3.0)
    return node


def _positions(node: Any) -> np.ndarray:
    points = np.zeros((node.GetNumberOfDefinedControlPoints(), 3))
    for index in range(len(points)):
        node.GetNthControlPointPositionWorld(index, points[index])
    return points


def _corners(volume: Any) -> list[tuple[float, float, float]]:
    """Return the corners of a volume, which the preview does not move."""
    matrix, (x, y, z) = vtk.vtkMatrix4x4(), volume.GetImageData().GetDimensions()
    volume.GetIJKToRASMatrix(matrix)
    indices = product((-0.5, x - 0.5), (-0.5, y - 0.5), (-0.5, z - 0.5))
    return [matrix.MultiplyPoint((*index, 1.0))[:3] for index in indices]
