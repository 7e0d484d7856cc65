"""Stand-ins for the widgets around the views: they paint what the off-screen views render."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from slicer_standin import ctk_numbers, views
from slicer_standin.node_widgets import qMRMLWidget
from slicer_standin.pythonqt import QtCore, QtGui, QtWidgets, Signal
from slicer_standin.qtmodule import code_only, register_widget
from slicer_standin.stored import observe

BUTTONS = {QtCore.Qt.LeftButton: "LeftButton", QtCore.Qt.MiddleButton: "MiddleButton",
           QtCore.Qt.RightButton: "RightButton"}  # fmt: skip
scale = 1.0  # device pixels per pixel used while painting; screenshots set it


class CanvasWidget(QtWidgets.QWidget):
    """Paints one canvas and hands mouse events to its VTK interactor."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._canvas: Any = None
        self.setMinimumSize(60, 60)
        self.setMouseTracking(True)

    def _set_canvas(self, canvas: Any) -> None:
        self._canvas = canvas
        canvas.on_change = lambda: self._schedule()

    def _schedule(self) -> None:
        if not slicer.app.isRenderPaused:
            self.update()

    def paintEvent(self, _event: Any) -> None:
        painter = QtGui.QPainter(self)
        if self._canvas is None or views.gl_problem():
            painter.fillRect(self.rect, QtGui.QColor(40, 40, 40))
            painter.setPen(QtCore.Qt.white)
            painter.drawText(self.rect, QtCore.Qt.AlignCenter | QtCore.Qt.TextWordWrap, views.gl_problem())
            return
        ratio = max(scale, self.devicePixelRatioF())
        pixels = self._canvas.grab(self.width, self.height, scale=ratio)
        image = QtGui.QImage(pixels.data, pixels.shape[1], pixels.shape[0], 3 * pixels.shape[1],
                             QtGui.QImage.Format_RGB888)  # fmt: skip
        image.setDevicePixelRatio(ratio)
        painter.drawImage(0, 0, image)

    def _send(self, event: Any, name: str) -> None:
        if self._canvas is None:
            return
        keys, ratio = event.modifiers(), max(scale, self.devicePixelRatioF())
        interactor, place = self._canvas.interactor, event.position()
        interactor.SetEventInformationFlipY(int(place.x() * ratio), int(place.y() * ratio),
                                            int(bool(keys & QtCore.Qt.ControlModifier)),
                                            int(bool(keys & QtCore.Qt.ShiftModifier)))  # fmt: skip
        interactor.InvokeEvent(name)
        self.update()

    def mousePressEvent(self, event: Any) -> None:
        self._send(event, BUTTONS.get(event.button(), "LeftButton") + "PressEvent")

    def mouseReleaseEvent(self, event: Any) -> None:
        self._send(event, BUTTONS.get(event.button(), "LeftButton") + "ReleaseEvent")

    def mouseMoveEvent(self, event: Any) -> None:
        self._send(event, "MouseMoveEvent")

    def wheelEvent(self, event: Any) -> None:
        self._send(event, "MouseWheelForwardEvent" if event.angleDelta().y() > 0 else "MouseWheelBackwardEvent")

    # What ctkVTKAbstractView offers to Python.
    def forceRender(self) -> None:
        self.repaint()

    def scheduleRender(self) -> None:
        self.update()

    def renderWindow(self) -> Any:
        return self._canvas.window

    def interactor(self) -> Any:
        return self._canvas.interactor

    def interactorStyle(self) -> Any:
        return self._canvas.style


@code_only
class qMRMLSliceView(CanvasWidget):
    """The picture of a slice."""

    def mrmlSliceNode(self) -> Any:
        return self._canvas.node

    def cornerAnnotation(self) -> Any:
        return self._canvas.corner

    def displayableManagerByClassName(self, name: str) -> Any:
        return self._canvas.group.GetDisplayableManagerByClassName(name)


@code_only
class qMRMLSliceControllerWidget(QtWidgets.QFrame):
    """The colored bar above a slice: name and offset slider."""

    def __init__(self, canvas: Any, parent: Any = None) -> None:
        super().__init__(parent)
        self._canvas, self._busy = canvas, False
        node = canvas.node
        color = QtGui.QColor.fromRgbF(*node.GetLayoutColor())
        self.setAutoFillBackground(True)
        palette = QtGui.QPalette(self.palette)
        palette.setColor(QtGui.QPalette.Window, color)
        self.setPalette(palette)
        self._label = QtWidgets.QLabel(f"<b>{node.GetLayoutLabel() or node.GetName()[0]}</b>", self)
        self._slider = ctk_numbers.ctkDoubleSlider(QtCore.Qt.Horizontal, self)
        self._text = QtWidgets.QLabel("", self)
        self._text.setMinimumWidth(86)
        self._text.setAlignment(QtCore.Qt.AlignRight | QtCore.Qt.AlignVCenter)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        for part in (self._label, self._slider, self._text):
            layout.addWidget(part)
        self.setFixedHeight(24)
        self._slider.valueChanged.connect(self._on_slider)
        observe(node, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        observe(canvas.logic, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        self._on_modified()

    def _on_modified(self, *_event: Any) -> None:
        if self._busy:
            return
        self._busy = True
        bounds, logic = [0.0] * 6, self._canvas.logic
        logic.GetLowestVolumeSliceBounds(bounds)
        if bounds[5] > bounds[4]:
            self._slider.minimum, self._slider.maximum = bounds[4], bounds[5]
        self._slider.singleStep = abs(logic.GetLowestVolumeSliceSpacing()[2]) or 1.0
        self._slider.value = logic.GetSliceOffset()
        letter = {"Axial": "S", "Coronal": "A", "Sagittal": "R"}.get(self._canvas.node.GetOrientation(), "")
        self._text.text = f"{letter}: {logic.GetSliceOffset():.1f} mm"
        self._busy = False

    def _on_slider(self, value: float) -> None:
        if not self._busy:
            self.setSliceOffsetValue(value)

    def setSliceOffsetValue(self, value: float) -> None:
        logic = self._canvas.logic
        logic.StartSliceOffsetInteraction()  # lets the real link logic move the linked views
        logic.SetSliceOffset(value)
        logic.EndSliceOffsetInteraction()

    def fitSliceToBackground(self) -> None:
        self._canvas.logic.FitSliceToBackground()

    def setSliceVisible(self, visible: bool) -> None:
        self._canvas.node.SetSliceVisible(visible)

    def setSliceLink(self, linked: bool) -> None:
        for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode").SetLinkedControl(linked)


@register_widget
class qMRMLSliceWidget(qMRMLWidget):
    """A slice view under its controller bar."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._canvas: Any = None
        self._view = qMRMLSliceView(self)
        self._bar: Any = None
        _stack(self, self._view)

    def setMRMLSliceNode(self, node: Any) -> None:
        self._canvas = views.SliceCanvas(node)
        self._view._set_canvas(self._canvas)
        self._bar = qMRMLSliceControllerWidget(self._canvas, self)
        self.layout().insertWidget(0, self._bar)

    def mrmlSliceNode(self) -> Any:
        return self._canvas.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self._canvas.logic.GetSliceCompositeNode()

    def sliceLogic(self) -> Any:
        return self._canvas.logic

    def sliceView(self) -> Any:
        return self._view

    def sliceController(self) -> Any:
        return self._bar

    def interactorStyle(self) -> Any:
        return self._canvas.style

    def fitSliceToBackground(self) -> None:
        self._canvas.logic.FitSliceToBackground()


@register_widget
class qMRMLThreeDView(CanvasWidget):
    """The picture of the 3D view."""

    _signals_ = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)

    def setMRMLViewNode(self, node: Any) -> None:
        self._set_canvas(views.ThreeDCanvas(node))

    def mrmlViewNode(self) -> Any:
        return self._canvas.node

    def cameraNode(self) -> Any:
        return self._canvas.logic.GetCameraNode()

    def resetFocalPoint(self) -> None:
        self._canvas.reset()
        self.update()

    def resetCamera(self, *_what: bool) -> None:
        self.resetFocalPoint()

    def displayableManagerByClassName(self, name: str) -> Any:
        return self._canvas.group.GetDisplayableManagerByClassName(name)


@code_only
class qMRMLThreeDWidget(qMRMLWidget):
    """A 3D view under its controller bar."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._view = qMRMLThreeDView(self)
        self._bar = _title_bar("1", "#c1c3e8")
        _stack(self, self._bar, self._view)

    def setMRMLViewNode(self, node: Any) -> None:
        self._view.setMRMLViewNode(node)

    def mrmlViewNode(self) -> Any:
        return self._view.mrmlViewNode()

    def viewLogic(self) -> Any:
        return self._view._canvas.logic

    def threeDView(self) -> Any:
        return self._view

    def threeDController(self) -> Any:
        return self._bar


def _stack(parent: Any, *parts: Any) -> None:
    layout = QtWidgets.QVBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    for part in parts:
        layout.addWidget(part, 1 if isinstance(part, CanvasWidget) else 0)


def _title_bar(text: str, color: str) -> Any:
    label = QtWidgets.QLabel(f"<b>{text}</b>")
    label.setStyleSheet(f"background: {color}; padding-left: 6px;")
    label.setFixedHeight(24)
    return label
