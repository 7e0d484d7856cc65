"""Slice, 3D and plot views show what the scene holds; checked on pixels."""

from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from slicer_standin import boot, modules, screenshots, views


def bright_disc(scene):
    rows, columns, slices = np.mgrid[:40, :40, :40]
    inside = (rows - 20) ** 2 + (columns - 20) ** 2 + (slices - 20) ** 2 < 100
    volume = slicer.util.addVolumeFromArray(inside * 100.0, name="disc")
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 100)
    display.SetInterpolate(False)
    return volume


def red_view():
    return slicer.app.layoutManager().sliceWidget("Red").sliceView()


def grab(view, size=200):
    return view._canvas.grab(size, size)


@pytest.mark.parametrize("name", ["Red", "Green", "Yellow", "3D"])
def test_views_are_grabbed_by_name_at_any_scale(slicer_scene, gl, name):
    assert screenshots.grab_view(name, 80, 60, scale=2.0).shape == (120, 160, 3)


def test_slice_shows_the_volume(slicer_scene, gl):
    volume = bright_disc(slicer_scene)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    picture = grab(red_view())
    assert picture.shape == (200, 200, 3)
    assert tuple(picture[100, 100]) == (255, 255, 255)
    assert tuple(picture[30, 30]) == (0, 0, 0)
    share = (picture[..., 0] > 128).mean()
    assert share == pytest.approx(np.pi * 100 / 1600, rel=0.1), "area of a disc of radius 10 in 40 x 40 mm"


def test_overlay_blends_and_corner_text_names_the_layers(slicer_scene, gl):
    background = bright_disc(slicer_scene)
    foreground = slicer.util.addVolumeFromArray(np.zeros((40, 40, 40)), name="dark")
    slicer.util.setSliceViewerLayers(background=background, foreground=foreground, foregroundOpacity=0.5, fit=True)
    value = int(grab(red_view())[100, 100, 0])
    assert abs(value - 127) <= 2
    assert red_view().cornerAnnotation().GetText(0) == "F: dark (50%)\nB: disc"


def test_segmentation_outline_is_drawn_in_its_color(slicer_scene, gl):
    volume = bright_disc(slicer_scene)
    node = slicer_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("s", "S", [0.0, 1.0, 0.0])
    mask = (slicer.util.arrayFromVolume(volume) > 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    picture = grab(red_view()).astype(int)
    green = (picture[..., 1] > picture[..., 0] + 60) & (picture[..., 1] > 100)
    assert green.sum() > 100


def test_deformed_grid_of_a_transform_is_drawn(slicer_scene, gl):
    volume = bright_disc(slicer_scene)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    before = grab(red_view())
    transform = slicer_scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.CreateDefaultDisplayNodes()
    display = transform.GetDisplayNode()
    display.SetAndObserveRegionNode(volume)
    display.SetVisualizationMode(display.VIS_MODE_GRID)
    display.SetVisibility(True)
    display.SetVisibility2D(True)
    assert (grab(red_view()) != before).any(axis=-1).mean() > 0.02


def test_closed_scene_leaves_a_black_view(slicer_scene, gl):
    slicer.util.setSliceViewerLayers(background=bright_disc(slicer_scene), fit=True)
    assert grab(red_view()).max() == 255
    slicer_scene.Clear(0)
    assert grab(red_view()).max() == 0


def test_linked_views_move_together(slicer_scene):
    slicer.util.setSliceViewerLayers(background=bright_disc(slicer_scene), fit=True)
    layout = slicer.app.layoutManager()
    red, green = layout.sliceWidget("Red"), layout.sliceWidget("Green")
    green.mrmlSliceNode().SetOrientation("Axial")
    red.sliceController().setSliceLink(True)
    red.sliceController().setSliceOffsetValue(7.0)
    assert green.sliceLogic().GetSliceOffset() == pytest.approx(7.0)
    green.mrmlSliceNode().SetOrientation("Coronal")


def test_three_d_view_shows_a_slice(slicer_scene, gl):
    slicer.util.setSliceViewerLayers(background=bright_disc(slicer_scene), fit=True)
    layout = slicer.app.layoutManager()
    view = layout.threeDWidget(0).threeDView()
    empty = grab(view)
    layout.sliceWidget("Green").sliceController().setSliceVisible(True)
    slicer.util.resetThreeDViews()
    assert (grab(view) != empty).any(axis=-1).mean() > 0.1


def test_layouts_create_plot_and_table_views(slicer_scene, gl):
    layout = slicer.app.layoutManager()
    nodes = {}
    values = np.c_[np.arange(9.0), np.arange(9.0) ** 2]
    chart = slicer.util.plot(values, xColumnIndex=0, columnNames=["x", "y"], title="Metric", nodes=nodes)
    table = nodes["table"]
    assert layout.plotViewCount >= 1
    view = layout.plotWidget(0).plotView()
    assert layout.plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID() == chart.GetID()
    before = grab(view, 300)
    assert (before < 128).any(axis=-1).mean() > 0.005, "axes and a line are dark on white"
    slicer.util.arrayFromTableColumn(table, "y")[4] = 64.0
    slicer.util.arrayFromTableColumnModified(table, "y")
    assert (grab(view, 300) != before).any()


def test_main_window_picture_holds_panel_and_views(slicer_scene, gl, tmp_path):
    slicer.util.setSliceViewerLayers(background=bright_disc(slicer_scene), fit=True)
    path = screenshots.screenshot(tmp_path / "window.png", size=(900, 600), scale=2.0)
    image = qt.QImage(str(path))
    assert (image.width(), image.height()) == (1800, 1200)
    picture = screenshots.grab_widget(boot.main_window())
    assert picture.shape == (600, 900, 3)
    red_bar = np.array([243, 74, 51])
    assert (np.abs(picture.astype(int) - red_bar).max(axis=-1) < 8).sum() > 1000
    boot.main_window().hide()


def test_mouse_wheel_scrolls_slices_as_in_slicer(slicer_scene, gl):
    slicer.util.setSliceViewerLayers(background=bright_disc(slicer_scene), fit=True)
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    logic.SetSliceOffset(20.0)
    view = red_view()
    grab(view)
    place = qt.QPointF(50, 50)
    for step in (120, 120, -120):
        wheel = qt.QWheelEvent(
            place, place, qt.QPoint(), qt.QPoint(0, step), qt.Qt.NoButton, qt.Qt.NoModifier, qt.Qt.NoScrollPhase, False
        )
        slicer.app.sendEvent(view, wheel)
    assert logic.GetSliceOffset() == pytest.approx(21.0)


def test_click_and_drag_reaches_the_interactor(slicer_scene, gl):
    slicer.util.setSliceViewerLayers(background=bright_disc(slicer_scene), fit=True)
    widget = slicer.app.layoutManager().sliceWidget("Red")
    grab(widget.sliceView())
    before = widget.mrmlSliceNode().GetFieldOfView()[0]
    slicer.util.clickAndDrag(widget, button="Right", start=(100, 40), end=(100, 120))
    assert widget.mrmlSliceNode().GetFieldOfView()[0] != pytest.approx(before)


def test_panel_picture_is_as_tall_as_the_panel(slicer_scene, tmp_path):
    tiny = Path(__file__).parent / "TinyModule" / "TinyModule.py"
    modules.load_module(tiny)
    slicer.util.selectModule("TinyModule")
    image = qt.QImage(str(screenshots.screenshot(tmp_path / "panel.png", views=False, panel_width=440, scale=1.0)))
    assert image.width() == pytest.approx(440, abs=4)
    assert 150 < image.height() < 500
    modules.unload_module("TinyModule")
    boot.main_window().hide()


def test_without_opengl_the_panel_is_still_pictured(slicer_scene, tmp_path, monkeypatch):
    monkeypatch.setattr(views, "gl_problem", lambda: "off-screen OpenGL is missing")
    with pytest.raises(RuntimeError, match="OpenGL is missing"):
        screenshots.grab_view("Red")
    path = screenshots.screenshot(tmp_path / "window.png", size=(900, 600), scale=1.0)
    assert qt.QImage(str(path)).width() == 900
    boot.main_window().hide()


def test_paused_rendering_ends_with_a_repaint(slicer_scene):
    with slicer.util.RenderBlocker():
        assert slicer.app.isRenderPaused
    assert not slicer.app.isRenderPaused
