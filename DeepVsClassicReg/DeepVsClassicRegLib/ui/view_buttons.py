"""The view buttons, one for each view mode of the slice views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..core.evaluation.views.catalogue import get_view, panel_views
from ..mrml.runs import Run

COLUMNS = 3


class ViewButtons:
    """Creates, enables and checks the buttons.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name; the buttons are added to them, such as `redCyanButton`.
    show : callable
        Called with the name of the view whose button is pressed.
    """

    def __init__(self, ui: Any, show: Callable[[str], None]) -> None:
        self._buttons: dict[str, Any] = {}
        for index, view in enumerate(panel_views()):
            button = qt.QPushButton(view.title)
            button.objectName = _button_name(view.name)
            button.toolTip = view.caption
            button.checkable = button.autoExclusive = True
            button.connect("clicked()", lambda name=view.name: show(name))
            ui.viewFrame.layout().addWidget(button, index // COLUMNS, index % COLUMNS)
            setattr(ui, button.objectName, button)
            self._buttons[view.name] = button

    def enable(self, run: Run | None) -> None:
        """Enable the buttons for the nodes of the run; a button whose node was deleted reports that when pressed."""
        for name, button in self._buttons.items():
            shown = [role for role in get_view(name).roles(before=False) if role != "fixed"]
            button.enabled = run is not None and all(run.had(role) for role in shown)

    def mark(self, shown: str) -> None:
        """Check only the button of the current view."""
        for name, button in self._buttons.items():
            button.autoExclusive = False
            button.checked = name == shown
            button.autoExclusive = True


def _button_name(view: str) -> str:
    """Return the name of a view's button, such as 'redCyanButton'."""
    first, *others = view.split("-")
    return first + "".join(part.capitalize() for part in others) + "Button"
