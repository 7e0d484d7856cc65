"""Canned answers for everything modal: file dialogs, message boxes, input dialogs, opened links.

A test queues what the user will answer with `answer`; whatever was shown is kept in `shown`. In the
interactive window (`interactive = True`) the real dialogs appear.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from slicer_standin import errors
from slicer_standin.pythonqt import QtCore, QtGui, QtWidgets

GUARD_MS = 5000
interactive = False
shown: list[tuple[str, str]] = []
_answers: dict[str, deque[Any]] = {}

FILE_DIALOGS = ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory")
MESSAGE_BOXES = ("information", "question", "warning", "critical")
INPUT_DIALOGS = ("getText", "getItem", "getInt", "getDouble")


def answer(function: str, value: Any) -> None:
    """Queue the answer to the next modal call.

    Parameters
    ----------
    function
        Name of the Qt static ("getSaveFileName", "question", "getText", ...) or "exec" for any dialog.
    value
        What the call returns: a path or list of paths, a button, a text, a result code.
    """
    _answers.setdefault(function, deque()).append(value)


def reset() -> None:
    """Forget queued answers and the log of what was shown."""
    _answers.clear()
    shown.clear()


def _next(function: str, text: str) -> Any:
    shown.append((function, text))
    queue = _answers.get(function)
    if not queue:
        message = f"{function} was shown without a canned answer: {text!r} (queue one with dialogs.answer)"
        errors.record(message)
        raise RuntimeError(message)
    return queue.popleft()


def _canned_static(cls: type, function: str) -> None:
    original = getattr(cls, function)
    picks_first = cls is QtWidgets.QFileDialog  # PythonQt returns the path alone, PySide (path, filter)

    def call(*arguments: Any) -> Any:
        if interactive:
            result = original(*arguments)
            return result[0] if picks_first and isinstance(result, tuple) else result
        return _next(function, " | ".join(part for part in arguments if isinstance(part, str)))

    setattr(cls, function, staticmethod(call))


def _guarded_exec(original: Callable[..., Any]) -> Callable[..., Any]:
    def run(dialog: Any) -> Any:
        if interactive:
            return original(dialog)
        text = dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else dialog.windowTitle
        if _answers.get("exec") or isinstance(dialog, QtWidgets.QMessageBox | QtWidgets.QFileDialog):
            return _next("exec", text)
        shown.append(("exec", text))
        guard = QtCore.QTimer(dialog)

        def give_up() -> None:
            errors.record(f"a modal {type(dialog).__name__} ({text!r}) stayed open for {GUARD_MS} ms")
            dialog.reject()

        guard.timeout.connect(give_up)
        guard.start(GUARD_MS)
        try:
            return original(dialog)
        finally:
            guard.stop()

    return run


def install() -> None:
    """Replace the modal entry points of PySide6."""
    for cls, functions in (
        (QtWidgets.QFileDialog, FILE_DIALOGS),
        (QtWidgets.QMessageBox, MESSAGE_BOXES),
        (QtWidgets.QInputDialog, INPUT_DIALOGS),
    ):
        for function in functions:
            _canned_static(cls, function)
    run = _guarded_exec(QtWidgets.QDialog.exec)
    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QProgressDialog):
        cls.exec_ = run
    open_url = QtGui.QDesktopServices.openUrl

    def show_url(url: Any) -> bool:
        shown.append(("openUrl", url.toString()))
        return bool(open_url(url)) if interactive else True

    QtGui.QDesktopServices.openUrl = staticmethod(show_url)
