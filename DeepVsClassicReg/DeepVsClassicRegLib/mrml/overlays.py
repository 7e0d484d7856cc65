"""Segmentation outlines and deformed grids over the slice views, shown by display nodes of their own."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .runs import Run

AMBER = (1.0, 0.75, 0.15)
CYAN = (0.15, 0.9, 1.0)


def show_segmentations(run: Run, *, before: bool) -> list[Any]:
    """Show the outlines of the fixed segmentation in amber, and of the warped (or moving) one in cyan.

    One color per side: outlines in the segments' own colors could not be told apart.

    Returns
    -------
    list
        The display nodes that were added; removing them from the scene ends the overlay.
    """
    shown = []
    other = run.node("moving_labels") if before else run.warped_labels
    for node, color, thickness in ((other, CYAN, 1), (run.node("fixed_labels"), AMBER, 2)):
        if node is None or not node.IsA("vtkMRMLSegmentationNode"):
            continue
        display = _extra_display(node, "vtkMRMLSegmentationDisplayNode")
        for index in range(node.GetSegmentation().GetNumberOfSegments()):
            segment = node.GetSegmentation().GetNthSegmentID(index)
            display.SetSegmentOverrideColor(segment, *color)
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(thickness)
        display.SetVisibility(True)
        shown.append(display)
    return shown


def show_warp(run: Run, mapping: vtk.vtkAbstractTransform, *, glyphs: bool, spacing_mm: float) -> list[Any]:
    """Show where fixed points go, as a deformed grid or as arrows.

    Parameters
    ----------
    run : Run
        Its fixed volume is the region that is shown.
    mapping : vtkAbstractTransform
        The deformable part, see `prepared`; shown forwards, so that folds appear as crossing lines and nothing
        has to be inverted.
    glyphs : bool
        Arrows instead of a grid.
    spacing_mm : float
        Of lines or arrows.

    Returns
    -------
    list
        The nodes that were added; removing them from the scene ends the overlay.
    """
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLTransformNode")
    node.UnRegister(None)
    node.SetName(_("Comparison {what}").format(what="warp"))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    slicer.mrmlScene.AddNode(node)
    node.SetAndObserveTransformToParent(mapping)
    display = _extra_display(node, "vtkMRMLTransformDisplayNode")
    display.SetVisualizationMode(display.VIS_MODE_GLYPH if glyphs else display.VIS_MODE_GRID)
    display.SetGridSpacingMm(spacing_mm)
    # Curved lines need points between the crossings.
    display.SetGridResolutionMm(spacing_mm / 4)
    display.SetGridScalePercent(100)
    display.SetGridShowNonWarped(False)
    display.SetGlyphSpacingMm(spacing_mm)
    display.SetGlyphScalePercent(100)
    display.SetGlyphDisplayRangeMinMm(0.1)
    display.SetGlyphDisplayRangeMaxMm(200)
    display.SetColorMap(_one_color(AMBER))
    display.SetAndObserveRegionNode(run.fixed)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetVisibility(True)
    colors = display.GetColorNode()  # made by SetColorMap
    colors.SetSaveWithScene(False)
    return [node, colors]


def _one_color(color: tuple[float, float, float]) -> vtk.vtkColorTransferFunction:
    function = vtk.vtkColorTransferFunction()
    for length in (0.0, 100.0):
        function.AddRGBPoint(length, *color)
    return function


def _extra_display(node: Any, kind: str) -> Any:
    """Add a display node beside the user's own, so that those stay untouched."""
    display = slicer.mrmlScene.CreateNodeByClass(kind)
    display.UnRegister(None)
    display.SetSaveWithScene(False)
    display.SetVisibility(False)
    slicer.mrmlScene.AddNode(display)
    node.AddAndObserveDisplayNodeID(display.GetID())
    return display
