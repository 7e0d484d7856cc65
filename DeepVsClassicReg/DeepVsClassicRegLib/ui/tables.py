"""Making a table view as high as its rows, so that nothing in the panel scrolls inside a scroll area."""

from __future__ import annotations

from typing import Any

import qt

MOST_ROWS = 14


def fit_table(view: Any) -> None:
    """Size the columns to their contents and the view to its rows."""
    header = view.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    view.verticalHeader().hide()
    view.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAsNeeded)
    view.setWordWrap(False)
    view.resizeRowsToContents()
    rows = view.model().rowCount()
    shown = min(rows, MOST_ROWS)
    height = sum(view.rowHeight(row) for row in range(shown)) + header.height + 2 * view.frameWidth
    view.setFixedHeight(max(60, height + (view.horizontalScrollBar().sizeHint.height() if rows else 0)))
