"""Stand-ins for Slicer's widgets that check several nodes or pick a segment."""

from __future__ import annotations

from typing import Any

import vtk

from slicer_standin.node_widgets import qMRMLNodeComboBox, qMRMLWidget
from slicer_standin.pythonqt import QtCore, QtWidgets, Signal
from slicer_standin.qtmodule import register_widget
from slicer_standin.stored import forwarded, observe, stored


@register_widget
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """A node combo box with a check mark per node."""

    _signals_ = {"checkedNodesChanged()": "checkedNodesChanged"}
    checkedNodesChanged = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._checked: set[str] = set()
        self.noneEnabled, self.addEnabled, self.removeEnabled = True, False, False

    def checkedNodes(self) -> list[Any]:
        return [node for node in self._shown if node.GetID() in self._checked]

    def uncheckedNodes(self) -> list[Any]:
        return [node for node in self._shown if node.GetID() not in self._checked]

    def allChecked(self) -> bool:
        return not self.uncheckedNodes()

    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    def checkState(self, node: Any) -> Any:
        return QtCore.Qt.Checked if node and node.GetID() in self._checked else QtCore.Qt.Unchecked

    def setCheckState(self, node: Any, state: Any) -> None:
        if state != self.checkState(node):
            self._checked.symmetric_difference_update({node.GetID()})
            self.checkedNodesChanged.emit()

    def check(self, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.Checked)

    def uncheck(self, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.Unchecked)


@register_widget
class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Picks a segmentation node and one of its segments."""

    _signals_ = {"currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
                 "currentSegmentChanged(QString)": "currentSegmentChanged"}  # fmt: skip
    currentNodeChanged, currentSegmentChanged = Signal(object), Signal(str)
    noneEnabled = stored("noneEnabled", bool, False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._segmentation: Any = None
        self._tag = 0
        self._nodes, self._segments = qMRMLNodeComboBox(self), QtWidgets.QComboBox(self)
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.addEnabled = self._nodes.removeEnabled = False
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodes)
        layout.addWidget(self._segments)
        self._nodes.currentNodeChanged.connect(self._on_node)
        self._segments.currentIndexChanged.connect(
            lambda _index: self.currentSegmentChanged.emit(self.currentSegmentID())
        )

    def _changed(self, _name: str) -> None:
        self._nodes.noneEnabled = self.noneEnabled
        self._fill()

    def setMRMLScene(self, scene: Any) -> None:
        super().setMRMLScene(scene)
        self._nodes.setMRMLScene(scene)

    def _on_node(self, node: Any) -> None:
        if self._segmentation is not None and self._tag:
            self._segmentation.RemoveObserver(self._tag)
        self._segmentation, self._tag = node, 0
        if node is not None:
            self._tag = observe(node, vtk.vtkCommand.AnyEvent, self._on_segments_changed)
        self._fill()
        self.currentNodeChanged.emit(node)

    def _on_segments_changed(self, _node: Any, _event: str) -> None:
        names = [self._segments.itemText(index) for index in range(self._segments.count)]
        if names != [name for name, _segment in self._items()]:
            self._fill()

    def _items(self) -> list[tuple[str, str]]:
        items = [("None", "")] if self.noneEnabled else []
        segmentation = self._segmentation.GetSegmentation() if self._segmentation else None
        for index in range(segmentation.GetNumberOfSegments() if segmentation else 0):
            segment_id = segmentation.GetNthSegmentID(index)
            items.append((segmentation.GetSegment(segment_id).GetName(), segment_id))
        return items

    def _fill(self) -> None:
        before = self.currentSegmentID()
        self._segments.blockSignals(True)
        self._segments.clear()
        for name, segment_id in self._items():
            self._segments.addItem(name, segment_id)
        self._segments.setCurrentIndex(max(self._segments.findData(before), 0))
        self._segments.blockSignals(False)
        if self.currentSegmentID() != before:
            self.currentSegmentChanged.emit(self.currentSegmentID())

    def currentNode(self) -> Any:
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:
        return self._nodes.currentNodeID

    def currentSegmentID(self) -> str:
        return self._segments.currentData or ""

    def setCurrentNode(self, node: Any) -> None:
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self._nodes.setCurrentNodeID(node_id)

    def setCurrentSegmentID(self, segment_id: str) -> None:
        index = self._segments.findData(segment_id)
        if index >= 0:
            self._segments.setCurrentIndex(index)

    segmentationNodeSelectorVisible = forwarded(
        bool, lambda self: not self._nodes.isHidden(), lambda self, value: self._nodes.setVisible(value)
    )
