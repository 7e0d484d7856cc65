"""Brings the result into view after a run: collapses finished sections and scrolls the panel."""

from __future__ import annotations

from typing import Any

import qt

DONE = ("inputsButton", "adviceButton", "methodButton", "outputsButton", "progressButton", "machineButton")
MARGIN = 4


def close_done(ui: Any) -> None:
    """Collapse all sections above the result, so that verdict and view buttons fit below the Register button."""
    for name in DONE:
        getattr(ui, name).collapsed = True
    ui.resultButton.collapsed = False


def scroll_to_result(ui: Any) -> None:
    """Scroll until the verdict and the view buttons are visible, and the Register button if it fits."""
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
    """Return the scroll area around a widget; None when there is none, as without a main window."""
    while widget is not None and not widget.inherits("QScrollArea"):
        widget = widget.parent()
    return widget
