"""Stand-ins for Slicer's modules: registry, scripted module loader, module widget and module panel."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer

from slicer_standin import core, errors
from slicer_standin.node_widgets import qMRMLWidget
from slicer_standin.pythonqt import QtCore, QtGui, QtWidgets, Signal, shiboken6
from slicer_standin.qtmodule import code_only
from slicer_standin.stored import stored

LEAST_WIDTH = 420
SCROLL_BAR_WIDTH = 50  # Slicer adds the length of a scroll bar's buttons and handle to what a module asks for


class Modules:
    """`slicer.modules`: one attribute per module, lower case."""


@code_only
class qSlicerLoadableModule(QtCore.QObject):
    """A C++ module: its logic is real, its panel does not exist here."""

    name, title, path = stored("name", str, ""), stored("title", str, ""), stored("path", str, "")

    def logic(self) -> Any:
        return core.logics[self.name]

    def widgetRepresentation(self) -> Any:
        return None


@code_only
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """A Python module; its properties are what the module's `__init__` fills in."""

    name, title, path = stored("name", str, ""), stored("title", str, ""), stored("path", str, "")
    helpText, acknowledgementText = stored("helpText", str, ""), stored("acknowledgementText", str, "")
    categories, contributors = stored("categories", list, []), stored("contributors", list, [])
    dependencies, associatedNodeTypes = stored("dependencies", list, []), stored("associatedNodeTypes", list, [])
    hidden, index, icon = stored("hidden", bool, False), stored("index", int, -1), stored("icon", object, None)
    widgetRepresentationCreationEnabled = stored("widgetRepresentationCreationEnabled", bool, True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._python: Any = None
        self._widget: Any = None

    def self(self) -> Any:
        return self._python

    def logic(self) -> Any:
        return slicer.vtkSlicerScriptedLoadableModuleLogic()

    def widgetRepresentation(self) -> Any:
        if self._widget is None or not shiboken6.isValid(self._widget):
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self) -> Any:
        widget = qSlicerScriptedLoadableModuleWidget()
        widget._start(self)
        return widget

    def setMRMLScene(self, scene: Any) -> None:
        if self._widget is not None and shiboken6.isValid(self._widget):
            self._widget.setMRMLScene(scene)


@code_only
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The C++ side of a module panel: owns the layout and forwards enter, exit and reload."""

    isEntered = stored("isEntered", bool, False)
    moduleName = stored("moduleName", str, "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._module: Any = None
        self._python: Any = None
        QtWidgets.QVBoxLayout(self)

    def _start(self, module: Any) -> None:
        self._module = module
        self.moduleName = module.name
        self._create()
        self._python.setup()
        self.setMRMLScene(slicer.mrmlScene)

    def _create(self) -> None:
        cls = getattr(sys.modules[self.moduleName], self.moduleName + "Widget")
        self._python = cls(self)
        setattr(slicer.modules, self.moduleName + "Widget", self._python)

    def self(self) -> Any:
        return self._python

    def module(self) -> Any:
        return self._module

    def setup(self) -> None:
        self._python.setup()

    def enter(self) -> None:
        if not self.isEntered:
            self.isEntered = True
            self._call("enter")

    def exit(self) -> None:
        if self.isEntered:
            self.isEntered = False
            self._call("exit")

    def reload(self) -> None:
        """Replace the Python side; `slicer.util.reloadScriptedModule` has cleaned up the old one."""
        self._create()
        self._python.setup()
        if self.isEntered:
            self._call("enter")

    def _call(self, method: str) -> None:
        function = getattr(self._python, method, None)
        if function is not None:
            function()


class _FactoryManager:
    def __init__(self, modules: dict[str, Any]) -> None:
        self._modules = modules

    def loadedModuleNames(self) -> list[str]:
        return sorted(self._modules)

    def isLoaded(self, name: str) -> bool:
        return name in self._modules


@code_only
class ModuleManager(QtCore.QObject):
    """`slicer.app.moduleManager()`."""

    _signals_ = {"moduleAboutToBeUnloaded(QString)": "moduleAboutToBeUnloaded",
                 "moduleLoaded(QString)": "moduleLoaded"}  # fmt: skip
    moduleAboutToBeUnloaded, moduleLoaded = Signal(str), Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._modules: dict[str, Any] = {}

    def _add(self, module: Any) -> None:
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def factoryManager(self) -> Any:
        return _FactoryManager(self._modules)

    def modulesNames(self) -> list[str]:
        return sorted(self._modules)


def add_loadable_modules() -> None:
    """Fill `slicer.modules` with the C++ modules whose logic slicer-core carries."""
    for name in core.LOGICS:
        module = qSlicerLoadableModule(slicer.app)
        module.name = module.title = name
        slicer.app.moduleManager()._add(module)


def load_module(path: str | Path) -> Any:
    """Load a scripted module file as Slicer does at startup and return its module object.

    Parameters
    ----------
    path
        The file `<Name>.py` that defines `<Name>`, `<Name>Widget`, `<Name>Logic` and `<Name>Test`.

    Returns
    -------
    qSlicerScriptedLoadableModule
        Also reachable as `slicer.modules.<name>`. The panel is created on the first
        `widgetRepresentation()`. A module that is loaded already is returned as it is.
    """
    path = Path(path).resolve()
    name = path.stem
    known = slicer.app.moduleManager().module(name)
    if known is not None:
        return known
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # Slicer adds the module's folder as well
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    source = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    module = qSlicerScriptedLoadableModule(slicer.app)
    module.name, module.path = name, str(path)
    module._python = getattr(source, name)(module)
    slicer.app.moduleManager()._add(module)
    slicer.app.moduleManager().moduleLoaded.emit(name)
    slicer.app.startupCompleted.emit()
    slicer.app.disconnect("startupCompleted()")
    return module


def unload_module(name: str) -> None:
    """Leave, clean up and forget a scripted module, as Slicer does when it exits."""
    manager = slicer.app.moduleManager()
    module = manager._modules.pop(name)
    if module._widget is not None and shiboken6.isValid(module._widget):
        module._widget.exit()
        manager.moduleAboutToBeUnloaded.emit(name)
        shiboken6.delete(module._widget)
    for attribute in (name.lower(), name + "Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    sys.modules.pop(name, None)
    shiboken6.delete(module)


@code_only
class ModuleSelector(QtWidgets.QComboBox):
    """The module menu of the tool bar."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._panel = panel

    def selectModule(self, name: str) -> None:
        module = slicer.app.moduleManager().module(name)
        if module is None:
            errors.record(f"selectModule: there is no module {name!r}")
            return
        self._panel.enter(module)

    selectedModule = QtCore.Property(str, lambda self: self._panel._name())


@code_only
class ModulePanel(QtWidgets.QWidget):
    """Shows one module at a time, below its title."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setObjectName("ModulePanel")
        self._shown: Any = None
        self._selector = ModuleSelector(self)
        self._selector.hide()
        self._title = QtWidgets.QLabel(self)
        self._title.setStyleSheet("font-weight: bold; font-size: 15px; padding: 4px;")
        self._scroll = QtWidgets.QScrollArea(self)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QtWidgets.QFrame.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._title)
        layout.addWidget(self._scroll, 1)
        self.setMinimumWidth(LEAST_WIDTH)

    def _name(self) -> str:
        return self._shown.moduleName if self._shown is not None and shiboken6.isValid(self._shown) else ""

    def enter(self, module: Any) -> None:
        widget = module.widgetRepresentation()
        if widget is self._shown:
            return
        self.leave()
        if widget is None:
            return
        self._title.setText(module.title)
        self._scroll.setWidget(widget)
        widget.installEventFilter(self)
        widget.show()
        self._shown = widget
        widget.enter()

    def leave(self) -> None:
        if self._shown is not None and shiboken6.isValid(self._shown):
            self._shown.exit()
            self._shown.removeEventFilter(self)
            self._scroll.takeWidget()
        self._shown = None
        self.setMinimumWidth(LEAST_WIDTH)

    def eventFilter(self, module: Any, event: Any) -> bool:
        """Give a module the width it asks for, at the expense of the views."""
        if event.type() == QtCore.QEvent.LayoutRequest:
            self.setMinimumWidth(max(LEAST_WIDTH, module.minimumSizeHint.width() + SCROLL_BAR_WIDTH))
        return False


def icon_or_default(module: Any) -> Any:
    """Return the icon of a module for window and task bar."""
    return module.icon if isinstance(module.icon, QtGui.QIcon) else QtGui.QIcon()
