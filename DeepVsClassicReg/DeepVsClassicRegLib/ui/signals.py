"""Signals between Python objects of the panel (PythonQt cannot declare Qt signals in Python)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls its listeners in the order of their connection.

    Examples
    --------
    >>> changed, seen = Signal(), []
    >>> changed.connect(seen.append)
    >>> changed.emit(3)
    >>> seen
    [3]
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[..., None]] = []

    def connect(self, listener: Callable[..., None]) -> None:
        """Call `listener` from now on."""
        self._listeners.append(listener)

    def disconnect(self, listener: Callable[..., None] | None = None) -> None:
        """Remove a listener, or all of them."""
        self._listeners = [kept for kept in self._listeners if listener is not None and kept != listener]

    def emit(self, *values: Any) -> None:
        """Call every listener; those disconnected meanwhile are not called."""
        for listener in list(self._listeners):
            if listener in self._listeners:
                listener(*values)
