"""The tables inside the panel: a summary narrow enough for it, and views as high as their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.evaluation.measures import MEASURES, SECONDS
from ..mrml.runs import Run
from ..mrml.tables import BEFORE, BEST, best_run, fill_table, unique_titles, update_label_table

MOST_ROWS = 10


def fill_summary(runs: Sequence[Run], node: Any) -> None:
    """Fill a table with the main measures: unit and direction beside the name, the best of several runs marked.

    Parameters
    ----------
    runs : sequence of Run
        One column each.
    node : vtkMRMLTableNode
        What is filled.
    """
    columns = [run.measures for run in runs]
    before = runs[0].measures_before if runs else {}
    rows = [measure for measure in (*MEASURES.values(), SECONDS) if measure.main]
    rows = [measure for measure in rows if any(column.get(measure.name) is not None for column in columns)]
    names = [f"{measure.title}{f' ({measure.unit})' if measure.unit else ''} {measure.arrow}" for measure in rows]
    table: dict[str, list[str]] = {
        _("Measure"): [name.strip() for name in names],
        BEFORE: [measure.text(before.get(measure.name)) for measure in rows],
    }
    best = [best_run(measure, columns) for measure in rows]
    for index, title in enumerate(unique_titles(runs)):
        texts = [measure.text(columns[index].get(measure.name)) for measure in rows]
        table[title] = [f"{text} {BEST}" if winner == index else text for text, winner in zip(texts, best, strict=True)]
    fill_table(node, table)


def fill_structures(runs: Sequence[Run], measure: str, node: Any) -> None:
    """Fill a table with one measure per structure, as texts with the digits the measure deserves.

    Parameters
    ----------
    runs : sequence of Run
        One column each.
    measure : str
        Name of a measure per label.
    node : vtkMRMLTableNode
        What is filled.
    """
    update_label_table(runs, node, measure=measure)
    table, about = node.GetTable(), MEASURES[measure]
    columns: dict[str, list[str]] = {}
    for column in range(1, table.GetNumberOfColumns()):
        values = [table.GetValue(row, column) for row in range(table.GetNumberOfRows())]
        columns[table.GetColumnName(column)] = [
            about.text(value.ToDouble()) if value.IsNumeric() else value.ToString() for value in values
        ]
    fill_table(node, columns)


def fit_table(view: Any) -> None:
    """Size the columns to their contents and the view to its rows, so that nothing scrolls inside the panel."""
    header = view.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setStretchLastSection(True)
    header.setDefaultAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)  # as the values below
    view.verticalHeader().hide()
    view.setWordWrap(False)
    view.resizeRowsToContents()
    view.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAsNeeded)
    _fit_height(view)


def keep_fitted(view: Any) -> None:
    """Make room for the horizontal scroll bar whenever the panel becomes too narrow for a table."""
    view.horizontalScrollBar().connect("rangeChanged(int,int)", lambda _low, _high: _fit_height(view))


def _fit_height(view: Any) -> None:
    rows, bar = view.model().rowCount() if view.model() is not None else 0, view.horizontalScrollBar()
    height = sum(view.rowHeight(row) for row in range(min(rows, MOST_ROWS))) + view.horizontalHeader().sizeHint.height()
    height += bar.sizeHint.height() if bar.maximum > 0 else 0
    view.setFixedHeight(max(60, height + 2 * view.frameWidth))
