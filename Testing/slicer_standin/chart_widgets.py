"""Stand-ins for Slicer's plot and table widgets, showing real plot chart and table nodes."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from slicer_standin import views
from slicer_standin.node_widgets import qMRMLWidget
from slicer_standin.pythonqt import QtCore, QtGui, QtWidgets, Signal
from slicer_standin.qtmodule import code_only, register_widget
from slicer_standin.stored import observe, stored
from slicer_standin.view_widgets import CanvasWidget, _stack, _title_bar


@code_only
class qMRMLPlotView(CanvasWidget):
    """Draws the chart that its plot view node points to, redrawn whenever chart, series or table change."""

    _signals_ = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._watched: set[str] = set()
        self._set_canvas(views.PlotCanvas())

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._watch(node)
        self._on_modified()

    def _watch(self, node: Any) -> None:
        if node is not None and node.__this__ not in self._watched:
            self._watched.add(node.__this__)
            observe(node, vtk.vtkCommand.ModifiedEvent, self._on_modified)

    def _on_modified(self, *_event: Any) -> None:
        chart = self._node.GetPlotChartNode() if self._node else None
        self._canvas.chart_node = chart
        self._watch(chart)
        for index in range(chart.GetNumberOfPlotSeriesNodes() if chart else 0):
            series = chart.GetNthPlotSeriesNode(index)
            self._watch(series)
            self._watch(series.GetTableNode() if series else None)
        self._schedule()

    def fitToContent(self) -> None:
        self.update()


@register_widget
class qMRMLPlotWidget(qMRMLWidget):
    """A plot view under its controller bar."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._view = qMRMLPlotView(self)
        self._bar = _title_bar("P", "#d8d8d8")
        _stack(self, self._bar, self._view)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self._view.setMRMLPlotViewNode(node)

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def plotView(self) -> Any:
        return self._view

    def plotController(self) -> Any:
        return self._bar


@register_widget
class qMRMLTableView(QtWidgets.QTableView):
    """Shows a table node; cells are read only here."""

    _signals_ = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged", "selectionChanged()": "_selected"}
    mrmlSceneChanged, _selected = Signal(object), Signal()
    transposed, firstRowLocked = stored("transposed", bool, False), stored("firstRowLocked", bool, False)
    firstColumnLocked = stored("firstColumnLocked", bool, False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._node: Any = None
        self._view_node: Any = None
        self._tag = 0
        self._items = QtGui.QStandardItemModel(self)
        self._proxy = QtCore.QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self._items)
        self._proxy.setSortRole(QtCore.Qt.UserRole)
        self.setModel(self._proxy)
        self.setEditTriggers(QtWidgets.QAbstractItemView.NoEditTriggers)
        self.selectionModel().selectionChanged.connect(lambda *_: self._selected.emit())

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self) -> Any:
        return self._node

    def mrmlTableViewNode(self) -> Any:
        return self._view_node

    def setMRMLTableViewNode(self, node: Any) -> None:
        self._view_node = node
        if node is not None:
            observe(node, vtk.vtkCommand.ModifiedEvent, self._on_view_node)
            self._on_view_node()

    def _on_view_node(self, *_event: Any) -> None:
        self.setMRMLTableNode(self._view_node.GetTableNode())

    def setMRMLTableNode(self, node: Any) -> None:
        if self._node is not None and self._tag:
            self._node.RemoveObserver(self._tag)
        self._node, self._tag = node, 0
        if node is not None:
            self._tag = observe(node, vtk.vtkCommand.ModifiedEvent, self._fill)
        self._fill()

    def sortFilterProxyModel(self) -> Any:
        return self._proxy

    def setTransposed(self, value: bool) -> None:
        self.transposed = value

    def setFirstRowLocked(self, value: bool) -> None:
        self.firstRowLocked = value

    def setFirstColumnLocked(self, value: bool) -> None:
        self.firstColumnLocked = value

    def _changed(self, _name: str) -> None:
        self._fill()

    def _fill(self, *_event: Any) -> None:
        self._items.clear()
        table = self._node.GetTable() if self._node else None
        if table is None:
            return
        names = [table.GetColumnName(column) or "" for column in range(table.GetNumberOfColumns())]
        rows = [[table.GetValue(row, column) for column in range(len(names))]
                for row in range(table.GetNumberOfRows())]  # fmt: skip
        as_rows = self._node.GetUseFirstColumnAsRowHeader()
        side = [row[0].ToString() for row in rows] if as_rows else [str(index + 1) for index in range(len(rows))]
        start = 1 if as_rows else 0
        cells = [[self._item(value) for value in row[start:]] for row in rows]
        top = names[start:]
        if (
            not self._node.GetUseColumnTitleAsColumnHeader()
        ):  # MRML's default: titles are the first row, columns A, B, C
            cells.insert(0, [self._item(vtk.vtkVariant(name)) for name in top])
            side, top = ["", *side], [chr(65 + number) for number in range(len(top))]
        if self.transposed:
            cells, top, side = [list(column) for column in zip(*cells, strict=True)], side, top
        for row in cells:
            self._items.appendRow(row)
        self._items.setHorizontalHeaderLabels(top)
        self._items.setVerticalHeaderLabels(side)

    @staticmethod
    def _item(value: Any) -> Any:
        item = QtGui.QStandardItem(value.ToString())
        item.setData(value.ToDouble() if value.IsNumeric() else value.ToString(), QtCore.Qt.UserRole)
        if value.IsNumeric():
            item.setTextAlignment(QtCore.Qt.AlignRight | QtCore.Qt.AlignVCenter)
        item.setEditable(False)
        return item

    def copySelection(self) -> None:
        picked: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes(), key=lambda cell: (cell.row(), cell.column())):
            picked.setdefault(index.row(), []).append(str(index.data()))
        slicer.app.clipboard().setText("\n".join("\t".join(row) for row in picked.values()))


@code_only
class qMRMLTableWidget(qMRMLWidget):
    """A table view as it appears in a layout."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._view = qMRMLTableView(self)
        self._bar = _title_bar("T", "#d8d8d8")
        _stack(self, self._bar, self._view)

    def setMRMLTableViewNode(self, node: Any) -> None:
        self._view.setMRMLTableViewNode(node)

    def mrmlTableViewNode(self) -> Any:
        return self._view.mrmlTableViewNode()

    def tableView(self) -> Any:
        return self._view

    def tableController(self) -> Any:
        return self._bar
