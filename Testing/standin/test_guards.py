"""What a real Slicer showed and this process survives is reported: display nodes, hierarchy, saving, file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
import vtk
from slicer_standin import boot, modules, screenshots

TINY = Path(__file__).parent / "TinyModule" / "TinyModule.py"


@pytest.fixture
def segmentation(slicer_scene):
    node = slicer_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Organs")
    node.GetSegmentation().AddEmptySegment("liver", "Liver")
    node.CreateDefaultDisplayNodes()
    return node


def display_node(kind="vtkMRMLSegmentationDisplayNode"):
    return slicer.mrmlScene.AddNewNodeByClass(kind)


def hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def test_a_second_display_node_on_a_node_of_the_user_is_reported(segmentation, recorded_errors):
    segmentation.AddAndObserveDisplayNodeID(display_node().GetID())
    (found,) = recorded_errors()
    assert "a second vtkMRMLSegmentationDisplayNode was added to 'Organs'" in found


def test_a_display_node_that_leaves_its_node_behind_is_reported(segmentation, slicer_scene, recorded_errors):
    slicer_scene.RemoveNode(segmentation.GetDisplayNode())
    (found,) = recorded_errors()
    assert "was removed while 'Organs' stays in the scene" in found


def test_hidden_volumes_may_change_their_display_nodes(slicer_scene):
    node = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name="helper")
    node.SetHideFromEditors(True)
    second = display_node("vtkMRMLScalarVolumeDisplayNode")
    node.AddAndObserveDisplayNodeID(second.GetID())
    slicer_scene.RemoveNode(second)


def test_removing_the_node_before_its_display_node_is_fine(segmentation, slicer_scene):
    display = segmentation.GetDisplayNode()
    slicer_scene.RemoveNode(segmentation)
    slicer_scene.RemoveNode(display)


def test_segments_have_items_below_their_segmentation(segmentation):
    item = hierarchy().GetItemByDataNode(segmentation)
    children = vtk.vtkIdList()
    segmentation.GetSegmentation().AddEmptySegment("spleen", "Spleen")
    segmentation.GetSegmentation().GetSegment("liver").SetName("Hepar")
    hierarchy().GetItemChildren(item, children)
    names = [hierarchy().GetItemName(children.GetId(index)) for index in range(children.GetNumberOfIds())]
    assert names == ["Hepar", "Spleen"]
    segmentation.GetSegmentation().RemoveSegment("liver")
    assert hierarchy().GetNumberOfItemChildren(item) == 1


def test_a_change_of_a_segmentation_that_is_not_listed_is_critical(slicer_scene, recorded_errors):
    node = slicer_scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    node.UnRegister(None)
    node.SetName("helper")
    node.SetHideFromEditors(True)
    slicer_scene.AddNode(node)
    node.GetSegmentation().AddEmptySegment("liver")
    found = recorded_errors()
    assert found
    assert all("Unable to find subject hierarchy item for segmentation node helper" in text for text in found)


def test_showing_a_segmentation_while_the_scene_closes_is_critical(segmentation, slicer_scene, recorded_errors):
    segmentation.GetDisplayNode().SetVisibility(False)
    tag = slicer_scene.AddObserver(
        slicer_scene.StartCloseEvent, lambda _scene, _event: segmentation.GetDisplayNode().SetVisibility(True)
    )
    slicer_scene.Clear(0)
    slicer_scene.RemoveObserver(tag)
    assert "Unable to find subject hierarchy item for segmentation node Organs" in recorded_errors()[0]


def test_closing_a_scene_shows_no_message(segmentation, slicer_scene):
    slicer_scene.Clear(0)


@pytest.mark.parametrize("ending", ["mrb", "mrml"])
def test_saving_sends_no_event(segmentation, slicer_scene, tmp_path, ending):
    seen = []
    events = slicer_scene.StartSaveEvent, slicer_scene.EndSaveEvent
    tags = [slicer_scene.AddObserver(event, lambda _scene, name: seen.append(name)) for event in events]
    assert slicer.util.saveScene(str(tmp_path / f"scene.{ending}"))
    for tag in tags:
        slicer_scene.RemoveObserver(tag)
    assert seen == []


def test_file_names_that_windows_forbids_are_reported(slicer_scene, tmp_path, recorded_errors):
    for name in ("moving -> fixed", "moving to fixed"):
        slicer.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=name)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    (found,) = recorded_errors()
    assert "moving -> fixed.nrrd" in found.replace("%20", " ").replace("%2D", "-")
    assert "moving to fixed.nrrd" not in found.replace("%20", " ")


def test_a_wide_module_takes_width_from_the_views(slicer_scene):
    modules.load_module(TINY)
    slicer.util.selectModule("TinyModule")
    window = boot.main_window()
    before = window._panel.minimumWidth
    wide = qt.QWidget()
    wide.setMinimumWidth(700)
    slicer.modules.TinyModuleWidget.layout.addWidget(wide)
    screenshots.settle()
    assert window._panel.minimumWidth > 700 > before
    modules.unload_module("TinyModule")
