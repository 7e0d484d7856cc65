"""Stand-in for `slicer.app` and the main window."""

from __future__ import annotations

import platform
from typing import Any

import slicer

from slicer_standin import core
from slicer_standin.iomanager import qSlicerCoreIOManager
from slicer_standin.layout import qSlicerLayoutManager
from slicer_standin.modules import ModuleManager, ModulePanel
from slicer_standin.pythonqt import QtCore, QtGui, QtWidgets, Signal
from slicer_standin.qtmodule import code_only
from slicer_standin.stored import stored

VERSION = (5, 12)  # the Slicer release that is imitated


@code_only
class qSlicerCoreCommandOptions(QtCore.QObject):
    """Command line options."""

    testingEnabled, noMainWindow = stored("testingEnabled", bool, True), stored("noMainWindow", bool, False)


@code_only
class qSlicerExtensionsManagerModel(QtCore.QObject):
    """Records requests to install extensions instead of carrying them out."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._requested: list[str] = []

    def isExtensionInstalled(self, name: str) -> bool:
        return hasattr(slicer.modules, {"PyTorch": "pytorchutils"}.get(name, name.lower()))

    def installExtensionFromServer(self, name: str, _restart: bool = True, _update: bool = True) -> bool:
        self._requested.append(name)
        return False


@code_only
class qSlicerApplication(QtWidgets.QApplication):
    """The application object."""

    _signals_ = {"startupCompleted()": "startupCompleted"}
    startupCompleted = Signal()
    temporaryPath = stored("temporaryPath", str, str(core.temporary_path))
    slicerHome = stored("slicerHome", str, str(core.home))
    slicerUserSettingsFilePath = stored("slicerUserSettingsFilePath", str, str(core.home / "settings" / "Slicer.ini"))
    cachePath = stored("cachePath", str, str(core.home / "cache"))
    mainApplicationName, revision = stored("mainApplicationName", str, "Slicer"), stored("revision", str, "0")
    majorVersion, minorVersion = stored("majorVersion", int, VERSION[0]), stored("minorVersion", int, VERSION[1])
    os, arch = stored("os", str, platform.system().lower()), stored("arch", str, platform.machine())
    documentationBaseUrl = stored("documentationBaseUrl", str, "https://slicer.readthedocs.io/en/latest/")
    isRenderPaused = QtCore.Property(bool, lambda self: self._paused > 0)

    def __init__(self) -> None:
        super().__init__(["slicer_standin"])
        self._paused = 0
        self._options = qSlicerCoreCommandOptions(self)
        self._io = qSlicerCoreIOManager(self)
        self._extensions = qSlicerExtensionsManagerModel(self)
        self._modules = ModuleManager(self)
        self._layout: Any = None
        self._opened: list[Any] = []  # nodes whose module was to be opened

    def _create_views(self) -> None:
        self._layout = qSlicerLayoutManager(self)

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return core.application_logic

    def coreIOManager(self) -> Any:
        return self._io

    def ioManager(self) -> Any:
        return self._io

    def layoutManager(self) -> Any:
        return self._layout

    def moduleManager(self) -> Any:
        return self._modules

    def extensionsManagerModel(self) -> Any:
        return self._extensions

    def commandOptions(self) -> Any:
        return self._options

    def testingEnabled(self) -> bool:
        return self._options.testingEnabled

    def userSettings(self) -> Any:
        return QtCore.QSettings()

    def settings(self) -> Any:
        return QtCore.QSettings()

    def revisionUserSettings(self) -> Any:
        return QtCore.QSettings()

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def toSlicerHomeAbsolutePath(self, path: str) -> str:
        return path if QtCore.QDir.isAbsolutePath(path) else str(core.home / path)

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def pauseRender(self) -> None:
        self._paused += 1

    def resumeRender(self) -> None:
        self._paused = max(0, self._paused - 1)
        if not self._paused:
            self._layout._repaint_all()

    def pythonConsole(self) -> Any:
        return None

    def openNodeModule(self, node: Any) -> None:
        """Open the module of a node; C++ modules have no panel here, so it is recorded only."""
        self._opened.append(node)

    def restart(self) -> None:
        raise RuntimeError("slicer.app.restart() was called")


@code_only
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """Module panel in a dock on the left, views in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (stand-in)")
        self._panel = ModulePanel(self)
        dock = QtWidgets.QDockWidget(self)
        dock.setObjectName("PanelDockWidget")
        dock.setFeatures(QtWidgets.QDockWidget.NoDockWidgetFeatures)
        dock.setTitleBarWidget(QtWidgets.QWidget(dock))
        dock.setWidget(self._panel)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, dock)
        self.setCentralWidget(slicer.app.layoutManager().viewport())
        self.statusBar().setSizeGripEnabled(False)
        self.statusBar().setMaximumHeight(20)

    def moduleSelector(self) -> Any:
        return self._panel._selector

    def centralWidgetLayoutManager(self) -> Any:
        return slicer.app.layoutManager()

    def closeEvent(self, event: Any) -> None:
        self._panel.leave()
        super().closeEvent(event)


def style_application(app: Any) -> str:
    """Give the application one look on every machine; return where its font comes from."""
    app.setStyle("Fusion")
    light = QtGui.QPalette(QtGui.QColor(240, 240, 240), QtGui.QColor(240, 240, 240))
    light.setColor(QtGui.QPalette.Base, QtGui.QColor(255, 255, 255))
    light.setColor(QtGui.QPalette.Highlight, QtGui.QColor(48, 112, 190))
    app.setPalette(light)
    source = "the system"
    if "DejaVu Sans" not in QtGui.QFontDatabase.families():
        source = _font_from_matplotlib()
    font = QtGui.QFont("DejaVu Sans" if source else app.font().family())
    font.setPixelSize(12)
    app.setFont(font)
    return source


def _font_from_matplotlib() -> str:
    # matplotlib ships DejaVu in its wheel; only the files are used, the package is not imported.
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return ""
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf"):
        QtGui.QFontDatabase.addApplicationFont(str(folder / name))
    return str(folder)
