"""Stand-ins for CTK's collapsible, combo box, path and message widgets."""

from __future__ import annotations

from typing import Any

from slicer_standin.pythonqt import QtCore, QtGui, QtWidgets, Signal
from slicer_standin.qtmodule import code_only, register_widget
from slicer_standin.stored import forwarded, stored

SHOWN_TO_PARENT, HIDDEN_TO_PARENT = QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent


@register_widget
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A section whose title bar shows and hides its children."""

    _signals_ = {"contentsCollapsed(bool)": "contentsCollapsed"}
    contentsCollapsed = Signal(bool)
    collapsedHeight = stored("collapsedHeight", int, 0)
    contentsFrameShape = stored("contentsFrameShape", object, QtWidgets.QFrame.NoFrame)
    contentsFrameShadow = stored("contentsFrameShadow", object, QtWidgets.QFrame.Plain)
    contentsLineWidth, contentsMidLineWidth = (
        stored("contentsLineWidth", int, 1),
        stored("contentsMidLineWidth", int, 0),
    )
    buttonTextAlignment = stored("buttonTextAlignment", object, QtCore.Qt.AlignLeft)
    indicatorAlignment = stored("indicatorAlignment", object, QtCore.Qt.AlignLeft)

    def __init__(self, first: Any = None, parent: Any = None) -> None:
        super().__init__(parent if isinstance(first, str) else first)
        self._shown_when_open: dict[Any, bool] = {}
        self._own_change = False
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._title_height(), 0, 0)
        if isinstance(first, str):
            self.setText(first)
        self.toggled.connect(self._on_toggled)

    def _title_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _on_toggled(self, opened: bool) -> None:
        self._own_change = True
        for child in self._child_widgets():
            if opened:
                child.setVisible(self._shown_when_open.get(child, True))
            else:
                self._shown_when_open[child] = not child.isHidden()
                child.hide()
        self._own_change = False
        self.setMaximumHeight(16777215 if opened else self._title_height() + self.collapsedHeight)
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def _child_widgets(self) -> list[Any]:
        return [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]

    def childEvent(self, event: Any) -> None:
        child = event.child()
        if event.polished() and isinstance(child, QtWidgets.QWidget):
            child.installEventFilter(self)
            if self.collapsed:
                self._own_change = True
                self._shown_when_open.setdefault(child, not child.isHidden())
                child.hide()
                self._own_change = False
        super().childEvent(event)

    def eventFilter(self, child: Any, event: Any) -> bool:
        if not self._own_change and self.collapsed and event.type() in (SHOWN_TO_PARENT, HIDDEN_TO_PARENT):
            self._shown_when_open[child] = event.type() == SHOWN_TO_PARENT
            if event.type() == SHOWN_TO_PARENT:
                self._own_change = True
                child.hide()
                self._own_change = False
        return False

    def sizeHint(self) -> Any:
        return self._size(self.layout().totalSizeHint() if self.layout() else None)

    def minimumSizeHint(self) -> Any:
        return self._size(self.layout().totalMinimumSize() if self.layout() else None)

    def _size(self, contents: Any) -> Any:
        width = self.fontMetrics().horizontalAdvance(self.text) + 40
        if self.collapsed or contents is None:
            return QtCore.QSize(width, self._title_height() + self.collapsedHeight)
        return QtCore.QSize(max(width, contents.width()), contents.height())

    def hitButton(self, position: Any) -> bool:
        return position.y() <= self._title_height()

    def paintEvent(self, _event: Any) -> None:
        painter, palette = QtWidgets.QStylePainter(self), self.palette
        bar = QtCore.QRect(0, 0, self.width, self._title_height() - 2)
        painter.setPen(palette.color(QtGui.QPalette.Mid))
        painter.setBrush(palette.color(QtGui.QPalette.Button))
        painter.drawRoundedRect(bar.adjusted(0, 0, -1, -1), 3, 3)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, bar.center().y() - 5, 11, 11)
        style = QtWidgets.QStyle
        painter.drawPrimitive(style.PE_IndicatorArrowRight if self.collapsed else style.PE_IndicatorArrowDown, arrow)
        painter.setPen(palette.color(QtGui.QPalette.ButtonText))
        painter.drawText(bar.adjusted(24, 0, -4, 0), QtCore.Qt.AlignLeft | QtCore.Qt.AlignVCenter, self.text)

    collapsed = forwarded(bool, lambda self: not self.checked, lambda self, value: self.setChecked(not value))


@register_widget
class ctkComboBox(QtWidgets.QComboBox):
    """QComboBox with a default text and item data as string."""

    _signals_ = {"currentUserDataAsStringChanged(QString)": "currentUserDataAsStringChanged"}
    currentUserDataAsStringChanged = Signal(str)
    defaultText, forceDefault = stored("defaultText", str, ""), stored("forceDefault", bool, False)
    defaultIcon, elideMode = stored("defaultIcon", object, None), stored("elideMode", object, QtCore.Qt.ElideNone)
    scrollWheelEffect = stored("scrollWheelEffect", object, 1)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.currentIndexChanged.connect(
            lambda _index: self.currentUserDataAsStringChanged.emit(self.currentUserDataAsString)
        )

    def _changed(self, name: str) -> None:
        if name == "defaultText":
            self.setPlaceholderText(self.defaultText)

    def setCurrentUserDataAsString(self, data: str) -> None:
        self.setCurrentIndex(self.findData(data))

    currentUserDataAsString = forwarded(
        str, lambda self: str(self.currentData or ""), lambda self, value: self.setCurrentUserDataAsString(value)
    )


@register_widget
class ctkCheckableComboBox(QtWidgets.QComboBox):
    """QComboBox with a check box per item; index based API is not reachable from Python in CTK either."""

    _signals_ = {"checkedIndexesChanged()": "checkedIndexesChanged"}
    checkedIndexesChanged = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        model = self.model()
        model.itemChanged.connect(lambda _item: self.checkedIndexesChanged.emit())
        model.rowsInserted.connect(self._make_checkable)

    def _make_checkable(self, _parent: Any, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setFlags(QtCore.Qt.ItemIsUserCheckable | QtCore.Qt.ItemIsEnabled | QtCore.Qt.ItemIsSelectable)
            item.setData(QtCore.Qt.Unchecked, QtCore.Qt.CheckStateRole)


@register_widget
class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a browse button; the file dialog follows the `filters` flags."""

    _signals_ = {"currentPathChanged(QString)": "currentPathChanged", "validInputChanged(bool)": "validInputChanged"}
    currentPathChanged, validInputChanged = Signal(str), Signal(bool)
    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable, Hidden, NoDot, NoDotDot = 0x010, 0x020, 0x040, 0x100, 0x2000, 0x4000
    label, settingKey = stored("label", str, ""), stored("settingKey", str, "")
    nameFilters, filters = stored("nameFilters", list, []), stored("filters", int, 0x007)
    options, minimumContentsLength = stored("options", int, 0), stored("minimumContentsLength", int, 0)
    sizeAdjustPolicy = stored("sizeAdjustPolicy", int, 1)
    showBrowseButton, showHistoryButton = (
        stored("showBrowseButton", bool, True),
        stored("showHistoryButton", bool, True),
    )

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit, self._button = QtWidgets.QLineEdit(self), QtWidgets.QToolButton(self)
        self._button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._button)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._button.clicked.connect(lambda: self.browse())

    def _changed(self, name: str) -> None:
        if name == "showBrowseButton":
            self._button.setVisible(self.showBrowseButton)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    def browse(self) -> None:
        dialog, caption = QtWidgets.QFileDialog, self.label or "Select"
        if not self.filters & self.Files:
            path = dialog.getExistingDirectory(self, caption, self.currentPath)
        else:
            ask = dialog.getSaveFileName if self.filters & self.Writable else dialog.getOpenFileName
            path = ask(self, caption, self.currentPath, ";;".join(self.nameFilters))
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        settings, key = QtCore.QSettings(), self.settingKey or self.objectName
        history = [path for path in (settings.value(key) or []) if path != self.currentPath]
        settings.setValue(key, [self.currentPath, *history][:10])

    def retrieveHistory(self) -> None:
        history = QtCore.QSettings().value(self.settingKey or self.objectName)
        if history:
            self.setCurrentPath(history[0] if isinstance(history, list) else history)

    currentPath = forwarded(str, lambda self: self._edit.text, lambda self, value: self.setCurrentPath(value))


@code_only
class ctkMessageBox(QtWidgets.QMessageBox):
    """QMessageBox with "do not show again"; its answers are canned, see dialogs.py."""

    dontShowAgain, dontShowAgainVisible = (
        stored("dontShowAgain", bool, False),
        stored("dontShowAgainVisible", bool, False),
    )
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")

    def setDontShowAgain(self, value: bool) -> None:
        self.dontShowAgain = value
