"""Keys that work while the module is open and a run is shown: view modes, and the places of *Look at*.

Slicer's slice views use b, f, g, r, t, v, brackets and arrows, its 3D views the keypad, its menus Ctrl with a letter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _


class Shortcuts:
    """Adds keys to the main window between `install` and `remove`, and names them in tool tips.

    Text fields keep their letters: a field that is edited gets a key before a shortcut does.

    Parameters
    ----------
    actions : mapping of str to callable
        What each key does.
    """

    def __init__(self, actions: dict[str, Callable[[], None]]) -> None:
        self._actions = actions
        self._shortcuts: list[Any] = []
        self._enabled = False

    def install(self) -> None:
        """Add the keys; without a main window there are none."""
        window = slicer.util.mainWindow()
        if self._shortcuts or window is None:
            return
        for key, action in self._actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)
        self.enable(self._enabled)

    def remove(self) -> None:
        """Give the keys back."""
        for shortcut in self._shortcuts:
            shortcut.disconnect("activated()")
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []

    def enable(self, enabled: bool) -> None:
        """Let the keys work only while there is something to show; otherwise Slicer gets them."""
        self._enabled = enabled
        for shortcut in self._shortcuts:
            shortcut.enabled = enabled


def name_key(widget: Any, keys: str) -> None:
    """Add the keys to the tool tip of a widget."""
    text = _("Key: {keys}").format(keys=keys)
    widget.toolTip = f"{widget.toolTip} ({text})" if widget.toolTip else text
