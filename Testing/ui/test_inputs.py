"""Selecting: the button knows what is missing, bad inputs are reported with a remedy, swapping swaps everything."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import slicer
from panel_helpers import settle, shown, wait


def messages(panel) -> str:
    """The problems shown, without markup."""
    import qt

    wait(lambda: not panel.checking)
    document = qt.QTextDocument()
    document.setHtml(panel.ui.problemsLabel.text)
    return document.toPlainText()


def test_an_empty_panel_shows_what_to_do(panel, ui):
    assert "fixed volume" in messages(panel)
    assert "moving volume" in messages(panel)
    assert not ui.registerButton.enabled
    assert "fixed volume" in ui.registerButton.toolTip
    assert ui.registerButton.text == "Register"
    assert shown(ui.sampleButton)


def test_all_but_the_volumes_and_the_engine_is_collapsed(ui):
    sections = "moreInputs settings outputs machine progress why limits case"
    for name in sections.split():
        assert getattr(ui, f"{name}Button").collapsed, name
    assert not shown(ui.resultButton)
    assert not shown(ui.whyButton) and not shown(ui.useAdviceButton)


def test_two_volumes_are_picked_without_a_click(widget, panel, pair):
    panel.set_parameter_node(widget.logic.getParameterNode())
    assert panel.ui.fixedSelector.currentNode() is pair.fixed
    assert panel.ui.movingSelector.currentNode() is pair.moving


def test_a_good_pair_may_start(panel, picked, ui):
    assert messages(panel) == ""
    assert ui.registerButton.enabled
    assert not shown(ui.sampleButton)


def test_the_example_pair_is_one_click_away(panel, ui, monkeypatch, phantom):
    from DeepVsClassicRegLib.ui import panel as panel_file

    monkeypatch.setattr(panel_file, "generate_phantom", lambda: phantom)
    ui.sampleButton.click()
    wait(lambda: ui.registerButton.enabled)
    assert ui.fixedLabelsSelector.currentNode() is not None
    assert ui.movingPointsSelector.currentNode() is not None


def test_swapping_swaps_everything(panel, picked, ui):
    segment = picked.fixed_labels.GetSegmentation().GetNthSegmentID(1)
    ui.fixedLabelsSegmentCombo.currentIndex = ui.fixedLabelsSegmentCombo.findData(segment)
    ui.swapButton.click()
    assert ui.fixedSelector.currentNode() is picked.moving
    assert ui.movingLabelsSelector.currentNode() is picked.fixed_labels
    assert ui.movingLabelsSegmentCombo.currentData == segment
    assert ui.fixedLabelsSegmentCombo.currentData == ""
    assert ui.fixedPointsSelector.currentNode() is picked.moving_points


def test_segments_follow_the_segmentation(panel, picked, ui):
    before = ui.fixedMaskSegmentCombo.count
    assert not shown(ui.fixedMaskSegmentCombo)
    ui.fixedMaskSelector.setCurrentNode(picked.fixed_labels)
    count = picked.fixed_labels.GetSegmentation().GetNumberOfSegments()
    assert (before, ui.fixedMaskSegmentCombo.count) == (1, count + 1)
    picked.fixed_labels.GetSegmentation().AddEmptySegment("", "Fresh")
    assert ui.fixedMaskSegmentCombo.findText("Fresh") > 0


def bad_same(panel, pair, ui):
    ui.movingSelector.setCurrentNode(pair.fixed)
    return "same volume"


def bad_constant(panel, pair, ui):
    slicer.util.updateVolumeFromArray(pair.fixed, np.zeros((16, 16, 16), np.float32))
    return "constant"


def bad_single_slice(panel, pair, ui):
    slicer.util.updateVolumeFromArray(pair.fixed, np.random.default_rng(0).random((1, 32, 32)).astype(np.float32))
    return "single slice"


def bad_tiny(panel, pair, ui):
    slicer.util.updateVolumeFromArray(pair.moving, np.random.default_rng(0).random((3, 9, 9)).astype(np.float32))
    return "only 3 voxels"


def bad_no_image(panel, pair, ui):
    pair.moving.SetAndObserveImageData(None)
    return "contains no image"


def bad_sheared(panel, pair, ui):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 1, 0.4)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "shear")
    node.SetMatrixTransformToParent(matrix)
    pair.moving.SetAndObserveTransformNodeID(node.GetID())
    return "shear"


def bad_nonlinear_parent(panel, pair, ui):
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    spline = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        points.InsertNextPoint(*(50.0 * value for value in corner))
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(points)
    node.SetAndObserveTransformToParent(spline)
    pair.moving.SetAndObserveTransformNodeID(node.GetID())
    return "non-linear"


def bad_points_count(panel, pair, ui):
    pair.fixed_points.RemoveNthControlPoint(0)
    return "landmark lists"


def bad_same_points(panel, pair, ui):
    ui.movingPointsSelector.setCurrentNode(pair.fixed_points)
    return "same list"


def bad_same_labels(panel, pair, ui):
    ui.movingLabelsSelector.setCurrentNode(pair.fixed_labels)
    return "same"


def bad_empty_mask(panel, pair, ui):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing drawn")
    ui.fixedMaskSelector.setCurrentNode(node)
    return "is empty"


BAD = [value for name, value in sorted(globals().items()) if name.startswith("bad_")]


@pytest.mark.parametrize("spoil", BAD, ids=lambda function: function.__name__.removeprefix("bad_"))
def test_bad_inputs_are_reported_and_stop_the_run(panel, picked, ui, spoil):
    expected = spoil(panel, picked, ui)
    settle()
    text = messages(panel)
    assert expected in text, text
    assert not ui.registerButton.enabled
    assert expected in ui.registerButton.toolTip


def test_only_one_segmentation_is_a_remark_not_an_error(panel, picked, ui):
    ui.movingLabelsSelector.setCurrentNode(None)
    assert "Only one segmentation" in messages(panel)
    assert ui.registerButton.enabled


def test_a_deleted_volume_is_noticed(panel, picked, ui):
    slicer.mrmlScene.RemoveNode(picked.moving)
    assert "No moving volume" in messages(panel)
    assert not ui.registerButton.enabled


def test_a_corrected_volume_is_accepted(panel, picked, ui):
    image = picked.moving.GetImageData()
    picked.moving.SetAndObserveImageData(None)
    assert "contains no image" in messages(panel)
    picked.moving.SetAndObserveImageData(image)
    assert messages(panel) == ""
    assert ui.registerButton.enabled


def test_no_output_wanted_is_reported(panel, picked, ui):
    for name in ("transform", "warped", "warpedLabels", "jacobian", "reportTable"):
        getattr(ui, f"{name}Check").checked = False
    messages(panel)
    assert "output" in ui.registerButton.toolTip
    assert not ui.registerButton.enabled


def test_an_example_that_arrives_after_the_scene_was_closed_is_dropped(panel, ui, monkeypatch, phantom):
    from DeepVsClassicRegLib.ui import panel as panel_file

    gate, left = threading.Event(), threading.Event()

    def slow():
        gate.wait(60)
        left.set()
        return phantom

    monkeypatch.setattr(panel_file, "generate_phantom", slow)
    ui.sampleButton.click()
    assert not ui.sampleButton.enabled
    slicer.mrmlScene.Clear(0)
    assert ui.sampleButton.enabled
    gate.set()
    wait(left.is_set)
    settle(20)
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    ui.sampleButton.click()
    wait(lambda: slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
