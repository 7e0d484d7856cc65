"""PythonQt's attribute, property and signal rules on top of PySide6, enforced strictly.

PySide6 exposes Qt as methods and lets Python code add attributes to any object. Slicer's PythonQt exposes
Qt properties as attributes and refuses everything it does not know. Importing this file rewrites the PySide6
classes in place, so that a module written for Slicer runs here and a module that would break there breaks here.
Everything else of the stand-in takes Qt from this file, hence already rewritten.
"""

from __future__ import annotations

import dis
import inspect
import os
import sys
import types
from collections.abc import Callable
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x06")  # enums are ints, as in PythonQt

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

Signal = QtCore.Signal
QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
# Readers that Qt itself calls virtually: a Python property in their place would be called as a method from C++.
VIRTUAL_READERS = {"sizeHint": QtWidgets.QWidget, "minimumSizeHint": QtWidgets.QWidget,
                   "text": QtWidgets.QProgressBar}  # fmt: skip
SKIPPED = {("QProgressBar", "text"), ("QTimer", "singleShot"), ("QLayout", "contentsMargins")}  # the last: Qt 6 only
_PACKAGE = __name__.rpartition(".")[0]
_connections: dict[int, list[tuple[str, Any, Callable[..., None]]]] = {}


def qobject_classes() -> list[type]:
    """Return every QObject class of the Qt modules Slicer wraps, bases before subclasses."""
    every = (getattr(module, name) for module in QT_MODULES for name in dir(module))  # PySide loads types lazily
    found = {value for value in every if isinstance(value, type) and issubclass(value, QtCore.QObject)}
    return sorted(found, key=lambda cls: (len(cls.__mro__), cls.__name__))


def _reader(cls: type, name: str) -> Callable[[Any], Any]:
    for candidate in (name, "is" + name[0].upper() + name[1:], "has" + name[0].upper() + name[1:]):
        getter = getattr(cls, candidate, None)
        if isinstance(inspect.getattr_static(cls, candidate, None), staticmethod):
            return lambda _self, getter=getter: getter()
        if callable(getter):
            return getter
    return lambda self: QtCore.QObject.property(self, name)


def _writer(cls: type, name: str, writable: bool) -> Callable[[Any, Any], None]:
    if not writable:

        def refuse(self: Any, value: Any) -> None:
            raise AttributeError(f"property {name!r} of {type(self).__name__} is not writable")

        return refuse
    method = "set" + name[0].upper() + name[1:]
    setter = getattr(cls, method, None)
    if isinstance(inspect.getattr_static(cls, method, None), staticmethod):
        return lambda _self, value: setter(value)
    if callable(setter):
        return lambda self, value: setter(self, value)
    return lambda self, value: QtCore.QObject.setProperty(self, name, value) and None


def _patch_properties(cls: type) -> None:
    meta = cls.staticMetaObject
    if meta.className() != cls.__name__:
        return
    for index in range(meta.propertyCount()):
        meta_property = meta.property(index)
        name = meta_property.name()
        inherited = index < meta.propertyOffset() and not callable(vars(cls).get(name))
        if inherited or name.endswith("izeHint") or (cls.__name__, name) in SKIPPED:
            continue  # an inherited property matters only where the class repeats its getter, as QBoxLayout.spacing
        setattr(cls, name, property(_reader(cls, name), _writer(cls, name, meta_property.isWritable())))


class _TimerSingleShot:
    """`QTimer.singleShot(ms, f)` on the class, the boolean property on an instance."""

    def __init__(self, static: Callable[..., Any]) -> None:
        self._static = static

    def __get__(self, timer: Any, owner: type | None = None) -> Any:
        return self._static if timer is None else timer.isSingleShot()

    def __set__(self, timer: Any, value: bool) -> None:
        timer.setSingleShot(value)


def is_python_subclass(cls: type) -> bool:
    """Tell whether `cls` was written by a module author, as opposed to Qt, CTK or Slicer."""
    return not (hasattr(cls, "staticMetaObject") and cls.__module__.startswith(("PySide6", _PACKAGE)))


def _strict_setattr(self: Any, name: str, value: Any) -> None:
    if isinstance(value, QtCore.SignalInstance) or name == "__METAOBJECT__":  # PySide's own bookkeeping
        self.__dict__[name] = value
        return
    if isinstance(value, QtCore.QObject) and _caller_is_standin() and value.objectName == name:
        return  # PySide's QUiLoader names every child on its root; PythonQt finds children by name anyway
    cls = type(self)
    descriptor = next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)
    if isinstance(descriptor, QtCore.Property):
        if descriptor.fset is None:
            raise AttributeError(f"property {name!r} of {cls.__name__} is not writable")
        descriptor.fset(self, value)  # not through Qt, which would only print an exception
    elif descriptor is not None and hasattr(type(descriptor), "__set__"):
        type(descriptor).__set__(descriptor, self, value)
    elif is_python_subclass(cls) or (name.startswith("_") and _caller_is_standin()):
        self.__dict__[name] = value
    elif descriptor is not None:
        raise AttributeError(f"{name!r} is a method of {cls.__name__} and cannot be overwritten")
    elif name in _dynamic_names(self):
        QtCore.QObject.setProperty(self, name, value)
    else:
        raise AttributeError(f"{cls.__name__} has no attribute {name!r} and none can be added to a C++ object")


def _caller_is_standin() -> bool:
    return sys._getframe(2).f_globals.get("__name__", "").startswith(_PACKAGE)


def _dynamic_names(obj: Any) -> list[str]:
    return [bytes(name.data()).decode() for name in obj.dynamicPropertyNames()]


def _missing_attribute(self: Any, name: str) -> Any:
    if name and not name.startswith("_") and shiboken6.isValid(self):
        if name in _dynamic_names(self):
            return QtCore.QObject.property(self, name)
        for child in self.children():
            if child.objectName == name:
                return child
    raise AttributeError(f"{type(self).__name__} named {_label(self)!r} has no attribute {name!r}")


def _label(obj: Any) -> str:
    return obj.objectName if shiboken6.isValid(obj) else "deleted object"


def trimmed(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cut `arguments` to the number that `function` declares, defaults included, as PythonQt does."""
    bound = isinstance(function, types.MethodType)
    plain = function.__func__ if isinstance(function, types.MethodType) else function
    if not isinstance(plain, types.FunctionType) or plain.__code__.co_flags & 0x04:  # CO_VARARGS takes all
        return arguments
    return arguments[: plain.__code__.co_argcount - (1 if bound else 0)]


def _signature(obj: Any, signal: str) -> tuple[str, str]:
    """Return the normalized signature asked for and the name of the bound signal that carries it."""
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
    for cls in type(obj).__mro__:
        table = vars(cls).get("_signals_", {})
        if normalized in table:
            return normalized, table[normalized]
    # A stand-in's Signal(object) shows up as f(PyObject): only its declared C++ spelling may be used.
    if obj.metaObject().indexOfSignal(normalized) < 0 or "PyObject" in normalized:
        raise ValueError(f"{type(obj).__name__} has no signal {normalized!r}")
    return normalized, normalized


def _connect(self: Any, signal: str, receiver: Any, slot: str | None = None) -> bool:
    """`obj.connect("clicked(bool)", callable)` or `obj.connect(signal, object, slot)`; unknown signals raise."""
    if isinstance(signal, QtCore.QObject):  # PySide itself, e.g. behind QTimer.singleShot: (sender, signal, callable)
        return bool(QtCore.QObject.connect(signal, receiver, slot))
    normalized, carrier = _signature(self, signal)
    inside = normalized[normalized.index("(") + 1 : -1]
    offered = inside.count(",") + 1 if inside else 0
    target = getattr(receiver, slot[: slot.index("(")]) if slot else receiver
    if not callable(target):
        raise TypeError(f"{target!r} cannot receive {normalized!r}: it is not callable")

    def relay(*arguments: Any) -> None:
        target(*trimmed(target, arguments[:offered]))

    if carrier == normalized:
        QtCore.QObject.connect(self, QtCore.SIGNAL(normalized), relay)
    else:
        QtCore.QObject.__getattribute__(self, carrier).connect(relay)
    address = shiboken6.getCppPointer(self)[0]
    if address not in _connections:
        _connections[address] = []
        self.destroyed.connect(lambda: _connections.pop(address, None))
    _connections[address].append((normalized, target, relay))
    return True


def _disconnect(self: Any, signal: str, receiver: Any = None, slot: str | None = None) -> bool:
    """Undo `connect`; without a receiver every connection of `signal` made from Python is cut."""
    normalized, carrier = _signature(self, signal)
    target = getattr(receiver, slot[: slot.index("(")]) if slot else receiver
    entries = _connections.get(shiboken6.getCppPointer(self)[0], [])
    cut = [entry for entry in entries if entry[0] == normalized and (target is None or entry[1] == target)]
    for entry in cut:
        if carrier == normalized:
            QtCore.QObject.disconnect(self, QtCore.SIGNAL(normalized), entry[2])
        else:
            QtCore.QObject.__getattribute__(self, carrier).disconnect(entry[2])
        entries.remove(entry)
    return bool(cut)


def _class_name(self: Any) -> str:
    return self.metaObject().className()


def _delete(self: Any) -> None:
    shiboken6.delete(self)


# PySide resolves connect/disconnect below the level of class attributes, so they are caught at lookup.
_SPECIAL = {"connect": _connect, "disconnect": _disconnect, "className": _class_name, "delete": _delete}


def add_special(name: str, method: Callable[[Any], Any]) -> None:
    """Replace a method of every QObject; PySide would ignore a class attribute for some of them."""
    _SPECIAL[name] = method


def _lookup(original: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    special, virtual = _SPECIAL, VIRTUAL_READERS

    def lookup(self: Any, name: str) -> Any:
        if name in special:
            return types.MethodType(special[name], self)
        if name in virtual and isinstance(self, virtual[name]) and _asked_in_python(sys._getframe(1), name):
            return original(self, name)()
        return original(self, name)

    return lookup


def _asked_in_python(frame: types.FrameType, name: str) -> bool:
    """Tell a Python expression `x.sizeHint` from PySide looking for an override on behalf of a C++ virtual call.

    Both arrive at the same lookup; only the former happens at an instruction that loads an attribute of this name.
    """
    code, at = frame.f_code, frame.f_lasti
    operation, argument = dis.opname[code.co_code[at]], code.co_code[at + 1]
    if operation == "LOAD_ATTR" and sys.version_info >= (3, 12):
        argument >>= 1
    return operation in ("LOAD_ATTR", "LOAD_METHOD") and code.co_names[argument : argument + 1] == (name,)


def _patch_lookup(classes: list[type]) -> None:
    for cls in classes:  # QObject, and the few that bring their own (QProcess)
        if "__getattribute__" in vars(cls):
            cls.__getattribute__ = _lookup(vars(cls)["__getattribute__"])  # type: ignore[method-assign]
    QtCore.QObject.__getattr__ = _missing_attribute
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))


def _make_singletons_immortal() -> None:
    """Give None, True and False the references that PySide6 6.12 takes from them below Python 3.12.

    Its wheels are built for a Python where these objects are immortal: on 3.11 every void call
    (`label.setText("a")`) drops one reference to None, until the process dies with "none_dealloc".
    """
    if sys.version_info < (3, 12):
        import ctypes

        for singleton in (None, True, False):
            ctypes.c_ssize_t.from_address(id(singleton)).value += 1 << 40


def _install() -> None:
    _make_singletons_immortal()
    classes = qobject_classes()
    for cls in classes:
        _patch_properties(cls)
    QtCore.QTimer.singleShot = _TimerSingleShot(QtCore.QTimer.singleShot)
    for cls in classes:
        if "__setattr__" in vars(cls):
            cls.__setattr__ = _strict_setattr
        if hasattr(cls, "exec") and not hasattr(cls, "exec_"):
            cls.exec_ = cls.exec
    _patch_lookup(classes)


_install()
