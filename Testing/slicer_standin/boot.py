"""Starts the stand-in: after `boot()` the modules `slicer`, `qt`, `ctk` and `vtk` are as a module expects them."""

from __future__ import annotations

import atexit
import logging
import sys
import types
from typing import Any

from slicer_standin import (
    application,
    basemodule,
    core,
    ctk_numbers,
    ctk_widgets,
    dialogs,
    errors,
    extras,
    guards,
    hierarchy,
    hierarchy_plugins,
    modules,
    ownership,
    pythonqt,
    qtmodule,
    segment_widgets,
)
from slicer_standin.pythonqt import QtCore

_window: Any = None
font_source = ""


def boot(*, main_window: bool = True) -> Any:
    """Start the stand-in once and return the `slicer` module.

    Parameters
    ----------
    main_window
        Create the (hidden) main window, without which `slicer.util.selectModule` fails as in
        `Slicer --no-main-window`.
    """
    import slicer

    if not hasattr(slicer, "app"):
        _start(slicer)
    if main_window and _window is None:
        _open_window()
    return slicer


def _start(slicer: Any) -> None:
    global font_source
    errors.install()
    dialogs.install()
    ownership.install()
    _redirect_settings()
    QtCore.qInstallMessageHandler(_on_qt_message)
    slicer.modules = modules.Modules()
    slicer.app = application.qSlicerApplication()
    font_source = application.style_application(slicer.app)
    core.start()
    errors.take()  # terminology files are missing from the wheel: reported while the logics start
    errors.watch_threads(slicer.mrmlScene)
    guards.watch_display_nodes(slicer.mrmlScene)
    hierarchy.follow(slicer.mrmlScene)
    sys.modules["qt"] = qtmodule.build()
    ctk = sys.modules["ctk"] = types.ModuleType("ctk", "Stand-in for Slicer's ctk module.")
    for name, cls in qtmodule.standin_classes().items():
        setattr(ctk if name.startswith("ctk") else slicer, name, cls)
    extras.install()
    hierarchy_plugins.install()
    sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = basemodule
    modules.add_loadable_modules()
    slicer.app._create_views()
    atexit.register(shut_down)


def _redirect_settings() -> None:
    folder = core.home / "settings"
    folder.mkdir(exist_ok=True)
    QtCore.QCoreApplication.setOrganizationName("slicer_standin")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    for scope in (QtCore.QSettings.UserScope, QtCore.QSettings.SystemScope):
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, scope, str(folder))


def _on_qt_message(kind: Any, _context: Any, text: str) -> None:
    if "propagateSizeHints" in text:  # said by the off-screen platform whenever a window opens
        return
    logging.getLogger("qt").warning(text)
    if kind in (QtCore.QtMsgType.QtCriticalMsg, QtCore.QtMsgType.QtFatalMsg):
        errors.record(f"Qt: {text}")


def _open_window() -> None:
    global _window
    _window = application.qSlicerMainWindow()
    _window.resize(1500, 900)
    _window.resizeDocks([_window.findChild(QtCore.QObject, "PanelDockWidget")], [430], QtCore.Qt.Horizontal)


def main_window() -> Any:
    """Return the main window or None."""
    return _window


def close_main_window() -> None:
    """Go on as `Slicer --no-main-window`."""
    global _window
    if _window is not None:
        _window.close()
        import slicer

        slicer.app.layoutManager().viewport().setParent(None)
        pythonqt.shiboken6.delete(_window)
        _window = None


def shut_down() -> None:
    """Unload modules and empty the scene while everything is still alive; runs at exit."""
    import slicer

    for name in slicer.app.moduleManager().modulesNames():
        if isinstance(getattr(slicer.modules, name.lower()), modules.qSlicerScriptedLoadableModule):
            modules.unload_module(name)
    close_main_window()
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()


__all__ = ["boot", "close_main_window", "ctk_numbers", "ctk_widgets", "main_window", "segment_widgets", "shut_down"]
