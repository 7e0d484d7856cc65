"""The widget stand-ins behave like the CTK and Slicer widgets they replace."""

import ctk
import numpy as np
import pytest
import qt
import slicer
import vtk

VOLUME = "vtkMRMLScalarVolumeNode"


def combo(scene, **properties):
    made = slicer.qMRMLNodeComboBox()
    made.nodeTypes = [VOLUME]
    for name, value in properties.items():
        setattr(made, name, value)
    made.setMRMLScene(scene)
    return made


def heard(widget, signal):
    log = []
    widget.connect(signal, log.append)
    return log


def test_combo_selects_the_first_node_unless_none_is_allowed(slicer_scene):
    strict, free = combo(slicer_scene), combo(slicer_scene, noneEnabled=True)
    changes, validity = heard(strict, "currentNodeChanged(vtkMRMLNode*)"), heard(strict, "currentNodeChanged(bool)")
    node = slicer_scene.AddNewNodeByClass(VOLUME)
    assert strict.currentNode() is node
    assert free.currentNode() is None
    other = slicer_scene.AddNewNodeByClass(VOLUME)
    slicer_scene.RemoveNode(node)
    assert strict.currentNode() is other
    slicer_scene.RemoveNode(other)
    assert changes == [node, other, None]
    assert validity == [True, True, False]


def test_combo_filters_types_hidden_nodes_and_attributes(slicer_scene):
    plain = combo(slicer_scene)
    exact = combo(slicer_scene, showChildNodeTypes=False)
    tagged = combo(slicer_scene)
    tagged.addAttribute(VOLUME, "Role", "fixed")
    volume = slicer_scene.AddNewNodeByClass(VOLUME)
    slicer_scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    hidden = slicer_scene.AddNewNodeByClass(VOLUME)
    hidden.SetHideFromEditors(True)
    assert (plain.nodeCount(), exact.nodeCount(), tagged.nodeCount()) == (2, 1, 0)
    volume.SetAttribute("Role", "fixed")
    assert tagged.currentNode() is volume
    assert tagged.addNode().GetAttribute("Role") == "fixed"


def test_combo_survives_closing_the_scene_and_foreign_ids(slicer_scene):
    made = combo(slicer_scene, noneEnabled=True)
    made.setCurrentNode(slicer_scene.AddNewNodeByClass(VOLUME))
    log = heard(made, "currentNodeIDChanged(QString)")
    slicer_scene.Clear(0)
    assert made.currentNode() is None
    made.setCurrentNodeID("vtkMRMLScalarVolumeNode99")
    assert log == [""]
    again = slicer_scene.AddNewNodeByClass(VOLUME, "again")
    made.setCurrentNode(again)
    again.SetName("renamed")
    assert made.currentNode() is again


def test_deleted_combo_is_not_used_by_the_scene(slicer_scene):
    made = combo(slicer_scene)
    made.delete()
    slicer_scene.AddNewNodeByClass(VOLUME)


def test_checkable_combo(slicer_scene):
    made = slicer.qMRMLCheckableNodeComboBox()
    made.nodeTypes = [VOLUME]
    made.setMRMLScene(slicer_scene)
    first, second = (slicer_scene.AddNewNodeByClass(VOLUME) for _ in range(2))
    log = []
    made.connect("checkedNodesChanged()", lambda: log.append(1))
    made.check(second)
    assert made.checkedNodes() == [second]
    assert made.uncheckedNodes() == [first]
    assert made.checkState(second) == qt.Qt.Checked
    assert log == [1]


def test_segment_selector(slicer_scene):
    made = slicer.qMRMLSegmentSelectorWidget()
    made.setMRMLScene(slicer_scene)
    node = slicer_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().AddEmptySegment("a", "Liver")
    node.GetSegmentation().AddEmptySegment("b", "Kidney")
    log = heard(made, "currentSegmentChanged(QString)")
    assert made.currentNode() is node
    assert made.currentSegmentID() == "a"
    made.setCurrentSegmentID("b")
    node.GetSegmentation().RemoveSegment("b")
    assert made.currentSegmentID() == "a"
    assert log == ["b", "a"]


def test_slider_clamps_and_notifies(slicer_scene):
    made = ctk.ctkSliderWidget()
    made.decimals = 3
    made.minimum, made.maximum, made.singleStep = -1.0, 1.0, 0.001
    log = heard(made, "valueChanged(double)")
    made.value = 0.125
    made.value = 9
    made.maximum = 0.5
    assert log == [0.125, 1.0, 0.5]


def test_range_widget_keeps_order():
    made = ctk.ctkRangeWidget()
    made.minimum, made.maximum = 0, 10
    made.setValues(2, 3)
    made.setValues(5, 8)
    assert (made.minimumValue, made.maximumValue) == (5.0, 8.0)
    made.minimumValue = 9
    assert made.minimumValue <= made.maximumValue


def test_collapsible_button_hides_and_remembers():
    window = qt.QWidget()
    layout = qt.QVBoxLayout(window)
    section = ctk.ctkCollapsibleButton("Inputs")
    layout.addWidget(section)
    form = qt.QFormLayout(section)
    shown, hidden = qt.QLineEdit(), qt.QLineEdit()
    form.addRow("a:", shown)
    form.addRow("b:", hidden)
    hidden.visible = False
    window.show()
    slicer.app.processEvents()
    tall = section.sizeHint.height()
    section.collapsed = True
    assert (shown.visible, section.checked) == (False, False)
    assert section.sizeHint.height() < tall
    hidden.visible = True
    assert hidden.visible is False
    section.collapsed = False
    assert (shown.visible, hidden.visible) == (True, True)
    window.delete()


def test_path_line_edit_asks_for_the_right_dialog(dialogs):
    made = ctk.ctkPathLineEdit()
    log = heard(made, "currentPathChanged(QString)")
    for filters, function in (
        (made.Files, "getOpenFileName"),
        (made.Files | made.Writable, "getSaveFileName"),
        (made.Dirs, "getExistingDirectory"),
    ):
        made.filters = filters
        dialogs.answer(function, f"/{function}")
        made.browse()
    assert log == ["/getOpenFileName", "/getSaveFileName", "/getExistingDirectory"]


def test_table_view_shows_and_follows_its_node(slicer_scene):
    node = slicer_scene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(node, np.array([[0.5, 2.0], [0.25, 10.0]]), ["Dice", "HD95"])
    view = slicer.qMRMLTableView()
    view.setMRMLScene(slicer_scene)
    view.setMRMLTableNode(node)
    model = view.model()
    assert [model.index(0, column).data() for column in range(2)] == ["Dice", "HD95"]
    node.SetUseColumnTitleAsColumnHeader(True)
    assert [model.headerData(column, qt.Qt.Horizontal) for column in range(2)] == ["Dice", "HD95"]
    assert model.index(1, 1).data() == "10"
    node.GetTable().SetValue(1, 1, vtk.vtkVariant(3.5))
    node.Modified()
    assert model.index(1, 1).data() == "3.5"
    view.sortingEnabled = True
    view.sortByColumn(1, qt.Qt.AscendingOrder)
    assert model.index(0, 1).data() == "2"


def test_message_boxes_of_slicer_util_do_not_block(dialogs):
    assert slicer.util.confirmOkCancelDisplay("Sure?") is False, "testing mode confirms nothing"
    slicer.util.errorDisplay("Broken")
    assert dialogs.shown == []


def test_modal_dialog_without_prepared_answer_fails(dialogs, recorded_errors):
    with pytest.raises(RuntimeError, match="without a canned answer"):
        qt.QFileDialog.getOpenFileName(None, "Pick")
    assert "getOpenFileName" in recorded_errors()[0]
    dialogs.answer("exec", qt.QMessageBox.Yes)
    assert ctk.ctkMessageBox().exec_() == qt.QMessageBox.Yes
