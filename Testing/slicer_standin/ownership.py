"""Who deletes a widget, and when: the two habits of the real application that end in a crash when they meet.

A deferred delete (`deleteLater`) runs only when the event loop is back at the level it was posted from; a nested
`processEvents` never runs it. And an object without parent that was made in Python belongs to its Python wrapper:
when the wrapper dies, PythonQt deletes the object. If the wrapper dies while Qt is deleting the object, because
one of its children held the last reference through a slot, the object is deleted twice and Slicer crashes.
PySide6 invalidates the wrapper first and gets away with it, so the second delete is recognized here and recorded.
"""

from __future__ import annotations

import weakref
from typing import Any

from slicer_standin import errors, pythonqt
from slicer_standin.pythonqt import QtCore, QtWidgets, shiboken6

double_deletes = 0
_dying: dict[int, Any] = {}


def run_deferred_deletes() -> None:
    """Delete what `deleteLater` was called for, as the application does when its event loop is idle."""
    QtCore.QCoreApplication.sendPostedEvents(None, int(QtCore.QEvent.DeferredDelete))


def install() -> None:
    """Watch every deferred delete that is asked for in Python."""
    pythonqt.add_special("deleteLater", _delete_later)


class _Watch(QtCore.QObject):
    """Sees a widget's deferred delete just before Qt carries it out."""

    def eventFilter(self, widget: Any, event: Any) -> bool:
        if event.type() == QtCore.QEvent.DeferredDelete:
            _begin(widget)
        return False


_watch = _Watch()


def _delete_later(self: Any) -> None:
    QtCore.QObject.installEventFilter(self, _watch)
    QtCore.QObject.deleteLater(self)


def _begin(widget: Any) -> None:
    if widget.parent() is not None or not shiboken6.createdByPython(widget):
        return  # it belongs to C++
    if not isinstance(widget, QtWidgets.QWidget):
        return  # any other QObject is gone for PythonQt before its children are deleted
    address, label = id(widget), f"{type(widget).__name__} {widget.objectName!r}"
    children = [f"{type(child).__name__} {child.objectName!r}" for child in widget.children()]

    def on_wrapper_gone(_reference: Any) -> None:
        global double_deletes
        if _dying.pop(address, None) is not None:
            double_deletes += 1
            errors.record(
                f"double delete: Qt is deleting {label}, which has no parent, while its wrapper dies and deletes "
                f"it again; a slot of one of its children held the last reference. Children: {', '.join(children)}"
            )

    _dying[address] = weakref.ref(widget, on_wrapper_gone)
    last = QtCore.QObject(widget)  # children are deleted in order: when this one goes, all others are gone
    last.destroyed.connect(lambda: _dying.pop(address, None))
