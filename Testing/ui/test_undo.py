"""Slicer's undo (off by default) works beside the panel, and takes back what the panel did to the scene."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import settle, wait

KINDS = ("vtkMRMLScalarVolumeNode", "vtkMRMLTransformNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsFiducialNode")


@pytest.fixture
def undo(widget):
    """Switches undo on, as applications do: for the scene and for new nodes of some classes."""
    scene = slicer.mrmlScene
    for kind in KINDS:
        default = scene.CreateNodeByClass(kind)
        default.UnRegister(None)
        default.SetUndoEnabled(True)
        scene.AddDefaultNode(default)
    scene.SetUndoOn()
    yield scene
    scene.SetUndoOff()
    scene.ClearUndoStack()
    scene.ClearRedoStack()
    for kind in KINDS:
        scene.GetDefaultNodeByClass(kind).SetUndoEnabled(False)


def test_undo_takes_back_the_nodes_of_a_run_and_redo_brings_them_again(undo, panel, picked, ui, finish):
    run = finish()
    made = [run.transform.GetID(), run.warped.GetID(), run.jacobian.GetID()]
    undo.Undo()
    settle()
    wait(lambda: not panel.checking and not panel.busy)
    assert not [node for node in made if slicer.mrmlScene.GetNodeByID(node)]
    assert picked.fixed.GetScene() is not None and ui.fixedSelector.currentNode() is picked.fixed
    ui.blendButton.click()
    wait(lambda: not panel.busy)
    assert "was deleted" in ui.locationLabel.text
    undo.Redo()
    settle()
    assert all(slicer.mrmlScene.GetNodeByID(node) for node in made)
    assert finish().exists  # the panel goes on


def test_undo_during_a_comparison_leaves_the_views_of_the_user(undo, panel, picked, ui, finish):
    slicer.util.setSliceViewerLayers(background=picked.moving, foreground=None)
    finish()
    ui.gridButton.click()
    wait(lambda: not panel.busy)
    undo.Undo()
    settle()
    panel.qa.close()
    composite = slicer.util.getNode("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetBackgroundVolumeID() == picked.moving.GetID()
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode")]
    assert not [name for name in names if name.startswith("Comparison")]


def test_a_transform_applied_to_an_object_is_taken_back(undo, panel, picked, ui, finish):
    run = finish()
    ui.applyButton.collapsed = False
    panel.validate()
    panel.apply.check(picked.moving.GetName())
    ui.applyHardenCheck.checked = False
    ui.applyNowButton.click()
    wait(lambda: not panel.busy)
    assert picked.moving.GetTransformNodeID() == run.transform.GetID()
    undo.Undo()
    settle()
    assert not picked.moving.GetTransformNodeID()
    assert run.transform.GetScene() is not None


def test_nothing_is_stored_while_undo_is_off(panel, picked, finish):
    finish()
    assert slicer.mrmlScene.GetNumberOfUndoLevels() == 0
