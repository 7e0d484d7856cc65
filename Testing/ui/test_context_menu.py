"""The context menu of the data tree: a volume becomes fixed or moving, a sequence is opened for motion correction."""

from __future__ import annotations

import slicer
from panel_helpers import settle
from slicer_standin.hierarchy_plugins import menu_of

VOLUME_ENTRIES = ["Register this to...", "Use as fixed volume", "Use as moving volume"]


def trigger(node, text):
    menu_of(node)[text].trigger()
    settle()


def test_volumes_have_the_entries_and_nothing_else_has(widget, pair):
    assert list(menu_of(pair.fixed)) == VOLUME_ENTRIES
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    for node in (labels, pair.fixed_labels, pair.fixed_points):
        assert menu_of(node) == {}


def test_a_volume_is_registered_to_the_fixed_one(panel, ui, pair):
    ui.fixedSelector.setCurrentNode(pair.fixed)
    slicer.util.selectModule("Markups")
    trigger(pair.moving, "Register this to...")
    assert ui.movingSelector.currentNode() is pair.moving
    assert ui.fixedSelector.currentNode() is pair.fixed
    assert slicer.util.selectedModule() == "DeepVsClassicReg"


def test_fixed_and_moving_change_places(panel, ui, picked):
    trigger(picked.moving, "Use as fixed volume")
    assert ui.fixedSelector.currentNode() is picked.moving
    assert ui.movingSelector.currentNode() is picked.fixed
    assert panel.parameter_node.GetNodeReference("Input.fixed") is picked.moving


def test_a_volume_may_be_chosen_before_the_module_was_opened(widget, panel, ui, pair):
    panel.set_parameter_node(None)
    third = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    trigger(third, "Use as moving volume")
    assert panel.parameter_node is widget.logic.getParameterNode()
    assert ui.movingSelector.currentNode() is third


def test_the_entries_work_after_a_reload(widget, pair, same_library):
    slicer.modules.DeepVsClassicRegWidget.onReload()
    trigger(pair.fixed, "Use as moving volume")
    assert slicer.modules.DeepVsClassicRegWidget.panel.ui.movingSelector.currentNode() is pair.fixed


def test_the_motion_of_a_sequence_is_corrected(panel, ui, pair):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Breathing")
    for number, node in enumerate((pair.fixed, pair.moving)):
        sequence.SetDataNodeAtValue(node, str(number))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    assert list(menu_of(proxy)) == [*VOLUME_ENTRIES, "Correct motion..."]
    trigger(proxy, "Correct motion...")
    assert ui.motionCombo.currentText == "Breathing"
    assert not ui.motionButton.collapsed
