"""Compares several engines on one pair: a table, a CSV file, and a page with pictures side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_text
from ..pair import Pair
from ..result import TOTAL, Result
from .evaluate import Evaluation
from .figures import Pictures
from .make_report import figure_of_rows, make_report
from .measures import MEASURES, SECONDS, Measure, scalars
from .pages import COLUMN_TITLES, Page, measure_table
from .plotting import accuracy_time, data_uri
from .report import Report
from .verdict import DECISIVE, judge_report, seconds_text
from .views.catalogue import get_view

Runs = Mapping[str, tuple[Result, Evaluation]]
MOST_ROWS = 8


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
