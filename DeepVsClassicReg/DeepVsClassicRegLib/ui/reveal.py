"""Bringing what a user wants to see next into view: sections that are done close, and the panel scrolls."""

from __future__ import annotations

from typing import Any

import qt

DONE = ("inputsButton", "adviceButton", "methodButton", "outputsButton", "progressButton", "machineButton")
MARGIN = 4


def close_done(ui: Any) -> None:
    """Close every section above the result, so that verdict and views have their place below the button."""
    for name in DONE:
        getattr(ui, name).collapsed = True
    ui.resultButton.collapsed = False


def scroll_to_result(ui: Any) -> None:
    """Scroll so that the verdict and the buttons of the views are seen, the Register button too where it fits."""
    area = _scroll_area(ui.resultButton)
    if area is None:
        return
    content = area.widget()
    top, bottom = (
        ui.registerButton.mapTo(content, qt.QPoint(0, 0)).y(),
        ui.foldButton.mapTo(content, qt.QPoint(0, ui.foldButton.height)).y(),
    )
    if bottom - top + 2 * MARGIN > area.viewport().height:
        top = ui.resultButton.mapTo(content, qt.QPoint(0, 0)).y()
    bar = area.verticalScrollBar()
    if bottom + MARGIN > area.viewport().height or bar.value > top:
        bar.value = top - MARGIN
    else:
        bar.value = 0


def _scroll_area(widget: Any) -> Any:
    """Return the scroll area a widget lies in; None when it lies in none, as without a main window."""
    while widget is not None and not widget.inherits("QScrollArea"):
        widget = widget.parent()
    return widget
