"""The buttons of the ways of looking, one for each view that the slice views show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..core.evaluation.views.catalogue import get_view, panel_views
from ..mrml.runs import Run

COLUMNS = 3


class ViewButtons:
    """Makes, enables and marks the buttons.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name; the buttons join them, as `redCyanButton`.
    show : callable
        Called with the name of the view whose button was pressed.
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
        """Enable what the run was made with; what was deleted since stays enabled and says so when it is pressed."""
        for name, button in self._buttons.items():
            shown = [role for role in get_view(name).roles(before=False) if role != "fixed"]
            button.enabled = run is not None and all(run.had(role) for role in shown)

    def mark(self, shown: str) -> None:
        """Check the button of what is shown, and no other one."""
        for name, button in self._buttons.items():
            button.autoExclusive = False
            button.checked = name == shown
            button.autoExclusive = True


def _button_name(view: str) -> str:
    """Return the name of a view's button, such as 'redCyanButton'."""
    first, *others = view.split("-")
    return first + "".join(part.capitalize() for part in others) + "Button"
