"""Slicer's slice, 3D and plot views, rendered off screen by the real displayable managers."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from slicer_standin import core

PROBE = """
import os; os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.AddRenderer(vtk.vtkRenderer()); w.Render()
"""
SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager", "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager", "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager", "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager", "vtkMRMLColorLegendDisplayableManager",
)  # fmt: skip
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager", "vtkMRMLViewDisplayableManager", "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager", "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLTransformsDisplayableManager3D", "vtkMRMLMarkupsDisplayableManager", "vtkMRMLColorLegendDisplayableManager",
)  # fmt: skip


@functools.cache
def gl_problem() -> str:
    """Return why rendering is impossible here, or "" when it works.

    VTK ends the whole process when no OpenGL is found, so the attempt is made in a child.
    """
    child = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, encoding="utf-8", timeout=60)
    if child.returncode == 0:
        return ""
    return (f"off-screen OpenGL is missing (exit {child.returncode}); Debian packages libegl1 libegl-mesa0 libgl1 "
            f"libgl1-mesa-dri provide it. {child.stderr.strip()[-200:]}")  # fmt: skip


def _factory(kind: str, managers: tuple[str, ...]) -> Any:
    factory = getattr(slicer, kind).GetInstance()
    factory.SetMRMLApplicationLogic(core.application_logic)
    for name in managers:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory


class Canvas:
    """An off-screen render window; pixels are produced only when `grab` is called."""

    def __init__(self) -> None:
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.EnableRenderOff()
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())  # a passive one: VTK's default acts too
        self.interactor.Enable()
        self.on_change: Callable[[], None] = lambda: None
        self._rendering = False

    def _before_render(self, width: int, height: int) -> None:
        """Bring the pipeline up to date for this size."""

    def grab(self, width: int = 500, height: int = 500, *, scale: float = 1.0) -> np.ndarray:
        """Return the view as an array (height, width, 3) of uint8, first row on top.

        Parameters
        ----------
        width, height
            Size in device independent pixels.
        scale
            Device pixels per pixel; text grows with it.

        Raises
        ------
        RuntimeError
            OpenGL is missing on this machine.
        """
        if gl_problem():
            raise RuntimeError(gl_problem())
        pixels = max(int(width * scale), 8), max(int(height * scale), 8)
        self.window.SetDPI(int(72 * scale))
        self.window.SetSize(*pixels)
        self.interactor.SetSize(*pixels)
        self._rendering = True  # the pipeline reports changes while it updates: they are part of this picture
        try:
            self._before_render(*pixels)
            self.window.Render()
        finally:
            self._rendering = False
        source = vtk.vtkWindowToImageFilter()
        source.SetInput(self.window)
        source.ReadFrontBufferOff()
        source.Update()
        image = source.GetOutput()
        shape = image.GetDimensions()[1], image.GetDimensions()[0], 3
        return np.ascontiguousarray(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)[::-1])

    def _manage(self, factory: Any, node: Any) -> None:
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)
        self.group.SetMRMLDisplayableNode(node)
        self.group.AddObserver(vtk.vtkCommand.UpdateEvent, self._report)

    def _report(self, *_event: Any) -> None:
        if not self._rendering:
            self.on_change()


class SliceCanvas(Canvas):
    """One slice view: real slice logic and 2D displayable managers."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.node = node
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        logic = self.logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.SetSliceNode(node)
        self._manage(_factory("vtkMRMLSliceViewDisplayableManagerFactory", SLICE_MANAGERS), node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self.corner = vtk.vtkCornerAnnotation()
        self.corner.SetMaximumFontSize(14)
        self.renderer.AddViewProp(self.corner)
        style = slicer.vtkMRMLSliceViewInteractorStyle()
        style.SetDisplayableManagers(self.group)
        style.SetSliceLogic(logic)
        style.SetInteractor(self.interactor)
        self.style = style
        logic.SetDisplayableManagerGroup(self.group)
        logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._report)

    def _before_render(self, width: int, height: int) -> None:
        self.logic.ResizeSliceNode(width, height)
        connection = self.logic.GetImageDataConnection()
        self.renderer.RemoveViewProp(self._actor)
        if connection is not None:
            self._mapper.SetInputConnection(connection)
            self.renderer.AddViewProp(self._actor)
        self.corner.SetText(0, self._layer_text())

    def _layer_text(self) -> str:
        composite, scene = self.logic.GetSliceCompositeNode(), slicer.mrmlScene
        rows = (("L", composite.GetLabelVolumeID(), composite.GetLabelOpacity()),
                ("F", composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()),
                ("B", composite.GetBackgroundVolumeID(), 1.0))  # fmt: skip
        lines = []
        for letter, node_id, opacity in rows:
            node = scene.GetNodeByID(node_id) if node_id else None
            if node is not None:
                lines.append(f"{letter}: {node.GetName()}" + (f" ({opacity:.0%})" if letter != "B" else ""))
        return "\n".join(lines)


class ThreeDCanvas(Canvas):
    """The 3D view: real view logic and 3D displayable managers (no volume rendering: it needs a GPU)."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.node = node
        self.renderer.GradientBackgroundOn()
        self.renderer.SetBackground(0.7568, 0.7646, 0.9098)
        self.renderer.SetBackground2(0.4549, 0.4706, 0.7451)
        logic = self.logic = slicer.vtkMRMLViewLogic()
        logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetViewLogics().AddItem(logic)
        logic.SetMRMLScene(slicer.mrmlScene)
        logic.AddViewNode(node.GetLayoutName())  # finds the node of this layout name
        style = self.style = slicer.vtkMRMLThreeDViewInteractorStyle()
        style.SetInteractor(self.interactor)
        self._manage(_factory("vtkMRMLThreeDViewDisplayableManagerFactory", THREED_MANAGERS), node)
        style.SetDisplayableManagers(self.group)

    def _before_render(self, width: int, height: int) -> None:
        self.renderer.ResetCameraClippingRange()

    def reset(self) -> None:
        """Show everything, as the center button of the 3D view does; box and axis labels do not count."""
        node, shown = self.node, (self.node.GetBoxVisible(), self.node.GetAxisLabelsVisible())
        node.SetBoxVisible(False)
        node.SetAxisLabelsVisible(False)
        self.renderer.ResetCamera()
        node.SetBoxVisible(shown[0])
        node.SetAxisLabelsVisible(shown[1])


class PlotCanvas(Canvas):
    """A plot chart node drawn with VTK's charts."""

    def __init__(self) -> None:
        super().__init__()
        self.chart_node: Any = None
        self.chart = vtk.vtkChartXY()
        actor = vtk.vtkContextActor()
        actor.GetScene().AddItem(self.chart)
        self.renderer.SetBackground(1, 1, 1)
        self.renderer.AddActor(actor)
        actor.GetScene().SetRenderer(self.renderer)

    def _before_render(self, width: int, height: int) -> None:
        chart, node = self.chart, self.chart_node
        chart.ClearPlots()
        if node is None:
            return
        for index in range(node.GetNumberOfPlotSeriesNodes()):
            self._add(node.GetNthPlotSeriesNode(index))
        chart.SetTitle(node.GetTitle() or "" if node.GetTitleVisibility() else "")
        chart.SetShowLegend(bool(node.GetLegendVisibility()))
        chart.GetTitleProperties().SetFontSize(node.GetTitleFontSize())
        chart.GetLegend().SetLabelSize(node.GetLegendFontSize())
        for axis_id, title, visible, grid, logarithmic, fixed, limits in (
            (vtk.vtkAxis.BOTTOM, node.GetXAxisTitle(), node.GetXAxisTitleVisibility(), node.GetGridVisibility(),
             node.GetXAxisLogScale(), not node.GetXAxisRangeAuto(), node.GetXAxisRange()),
            (vtk.vtkAxis.LEFT, node.GetYAxisTitle(), node.GetYAxisTitleVisibility(), node.GetGridVisibility(),
             node.GetYAxisLogScale(), not node.GetYAxisRangeAuto(), node.GetYAxisRange()),
        ):  # fmt: skip
            axis = chart.GetAxis(axis_id)
            axis.SetTitle(title or "" if visible else "")
            axis.SetGridVisible(bool(grid))
            axis.SetLogScale(bool(logarithmic))
            axis.SetBehavior(vtk.vtkAxis.FIXED if fixed else vtk.vtkAxis.AUTO)
            axis.GetLabelProperties().SetFontSize(node.GetAxisLabelFontSize())
            axis.GetTitleProperties().SetFontSize(node.GetAxisTitleFontSize())
            if fixed:
                axis.SetRange(*limits)
        chart.RecalculateBounds()

    def _add(self, series: Any) -> None:
        table_node = series.GetTableNode() if series else None
        if table_node is None or table_node.GetTable() is None:
            return
        kind = series.GetPlotType()
        line = kind in (series.PlotTypeLine, series.PlotTypeScatter)
        plot = self.chart.AddPlot(vtk.vtkChart.LINE if line else vtk.vtkChart.BAR)
        table = table_node.GetTable()
        if kind in (series.PlotTypeScatter, series.PlotTypeScatterBar) and series.GetXColumnName():
            plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
        else:
            plot.SetUseIndexForXSeries(True)
            plot.SetInputData(table, series.GetYColumnName(), series.GetYColumnName())
        plot.SetLabel(series.GetName())
        plot.SetColorF(*series.GetColor())
        if line:
            plot.SetMarkerStyle(series.GetMarkerStyle())  # numbered alike in MRML and VTK
            plot.GetPen().SetLineType(series.GetLineStyle())
            plot.SetWidth(series.GetLineWidth())
        labels = table.GetColumnByName(series.GetLabelColumnName() or "")
        if labels is not None and not line:
            axis = self.chart.GetAxis(vtk.vtkAxis.BOTTOM)
            positions = vtk.vtkDoubleArray()
            for index in range(table.GetNumberOfRows()):
                positions.InsertNextValue(index)
            axis.SetCustomTickPositions(positions, labels)


def save_png(image: np.ndarray, path: str | Path) -> Path:
    """Write an array (rows, columns, 3) of uint8 as PNG and return the path."""
    from vtk.util.numpy_support import numpy_to_vtk

    data = vtk.vtkImageData()
    data.SetDimensions(image.shape[1], image.shape[0], 1)
    data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(image[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    writer.Write()
    return Path(path)
