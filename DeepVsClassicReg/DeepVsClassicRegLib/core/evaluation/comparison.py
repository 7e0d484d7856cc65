"""Compares several engines on one pair: a table, a CSV file, and a page with pictures side by side."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_text
from ..pair import Pair
from ..result import TOTAL, Result
from .evaluate import Evaluation
from .figures import Pictures
from .make_report import make_report
from .measures import MEASURES, SECONDS, Measure, scalars
from .pages import COLUMN_TITLES, Page, is_best, measure_table
from .plots import accuracy_time
from .plotting import data_uri
from .report import Report
from .verdict import DECISIVE, judge_report, seconds_text
from .views.catalogue import get_view
from .views.pictures import figure_of_rows

Runs = Mapping[str, tuple[Result, Evaluation]]
MOST_ROWS = 8


def comparison_table(runs: Runs) -> list[dict[str, Any]]:
    """Return one row per set of measures: before, after the linear alignment, and of each engine.

    Parameters
    ----------
    runs : mapping
        Name of an engine -> (result, evaluation), as `compare` returns it.

    Returns
    -------
    list of dict
        `name`, then all scalar measures by name; engines also have `seconds` and `cpu_seconds`.
    """
    rows: list[dict[str, Any]] = []
    for key, values in _shared_columns(runs).items():
        rows.append({"name": COLUMN_TITLES[key], **scalars(values)})
    for name, (result, evaluation) in runs.items():
        run = result.diagnostics
        times = {"seconds": sum(run.seconds.values()), "cpu_seconds": sum(run.cpu_seconds.values())}
        rows.append({"name": name, **scalars(evaluation.after), **times})
    return rows


def marked_table(runs: Runs, *, only_main: bool = True) -> dict[str, Any]:
    """Return the comparison for a terminal: `columns` (measures) and `rows` of cells with `text` and `best`.

    Parameters
    ----------
    runs : mapping
        As for `comparison_table`.
    only_main : bool
        Whether only the main measures are included.
    """
    rows = comparison_table(runs)
    measures = [m for m in (*MEASURES.values(), SECONDS) if any(m.name in row for row in rows)]
    measures = [m for m in measures if m.main] if only_main else measures
    names = set(runs)
    table = []
    for row in rows:
        cells = []
        for measure in measures:
            rivals = [other.get(measure.name) for other in rows if other["name"] in names]
            best = row["name"] in names and is_best(measure, row.get(measure.name), rivals)
            cells.append({"text": measure.text(row.get(measure.name)), "best": best})
        table.append({"name": row["name"], "cells": cells})
    return {"columns": measures, "rows": table}


def write_comparison_csv(path: str | os.PathLike[str], runs: Runs) -> Path:
    """Write the comparison as CSV, one line per set of measures; `FileError` when that fails."""
    rows = comparison_table(runs)
    fields = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value != value else value for key, value in row.items()} for row in rows)
    return write_text(Path(path), text.getvalue())


def write_comparison_html(
    path: str | os.PathLike[str],
    pair: Pair,
    runs: Runs,
    *,
    links: Mapping[str, str] | None = None,
    failures: Mapping[str, str] | None = None,
) -> Path:
    """Write a self-contained page that compares engines on one pair.

    Parameters
    ----------
    path : path
        The file to write.
    pair : Pair
        The registered pair.
    runs : mapping
        Name of an engine -> (result, evaluation).
    links : mapping, optional
        Name of an engine -> address of its report, relative to this page.
    failures : mapping, optional
        Name of an engine without result -> reason.

    Raises
    ------
    RegistrationError
        When matplotlib or jinja2 is missing.
    FileError
        When the file cannot be written.
    """
    page = Page("comparison.html")
    reports = {name: make_report(pair, result, evaluation) for name, (result, evaluation) in runs.items()}
    columns = {COLUMN_TITLES[key]: dict(values) for key, values in _shared_columns(runs).items()}
    for name, report in reports.items():
        columns[name] = {**runs[name][1].after, "seconds": report.seconds[TOTAL]}
    measures = [m for m in (*MEASURES.values(), SECONDS) if _measured(m, columns)]
    accuracy = next((MEASURES[name] for name in DECISIVE if any(name in c for c in columns.values())), None)
    values = {
        "title": f"Comparison of engines: {pair.moving.name} to {pair.fixed.name}",
        "fixed": pair.fixed.name,
        "moving": pair.moving.name,
        "engines": [
            {
                "name": name,
                "verdict": judge_report(report),
                "time": seconds_text(report.seconds[TOTAL]),
                "link": (links or {}).get(name, ""),
                "notes": report.notes,
            }
            for name, report in reports.items()
        ],
        "failures": dict(failures or {}),
        "table": measure_table(columns, measures=measures),
        "pictures": _pictures(pair, runs),
        "scatter": _scatter(reports, accuracy),
    }
    return write_text(Path(path), page.filled(values))


def _measured(measure: Measure, columns: Mapping[str, Mapping[str, Any]]) -> bool:
    return not measure.per_item and any(column.get(measure.name) is not None for column in columns.values())


def _shared_columns(runs: Runs) -> dict[str, Mapping[str, Any]]:
    """Return the columns before and start; start is omitted when the engines have different starts."""
    evaluations = [evaluation for _, evaluation in runs.values()]
    columns: dict[str, Mapping[str, Any]] = {"before": evaluations[0].before} if evaluations else {}
    starts = [evaluation.start for evaluation in evaluations if evaluation.start is not None]
    if starts and all(_as_shown(start) == _as_shown(starts[0]) for start in starts):
        columns["start"] = starts[0]
    return columns


def _as_shown(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the numbers as they are displayed, because their last bits differ between runs."""
    return {name: MEASURES[name].text(value) for name, value in scalars(values).items()}


def _pictures(pair: Pair, runs: Runs) -> list[dict[str, str]]:
    drawn = {name: Pictures(pair, run[0].transform, run[1]) for name, run in list(runs.items())[:MOST_ROWS]}
    if not drawn:
        return []
    first = next(iter(drawn.values()))
    sections = []
    for name in ("side-by-side", "red-cyan", "contours", "jacobian"):
        view = get_view(name)
        if not view.has_picture(first):
            continue
        rows = [(engine, one, one.after) for engine, one in drawn.items()]
        if view.before:
            rows.insert(0, (first.before.title, first, first.before))
        sections.append({"title": view.title, "caption": view.caption, "uri": data_uri(figure_of_rows(view, rows))})
    return sections


def _scatter(reports: Mapping[str, Report], measure: Measure | None) -> str | None:
    if measure is None:
        return None
    points: Sequence[tuple[str, float, float]] = [
        (name, report.seconds[TOTAL], report.measures.after[measure.name])
        for name, report in reports.items()
        if report.measures.after.get(measure.name) is not None
    ]
    return data_uri(accuracy_time(points, measure), photo=False) if len(points) > 1 else None
