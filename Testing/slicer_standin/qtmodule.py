"""Builds the `qt` module that Slicer offers, including a QUiLoader that refuses what it does not know."""

from __future__ import annotations

import functools
import types
from typing import Any
from xml.etree import ElementTree

from slicer_standin import pythonqt
from slicer_standin.pythonqt import QtCore, QtUiTools, QtWidgets

# Names that exist in PySide6 only: module code using them would fail in Slicer.
PYSIDE_ONLY = {"Signal", "Slot", "Property", "SignalInstance", "ClassInfo", "QEnum", "QFlag", "ClassProperty",
               "loadUiType", "Object", "QtCore", "QtGui", "QtWidgets", "Shiboken"}  # fmt: skip
_custom: dict[str, type] = {}
_code_only: dict[str, type] = {}


def register_widget(cls: type) -> type:
    """Class decorator: a widget with a Designer plugin, usable in .ui files and from Python."""
    _custom[cls.__name__] = cls
    return cls


def code_only(cls: type) -> type:
    """Class decorator: a class without Designer plugin, usable from Python alone."""
    _code_only[cls.__name__] = cls
    return cls


def standin_classes() -> dict[str, type]:
    """Return every stand-in class by name."""
    return _custom | _code_only


@functools.cache
def _property_names(cls: type) -> frozenset[str]:
    """Return a class' properties; asked once and early, since PySide drops the shared QMetaObject with a widget."""
    meta = cls.staticMetaObject
    return frozenset(meta.property(index).name() for index in range(meta.propertyCount()))


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file; unknown widgets, properties, signals and slots raise RuntimeError."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        for cls in _custom.values():
            self.registerCustomWidget(cls)

    def load(self, device: Any, parent: Any = None) -> Any:
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        known = {*self.availableWidgets(), *_custom, "Line", "QWidget"}
        for element in root.iter("widget"):
            class_name = element.get("class", "")
            if class_name not in known:
                raise RuntimeError(f"unknown widget class {class_name!r} in the .ui file")
            self._check_properties(element, class_name)
        flags = self._take_flags(root)
        links = root.find("connections")
        if links is not None:
            root.remove(links)  # made below, where C++ signatures of the stand-ins are understood
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(f"the .ui file could not be loaded: {self.errorString()}")
        for object_name, property_name, value in flags:
            self._find(widget, object_name).setProperty(property_name, value)
        for link in links if links is not None else ():
            self._link(widget, *(link.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot")))
        return widget

    @staticmethod
    def _check_properties(element: Any, class_name: str) -> None:
        cls = _custom.get(class_name) or getattr(QtWidgets, class_name, QtWidgets.QFrame)
        for item in element.findall("property"):
            name = item.get("name", "")
            if item.get("stdset") != "0" and name not in _property_names(cls):
                raise RuntimeError(f"{class_name} {element.get('name')!r} has no property {name!r} in the .ui file")

    @staticmethod
    def _take_flags(root: Any) -> list[tuple[str, str, int]]:
        """Cut enums and sets of stand-in classes out of the XML: Qt's loader knows no enums of Python classes."""
        flags = []
        for element in root.iter("widget"):
            cls = _custom.get(element.get("class", ""))
            for item in list(element.findall("property")) if cls else ():
                text = item.findtext("set") or item.findtext("enum") or ""
                if text.startswith(f"{cls.__name__}::"):
                    members = [getattr(cls, part.rpartition("::")[2]) for part in text.split("|")]
                    flags.append((element.get("name", ""), item.get("name", ""), sum(set(members))))
                    element.remove(item)
        return flags

    @staticmethod
    def _find(root: Any, name: str) -> Any:
        found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
        if found is None:
            raise RuntimeError(f"connection of the .ui file names an unknown object {name!r}")
        return found

    def _link(self, root: Any, sender: str, signal: str, receiver: str, slot: str) -> None:
        source, target = self._find(root, sender), self._find(root, receiver)
        if not callable(getattr(target, slot[: slot.index("(")], None)):
            raise RuntimeError(f"{receiver!r} has no slot {slot!r} named in the .ui file")
        try:
            source.connect(signal, target, slot)
        except ValueError as problem:
            raise RuntimeError(f"connection of the .ui file from {sender!r}: {problem}") from problem


def build() -> types.ModuleType:
    """Return a new module with everything that Slicer's `qt` has in common with PySide6."""
    for cls in (*_custom.values(), *pythonqt.qobject_classes()):
        _property_names(cls)
    module = types.ModuleType("qt", "Stand-in for Slicer's qt module.")
    for source in pythonqt.QT_MODULES:
        for name in dir(source):
            if not name.startswith("_") and name not in PYSIDE_ONLY:
                setattr(module, name, getattr(source, name))
    module.QUiLoader = QUiLoader  # type: ignore[attr-defined]
    return module
