"""The transform of a run is applied to other objects by clicks and from Python."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from panel_helpers import settle, shown, wait


@pytest.fixture
def opened(panel, finish, ui):
    """A finished run with the list of objects open."""
    run = finish()
    ui.resultButton.collapsed = False
    ui.applyButton.collapsed = False
    ui.applySideCombo.currentIndex = ui.applySideCombo.findData("fixed")
    ui.applyHardenCheck.checked = True
    settle()
    return run


def names(panel) -> list[str]:
    return [panel.apply.tree.topLevelItem(n).text(0) for n in range(panel.apply.tree.topLevelItemCount)]


def press(panel, ui):
    ui.applyNowButton.click()
    wait(lambda: not panel.apply.busy)


def world_points(node) -> np.ndarray:
    return np.array([list(node.GetNthControlPointPositionWorld(n)) for n in range(node.GetNumberOfControlPoints())])


def test_there_is_nothing_to_apply_before_a_run(panel, pair, ui):
    assert not shown(ui.applyButton)


def test_points_and_segmentation_come_to_the_fixed_side(panel, opened, picked, ui):
    assert shown(ui.applyButton) and not ui.applyNowButton.enabled
    results = {opened.warped.GetName(), opened.jacobian.GetName()}
    assert picked.moving.GetName() in names(panel) and not results & set(names(panel))
    panel.apply.check(picked.moving_points.GetName())
    panel.apply.check(picked.moving_labels.GetName())
    assert ui.applyNowButton.enabled
    press(panel, ui)
    assert "Applied to 2 of 2 objects" in ui.applyMessageLabel.text
    points = slicer.util.getNode(f"{picked.moving_points.GetName()} on {picked.fixed.GetName()}")
    assert np.abs(world_points(points) - world_points(picked.fixed_points)).max() < 1.0
    segmentation = slicer.util.getNode(f"{picked.moving_labels.GetName()} on {picked.fixed.GetName()}")
    segments = picked.moving_labels.GetSegmentation().GetNumberOfSegments()
    assert segmentation.GetSegmentation().GetNumberOfSegments() == segments


def test_objects_of_the_fixed_side_go_to_the_moving_side_under_the_inverse(panel, opened, picked, ui):
    ui.applySideCombo.currentIndex = ui.applySideCombo.findData("moving")
    ui.applyHardenCheck.checked = False
    assert not ui.applyLabelsCombo.enabled
    panel.apply.check(picked.fixed_points.GetName())
    press(panel, ui)
    assert np.abs(world_points(picked.fixed_points) - world_points(picked.moving_points)).max() < 1.0
    press(panel, ui)
    assert "already under this transform" in ui.applyMessageLabel.text


def test_a_folder_stands_for_what_is_in_it(panel, opened, picked, ui):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Plan")
    for node in (picked.moving_points, picked.moving_labels):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    panel.validate()
    panel.apply.check("Plan")
    assert set(panel.apply.selected()) == {picked.moving_points, picked.moving_labels}
    panel.apply.check("Plan", on=False)
    assert panel.apply.selected() == [] and not ui.applyNowButton.enabled


def test_the_volume_of_the_destination_is_refused(panel, opened, picked, ui):
    panel.apply.check(picked.fixed.GetName())
    press(panel, ui)
    assert "Applied to 0 of 1 objects" in ui.applyMessageLabel.text and "side to which" in ui.applyMessageLabel.text


def test_a_deleted_transform_is_reported(panel, opened, picked, ui):
    panel.apply.check(picked.moving_points.GetName())
    slicer.mrmlScene.RemoveNode(opened.transform)
    press(panel, ui)
    assert "was deleted" in ui.applyMessageLabel.text


def test_closing_the_scene_meanwhile(panel, opened, picked, ui):
    panel.apply.check(picked.moving_labels.GetName())
    ui.applyNowButton.click()
    slicer.mrmlScene.Clear(0)
    settle()
    assert not panel.apply.busy and not shown(ui.applyButton)


def test_the_logic_applies_runs_and_transforms_to_nodes_and_items(widget, opened, picked):
    logic = widget.logic
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    (done,) = logic.apply(opened, [hierarchy.GetItemByDataNode(picked.moving_points)])
    assert np.abs(world_points(done.node) - world_points(picked.fixed_points)).max() < 1.0
    (there,) = logic.apply(opened.transform, [picked.fixed_points], to="moving")
    assert np.abs(world_points(there.node) - world_points(picked.moving_points)).max() < 1.0
    from DeepVsClassicRegLib.core.errors import RegistrationError

    with pytest.raises(RegistrationError, match="no side 'up'"):
        logic.apply(opened.transform, [picked.fixed_points], to="up")
