"""Stand-in for the layout manager: builds view widgets from the XML of the real layout node."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import slicer
import vtk

from slicer_standin import chart_widgets, core, view_widgets
from slicer_standin.pythonqt import QtCore, QtWidgets, Signal
from slicer_standin.qtmodule import code_only
from slicer_standin.stored import forwarded, observe

FACTORIES = {
    "vtkMRMLSliceNode": (view_widgets.qMRMLSliceWidget, "setMRMLSliceNode"),
    "vtkMRMLViewNode": (view_widgets.qMRMLThreeDWidget, "setMRMLViewNode"),
    "vtkMRMLPlotViewNode": (chart_widgets.qMRMLPlotWidget, "setMRMLPlotViewNode"),
    "vtkMRMLTableViewNode": (chart_widgets.qMRMLTableWidget, "setMRMLTableViewNode"),
}


@code_only
class qSlicerLayoutManager(QtCore.QObject):
    """Creates the views of the current layout and finds them by name or number."""

    _signals_ = {"layoutChanged(int)": "layoutChanged"}
    layoutChanged = Signal(int)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._widgets: dict[str, Any] = {}
        self._viewport = QtWidgets.QWidget()
        self._frame = QtWidgets.QVBoxLayout(self._viewport)
        self._frame.setContentsMargins(0, 0, 0, 0)
        self._content: Any = None
        self._arranged = ""
        node = core.layout_logic.GetLayoutNode()
        observe(node, vtk.vtkCommand.ModifiedEvent, self._arrange)
        node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._arrange()

    def _node(self, element: Any) -> Any:
        return slicer.mrmlScene.GetSingletonNode(element.get("singletontag"), element.get("class"))

    def _arrange(self, *_event: Any) -> None:
        description = core.layout_logic.GetLayoutNode().GetCurrentLayoutDescription()
        if not description or description == self._arranged:
            return
        self._arranged = description
        for widget in self._widgets.values():
            widget.setParent(None)
        content = self._build(ElementTree.fromstring(description))
        if self._content is not None:
            self._frame.removeWidget(self._content)
            self._content.deleteLater()
        self._content = content
        self._frame.addWidget(content)
        for node_id, widget in self._widgets.items():
            shown = self._viewport.isAncestorOf(widget)
            slicer.mrmlScene.GetNodeByID(node_id).SetMappedInLayout(shown)
            widget.setVisible(shown)
        self.layoutChanged.emit(self.layout)

    def _build(self, element: Any) -> Any:
        holder = QtWidgets.QWidget()
        kind = element.get("type")
        layout = QtWidgets.QGridLayout(holder)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for index, item in enumerate(element.findall("item")):
            place = (0, index) if kind == "horizontal" else (index, 0)
            if kind == "grid":
                place = int(item.get("row", index)), int(item.get("column", 0))
            for child in item:
                part = self._build(child) if child.tag == "layout" else self._view(child)
                if part is not None:
                    layout.addWidget(part, *place)
                    layout.setRowStretch(place[0], 1)
                    layout.setColumnStretch(place[1], 1)
        return holder

    def _view(self, element: Any) -> Any:
        node = self._node(element)
        if node is None or element.get("class") not in FACTORIES:
            return None
        if node.GetID() not in self._widgets:
            cls, setter = FACTORIES[element.get("class")]
            widget = self._widgets[node.GetID()] = cls()
            getattr(widget, setter)(node)
            if hasattr(widget, "setMRMLScene"):
                widget.setMRMLScene(slicer.mrmlScene)
        return self._widgets[node.GetID()]

    def _all(self, cls: type) -> list[Any]:
        return [widget for widget in self._widgets.values() if isinstance(widget, cls)]

    def _nth(self, cls: type, index: int) -> Any:
        found = self._all(cls)
        return found[index] if 0 <= index < len(found) else None

    # What qMRMLLayoutManager offers to Python.
    def viewport(self) -> Any:
        return self._viewport

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def layoutLogic(self) -> Any:
        return core.layout_logic

    def sliceViewNames(self) -> list[str]:
        return [widget.mrmlSliceNode().GetLayoutName() for widget in self._all(view_widgets.qMRMLSliceWidget)]

    def sliceWidget(self, name: str) -> Any:
        slices = self._all(view_widgets.qMRMLSliceWidget)
        return next((widget for widget in slices if widget.mrmlSliceNode().GetLayoutName() == name), None)

    def threeDWidget(self, index: int) -> Any:
        return self._nth(view_widgets.qMRMLThreeDWidget, index)

    def plotWidget(self, index: int) -> Any:
        return self._nth(chart_widgets.qMRMLPlotWidget, index)

    def tableWidget(self, index: int) -> Any:
        return self._nth(chart_widgets.qMRMLTableWidget, index)

    def viewWidget(self, node: Any) -> Any:
        return self._widgets.get(node.GetID())

    def mrmlSliceLogics(self) -> Any:
        return core.application_logic.GetSliceLogics()

    def activeMRMLThreeDViewNode(self) -> Any:
        widget = self.threeDWidget(0)
        return widget.mrmlViewNode() if widget else None

    def setLayout(self, layout: int) -> None:
        core.layout_logic.GetLayoutNode().SetViewArrangement(layout)

    def resetThreeDViews(self) -> None:
        for widget in self._all(view_widgets.qMRMLThreeDWidget):
            widget.threeDView().resetFocalPoint()

    def resetSliceViews(self) -> None:
        for widget in self._all(view_widgets.qMRMLSliceWidget):
            widget.sliceLogic().FitSliceToAll()

    def _repaint_all(self) -> None:
        for view in self._viewport.findChildren(view_widgets.CanvasWidget):
            view.update()

    layout = forwarded(int, lambda self: core.layout_logic.GetLayoutNode().GetViewArrangement(),
                       lambda self, value: self.setLayout(value))  # fmt: skip
    threeDViewCount = QtCore.Property(int, lambda self: len(self._all(view_widgets.qMRMLThreeDWidget)))
    plotViewCount = QtCore.Property(int, lambda self: len(self._all(chart_widgets.qMRMLPlotWidget)))
    tableViewCount = QtCore.Property(int, lambda self: len(self._all(chart_widgets.qMRMLTableWidget)))
