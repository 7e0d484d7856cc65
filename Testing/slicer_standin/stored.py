"""Helpers to write widget stand-ins: typed Qt properties and scene observers that die with their widget."""

from __future__ import annotations

import numbers
import weakref
from collections.abc import Callable
from typing import Any

import vtk

from slicer_standin.pythonqt import QtCore, shiboken6

_QT_TYPES: dict[type, Any] = {str: str, bool: bool, int: int, float: float, list: "QVariantList", object: "QVariant"}


def check_type(owner: str, name: str, kind: type, value: Any) -> Any:
    """Convert `value` as PythonQt does for a property of this type, or raise TypeError."""
    if kind in (int, float, bool) and isinstance(value, numbers.Real) and isinstance(value, int | float):
        return kind(value)
    if kind is list and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    if kind is object or (kind is str and isinstance(value, str)):
        return value
    raise TypeError(f"{owner}.{name} must be {kind.__name__}, got {type(value).__name__} {value!r}")


def stored(name: str, kind: type, default: Any) -> Any:
    """Return a Qt property kept in the widget; a change calls `_changed(name)` of the widget if it has one."""

    def read(self: Any) -> Any:
        return vars(self).get("_values", {}).get(name, default)

    def write(self: Any, value: Any) -> None:
        value = check_type(type(self).__name__, name, kind, value)
        values = vars(self).setdefault("_values", {})
        if values.get(name, default) != value:
            values[name] = value
            changed = getattr(type(self), "_changed", None)
            if changed is not None:
                changed(self, name)

    return QtCore.Property(_QT_TYPES[kind], read, write)


def forwarded(kind: type, read: Callable[[Any], Any], write: Callable[[Any, Any], None], name: str = "value") -> Any:
    """Return a Qt property that lives in an inner widget."""

    def checked(self: Any, value: Any) -> None:
        write(self, check_type(type(self).__name__, name, kind, value))

    return QtCore.Property(_QT_TYPES[kind], read, checked)


def observe(subject: Any, event: Any, handler: Callable[..., None], *, with_node: bool = False) -> int:
    """Call the bound method `handler(caller, event[, node])` until its widget is gone.

    Scene observers outlive Qt widgets: without the guard every closed panel would go on receiving events.
    `with_node` is for scene events only: their call data is a node, that of other events may be a plain string.
    """
    method = weakref.WeakMethod(handler)

    def relay(caller: Any, name: str, *node: Any) -> None:
        target = method()
        if target is not None and shiboken6.isValid(target.__self__):
            target(caller, name, *node)

    if with_node:
        relay.CallDataType = vtk.VTK_OBJECT  # type: ignore[attr-defined]
    return subject.AddObserver(event, relay)
