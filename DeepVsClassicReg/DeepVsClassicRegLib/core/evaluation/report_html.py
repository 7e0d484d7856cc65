"""report.html: a self-contained page for clinicians."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_text
from ..pair import Pair
from ..result import TOTAL, Result
from .evaluate import Evaluation
from .figures import Pictures
from .make_report import make_report
from .measures import MEASURES
from .pages import COLUMN_TITLES, Page, measure_table
from .plotting import curves, data_uri, label_plot
from .report import Report
from .verdict import judge_report, seconds_text, tiles
from .views.pictures import pictures_of


def write_report_html(
    path: str | os.PathLike[str],
    pair: Pair,
    result: Result,
    evaluation: Evaluation,
    *,
    report: Report | None = None,
    title: str = "",
) -> Path:
    """Write the report of one registration as a self-contained page.

    Parameters
    ----------
    path : path
        The file to write.
    pair, result, evaluation
        The pair, the result of the engine, and its evaluation.
    report : Report, optional
        The report from `make_report` (with status, citations and paths); created here when omitted.
    title : str
        Title of the engine; default: its name.

    Raises
    ------
    RegistrationError
        When matplotlib or jinja2 is missing.
    FileError
        When the file cannot be written.
    """
    page = Page("report.html")
    shown = report or make_report(pair, result, evaluation)
    pictures = pictures_of(Pictures(pair, result.transform, evaluation))
    columns = {COLUMN_TITLES[key]: values for key, values in shown.measures.columns.items()}
    values = {
        "title": f"Registration of {pair.moving.name} to {pair.fixed.name}",
        "report": shown,
        "fixed": pair.fixed.name,
        "moving": pair.moving.name,
        "engine": title or shown.engine or "Given transform",
        "verdict": judge_report(shown),
        "tiles": tiles(shown),
        "total": seconds_text(shown.seconds[TOTAL]),
        "cpu_total": seconds_text(shown.cpu_seconds[TOTAL]),
        "evaluation_time": seconds_text(evaluation.seconds),
        "pictures": [
            {"name": view.name, "title": view.title, "caption": view.caption, "uri": data_uri(figure)}
            for view, figure in pictures
        ],
        "table": measure_table(columns),
        "timing": timing_bars(shown.seconds),
        "settings": [(key.replace("_", " "), value_text(value)) for key, value in shown.settings.items()],
        "inputs": [(key.replace("_", " "), _input_text(value)) for key, value in shown.inputs.items()],
        **_label_part(pair, shown),
        "curves": None,
    }
    drawn = curves(shown.trace)
    if drawn is not None:
        values["curves"] = data_uri(drawn, photo=False)
    return write_text(Path(path), page.filled(values))


def timing_bars(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a bar per stage, with its length relative to the longest one."""
    stages = {stage: value for stage, value in seconds.items() if stage != TOTAL}
    longest = max(stages.values(), default=0.0) or 1.0
    return [
        {"stage": stage, "percent": round(100 * value / longest, 1), "text": seconds_text(value)}
        for stage, value in stages.items()
    ]


def value_text(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " × ".join(value_text(entry) for entry in value) if value else "–"
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None or value == "" else str(value)


def _label_part(pair: Pair, report: Report) -> dict[str, Any]:
    measure = MEASURES["dice_per_label"]
    columns = {key: column[measure.name] for key, column in report.measures.columns.items() if column.get(measure.name)}
    if "after" not in columns or "before" not in columns:
        return {"label_plot": None, "label_rows": [], "label_columns": [], "label_caption": ""}
    names = _label_names(pair)
    distances = report.measures.after.get("hd95_mm_per_label", {})
    rows = []
    for label in columns["after"]:
        cells = [measure.text(values.get(label)) for values in columns.values()]
        cells.append(MEASURES["hd95_mm_per_label"].text(distances.get(label)))
        rows.append({"name": names.get(label, f"Label {label}"), "cells": cells})
    return {
        "label_plot": data_uri(label_plot(columns, names, measure), photo=False),
        "label_rows": rows,
        "label_columns": [*(f"Dice, {COLUMN_TITLES[key].lower()}" for key in columns), "HD95 after, mm"],
        "label_caption": f"Dice of each of the {len(rows)} evaluated labels, worst first; higher is better.",
    }


def _label_names(pair: Pair) -> dict[str, str]:
    found: dict[str, str] = {}
    for labels in (pair.moving_labels, pair.fixed_labels):
        if labels is not None:
            found |= {str(label): name for label, name in labels.names.items()}
    return found


def _input_text(value: Mapping[str, Any]) -> str:
    if "count" in value:
        return f"{value['count']} pairs" + (f", {value['path']}" if "path" in value else "")
    parts = [str(value["path"]) if "path" in value else str(value.get("name", ""))]
    if "size" in value:
        size = " × ".join(str(n) for n in value["size"])
        spacing = " × ".join(f"{s:.3g}" for s in value["spacing_mm"])
        parts.append(f"{size} voxels of {spacing} mm")
    return ", ".join(part for part in parts if part)
