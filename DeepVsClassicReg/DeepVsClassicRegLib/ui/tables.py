"""The tables of the panel: a summary that fits its width, and table views as high as their rows."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.evaluation.measures import MEASURES, SECONDS, Measure
from ..mrml.runs import Run
from ..mrml.tables import BEFORE, BEST, best_run, fill_table, unique_titles, update_label_table

MOST_ROWS = 10
HEADING_LETTERS = 9


def fill_summary(runs: Sequence[Run], node: Any) -> None:
    """Fill a table with the main measures, with unit and better direction; the best of several runs is marked.

    Parameters
    ----------
    runs : sequence of Run
        One column each.
    node : vtkMRMLTableNode
        The table to fill.
    """
    columns = [run.measures for run in runs]
    before = runs[0].measures_before if runs else {}
    rows = _main_measures(runs)
    table: dict[str, list[str]] = {
        _("Measure"): [measure.heading for measure in rows],
        BEFORE: [measure.text(before.get(measure.name)) for measure in rows],
    }
    best = [best_run(measure, columns) for measure in rows]
    for index, title in enumerate(unique_titles(runs)):
        texts = [measure.text(columns[index].get(measure.name)) for measure in rows]
        table[folded(title)] = [
            f"{text} {BEST}" if winner == index else text for text, winner in zip(texts, best, strict=True)
        ]
    fill_table(node, table)


def fill_structures(runs: Sequence[Run], measure: str, node: Any) -> None:
    """Fill a table with one measure per structure, as texts with the digits of that measure.

    Parameters
    ----------
    runs : sequence of Run
        One column each.
    measure : str
        Name of a measure per label.
    node : vtkMRMLTableNode
        The table to fill.
    """
    update_label_table(runs, node, measure=measure)
    table, about = node.GetTable(), MEASURES[measure]
    columns: dict[str, list[str]] = {}
    for column in range(1, table.GetNumberOfColumns()):
        values = [table.GetValue(row, column) for row in range(table.GetNumberOfRows())]
        columns[folded(table.GetColumnName(column))] = [
            about.text(value.ToDouble()) if value.IsNumeric() else value.ToString() for value in values
        ]
    fill_table(node, columns)


def folded(title: str, *, most: int = HEADING_LETTERS) -> str:
    """Return a heading broken at word boundaries into short lines, so that its column stays narrow.

    Examples
    --------
    >>> folded("network+refine:fine", most=8)
    'network+\\nrefine:\\nfine'
    """
    lines = [""]
    for piece in re.findall(r"[^-+: ]+[-+: ]?", title):
        if lines[-1] and len(lines[-1] + piece.strip()) > most:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def explained(runs: Sequence[Run]) -> str:
    """Return the explanation of the short names of the summary, as a rich-text tooltip."""
    rows = "".join(
        f"<tr><td>{html.escape(measure.short)}&nbsp;&nbsp;</td><td>{html.escape(measure.title)}</td></tr>"
        for measure in _main_measures(runs)
        if measure.short
    )
    first = html.escape(_("All runs side by side; {star} marks the best value of a row.").format(star=BEST))
    return f"{first}<table>{rows}</table>"


def _main_measures(runs: Sequence[Run]) -> list[Measure]:
    """Return the main measures that at least one of the runs has, or will have."""
    main = [measure for measure in (*MEASURES.values(), SECONDS) if measure.main]
    missing = {family for run in runs for family in run.typed_report.missing}
    found = {measure.name for measure in main if any(run.measures.get(measure.name) is not None for run in runs)}
    return [measure for measure in main if measure.name in found or measure.family in missing]


def fit_table(view: Any) -> None:
    """Size the columns to their contents and the view to its rows, so that nothing scrolls inside the panel."""
    header = view.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setStretchLastSection(False)  # a stretched section is cut off when there is too little space
    header.setDefaultAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)  # aligned with the values below
    view.verticalHeader().hide()
    view.setWordWrap(False)
    view.resizeRowsToContents()
    view.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAsNeeded)
    _fit_height(view)


def keep_fitted(view: Any) -> None:
    """Adapt the height for the horizontal scroll bar when the panel becomes too narrow for a table."""
    view.horizontalScrollBar().connect("rangeChanged(int,int)", lambda _low, _high: _fit_height(view))


def _fit_height(view: Any) -> None:
    rows, bar = view.model().rowCount() if view.model() is not None else 0, view.horizontalScrollBar()
    height = sum(view.rowHeight(row) for row in range(min(rows, MOST_ROWS))) + view.horizontalHeader().sizeHint.height()
    height += bar.sizeHint.height() if bar.maximum > 0 else 0
    view.setFixedHeight(max(60, height + 2 * view.frameWidth))
