"""Collects what Slicer would only print: exceptions in slots, timers and observers, VTK errors, wrong threads."""

from __future__ import annotations

import sys
import threading
import traceback
from types import TracebackType
from typing import Any

recorded: list[str] = []
_installed = False


def record(text: str) -> None:
    """Add one finding; the test that caused it fails when it ends."""
    recorded.append(text)


def take() -> list[str]:
    """Return the findings so far and forget them; a test that provokes an error calls this."""
    found = list(recorded)
    recorded.clear()
    return found


def _on_exception(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    record("".join(traceback.format_exception(kind, value, trace)))
    sys.__excepthook__(kind, value, trace)


def install() -> None:
    """Start collecting; PySide slots and VTK observers both report through `sys.excepthook`."""
    global _installed
    if _installed:
        return
    _installed = True
    sys.excepthook = _on_exception
    import vtk

    def on_vtk_error(_caller: Any, _event: str, text: str) -> None:
        record(f"VTK: {text.strip()}")

    on_vtk_error.CallDataType = vtk.VTK_STRING  # type: ignore[attr-defined]
    vtk.vtkOutputWindow.GetInstance().AddObserver(vtk.vtkCommand.ErrorEvent, on_vtk_error)


def watch_threads(scene: Any) -> None:
    """Record any node added outside the main thread, which crashes Slicer sooner or later."""

    def on_node_added(_caller: Any, _event: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            record("a node was added to the scene outside the main thread:\n" + "".join(traceback.format_stack()))

    scene.AddObserver(type(scene).NodeAddedEvent, on_node_added)
