"""Segmentation outlines and deformed grids in the slice views, shown by separate hidden nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from ..core.evaluation.colors import FIXED_OUTLINE, LINES, WARPED_OUTLINE
from .nodes import hidden_node
from .runs import Run

ARROW_SCALES = (1.0, 2.0, 3.0, 5.0, 10.0)
ARROW_SAMPLES, ARROW_WIDTH = 8, 2


def show_segmentations(run: Run, *, before: bool) -> list[Any]:
    """Show the outlines of the fixed segmentation in amber and of the warped (or moving) segmentation in cyan.

    One color per side, because outlines in the colors of the segments could not be told apart.

    Returns
    -------
    list
        The added nodes; removing them from the scene removes the overlay.
    """
    other = run.node("moving_labels") if before else run.warped_labels
    sides = ((other, WARPED_OUTLINE, 1), (run.node("fixed_labels"), FIXED_OUTLINE, 2))
    return [
        _outlines(node, color, thickness)
        for node, color, thickness in sides
        if node is not None and node.IsA("vtkMRMLSegmentationNode")
    ]


def _outlines(source: Any, color: tuple[float, float, float], thickness: int) -> Any:
    """Add a hidden segmentation with the voxels of another one, shown as outlines in one color.

    The user's segmentation gets no second display node: Slicer's displayable managers keep pointers to the display
    nodes of a segmentation and use them after removal. The node is complete before it is added to the scene and is
    never changed there, because Slicer prints a critical message about every change of a segmentation that the
    subject hierarchy does not list.
    """
    name = _("Comparison {what}").format(what=source.GetName() or "outlines")
    node = hidden_node("vtkMRMLSegmentationNode", name, saved=False)
    display = hidden_node("vtkMRMLSegmentationDisplayNode", saved=False)
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(thickness)
    segmentation = source.GetSegmentation()
    node.GetSegmentation().SetSourceRepresentationName(segmentation.GetSourceRepresentationName())
    copies: dict[str, Any] = {}
    for index in range(segmentation.GetNumberOfSegments()):
        name = segmentation.GetNthSegmentID(index)
        node.GetSegmentation().AddSegment(_twin(segmentation.GetSegment(name), color, copies), name)
    slicer.mrmlScene.AddNode(display)
    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetScene(slicer.mrmlScene)
    node.GetDisplayNode()  # called now, so that the node sends no event later in the scene
    return slicer.mrmlScene.AddNode(node)


def _twin(segment: Any, color: tuple[float, float, float], copies: dict[str, Any]) -> Any:
    """Return a copy of a segment in another color with its own voxels.

    Segments of one layer share a label map, and a removed segmentation erases its segments from its label maps. The
    voxels are copied so that the user's are not erased. `copies` contains one copy of each shared label map.
    """
    twin = slicer.vtkSegment()
    twin.SetName(segment.GetName())
    twin.SetColor(*color)
    twin.SetLabelValue(segment.GetLabelValue())
    names: list[str] = []
    segment.GetContainedRepresentationNames(names)
    for name in names:
        shown = segment.GetRepresentation(name)
        key = shown.GetAddressAsString("")
        if key not in copies:
            copies[key] = shown.NewInstance()
            copies[key].DeepCopy(shown)
        twin.AddRepresentation(name, copies[key])
    return twin


def release_segments(node: Any) -> None:
    """Take the voxels from a segmentation made by `show_segmentations` that is no longer in the scene.

    A segmentation that is deleted erases its segments from their common label map one by one, each over all voxels;
    in a brain that holds the event loop for most of a second.
    """
    segmentation = node.GetSegmentation()
    node.SetAndObserveSegmentation(None)  # the node sends no event for what follows
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        names: list[str] = []
        segment.GetContainedRepresentationNames(names)
        for name in names:
            representation = segment.GetRepresentation(name)
            if representation is not None:  # emptying the source removes what was derived from it
                representation.Initialize()


def arrow_scale(run: Run, mapping: vtk.vtkAbstractTransform, spacing_mm: float) -> float:
    """Return the scale factor of the arrows with which the long ones reach their neighbor.

    Parameters
    ----------
    run : Run
        The displacements in its fixed volume are used.
    mapping : vtkAbstractTransform
        The transform to show.
    spacing_mm : float
        Distance between arrows.
    """
    bounds = [0.0] * 6
    run.fixed.GetRASBounds(bounds)
    axes = [
        np.linspace(low, high, ARROW_SAMPLES + 2)[1:-1] for low, high in zip(bounds[::2], bounds[1::2], strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    moved = np.array([mapping.TransformPoint(*point) for point in points.tolist()])
    long_mm = float(np.percentile(np.linalg.norm(moved - points, axis=-1), 95))
    wanted = spacing_mm / max(long_mm, 1e-3)
    return max((scale for scale in ARROW_SCALES if scale <= wanted), default=1.0)


def show_warp(run: Run, mapping: vtk.vtkAbstractTransform, *, glyphs: bool, spacing_mm: float) -> list[Any]:
    """Show the displacements of fixed points as a deformed grid or as arrows.

    Parameters
    ----------
    run : Run
        Its fixed volume is the shown region.
    mapping : vtkAbstractTransform
        The deformable part, see `prepared`; shown from fixed to moving, so that folds appear as crossing lines and
        no inversion is needed.
    glyphs : bool
        Whether to show arrows instead of a grid.
    spacing_mm : float
        Distance between lines or arrows.

    Returns
    -------
    list
        The added nodes; removing them from the scene removes the overlay.
    """
    node = slicer.mrmlScene.AddNode(
        hidden_node("vtkMRMLTransformNode", _("Comparison {what}").format(what="warp"), saved=False)
    )
    node.SetAndObserveTransformToParent(mapping)
    display = hidden_node("vtkMRMLTransformDisplayNode", saved=False)
    display.SetVisibility(False)
    slicer.mrmlScene.AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())
    display.SetVisualizationMode(display.VIS_MODE_GLYPH if glyphs else display.VIS_MODE_GRID)
    display.SetGridSpacingMm(spacing_mm)
    # Curved lines need points between the crossings.
    display.SetGridResolutionMm(spacing_mm / 4)
    display.SetGridScalePercent(100)
    display.SetGridShowNonWarped(False)
    display.SetGlyphSpacingMm(spacing_mm)
    display.SetGlyphScalePercent(100 * arrow_scale(run, mapping, spacing_mm) if glyphs else 100)
    display.SetSliceIntersectionThickness(ARROW_WIDTH if glyphs else 1)
    display.SetGlyphDisplayRangeMinMm(0.1)
    display.SetGlyphDisplayRangeMaxMm(200)
    display.SetColorMap(_one_color(LINES))
    display.SetAndObserveRegionNode(run.fixed)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetVisibility(True)
    colors = display.GetColorNode()  # created by SetColorMap
    colors.SetSaveWithScene(False)
    return [node, colors]


def _one_color(color: tuple[float, float, float]) -> vtk.vtkColorTransferFunction:
    function = vtk.vtkColorTransferFunction()
    for length in (0.0, 100.0):
        function.AddRGBPoint(length, *color)
    return function
