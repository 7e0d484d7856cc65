"""The report of one registration, made from the outputs of engine and evaluation: its content, and its HTML page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..device import machine
from ..files import jsonable, write_text
from ..images.volume import LabelMap, Volume, is_marked
from ..pair import Pair
from ..result import TOTAL, Result
from ..version import VERSION
from .evaluate import Evaluation
from .figures import Bar, Pictures, Side, strip
from .measures import MEASURES
from .pages import COLUMN_TITLES, Page, measure_table
from .plotting import Draw, curves, data_uri, gray, label_plot
from .report import Measured, Report
from .verdict import judge_report, seconds_text, tiles
from .views.base import View
from .views.catalogue import report_views


def make_report(
    pair: Pair,
    result: Result,
    evaluation: Evaluation,
    *,
    status: str = "done",
    citations: Sequence[str] = (),
    inputs: Mapping[str, Any] | None = None,
) -> Report:
    """Return the report of one registration with its verdict.

    Parameters
    ----------
    pair : Pair
        The registered pair.
    result : Result
        The result of the engine.
    evaluation : Evaluation
        Its measures.
    status : str
        'done', or the reason why the result is not complete.
    citations : sequence of str
        Papers to cite for the engine and its software.
    inputs : mapping, optional
        Paths of the input files, by role ('fixed', 'moving', ...).
    """
    diagnostics = dataclasses.replace(result.diagnostics, notes=(*result.diagnostics.notes, *evaluation.notes))
    run = diagnostics.to_json()
    return judged(
        Report(
            engine=result.engine,
            preset=result.preset,
            status=status,
            **{name: run[name] for name in ("seconds", "cpu_seconds", "peak_memory_mb")},
            evaluation_seconds=evaluation.seconds,
            measures=Measured(jsonable(evaluation.before), jsonable(evaluation.after), jsonable(evaluation.start)),
            labels_scored=tuple(evaluation.labels),
            region=evaluation.region,
            look_at=evaluation.look_at,
            locations=evaluation.locations,
            settings=jsonable(result.settings or {}),
            **{name: run[name] for name in ("stop_condition", "confidence")},
            notes=tuple(run["notes"]),
            unsound=tuple(run["unsound"]),
            citations=tuple(citations),
            **{name: run[name] for name in ("device", "threads", "seed")},
            versions={"DeepVsClassicReg": VERSION, **run["versions"]},
            machine=machine(),
            inputs=jsonable(_inputs(pair, inputs or {})),
            trace=tuple((stage, step, jsonable(metric)) for stage, step, metric in run["trace"]),
            missing=evaluation.missing,
        )
    )


def judged(report: Report) -> Report:
    """Return the report with the verdict of `judge_report`."""
    return dataclasses.replace(report, verdict=judge_report(report))


def _inputs(pair: Pair, paths: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for role in pair.__dataclass_fields__:
        item = getattr(pair, role)
        if isinstance(item, (Volume, LabelMap)):
            described[role] = {
                "name": item.name,
                "size": item.grid.size,
                "spacing_mm": item.grid.spacing_mm,
                "origin_mm": item.grid.origin_mm,
                "direction": item.grid.direction,
            }
        if isinstance(item, LabelMap) and is_marked(item):
            described[role]["estimated"] = True
    if pair.fixed_points is not None:
        described["landmarks"] = {"count": len(pair.fixed_points)}
    for role, path in paths.items():
        described.setdefault(role, {})["path"] = str(path)
    return described


def figure_of(view: View, pictures: Pictures) -> Any:
    """Return the picture of a view of one registration, before and after if it has both."""
    sides = (pictures.before, pictures.after) if view.before else (pictures.after,)
    rows = [(side.title if view.before else view.title, pictures, side) for side in sides]
    return figure_of_rows(view, rows)


def figure_of_rows(view: View, rows: Iterable[tuple[str, Pictures, Side]]) -> Any:
    """Return a picture with one row per registration and side, all of one pair.

    Parameters
    ----------
    view : View
        The view that draws the rows.
    rows : iterable of (title, pictures, side)
        Content of the rows.
    """
    if view.row is None:
        raise ValueError(f"The view '{view.name}' has no picture.")
    shown = list(rows)
    first = shown[0][1]
    drawn: list[tuple[str, Draw]] = [("Fixed", gray(first.fixed))] if view.with_fixed else []
    drawn += [(title, view.row(pictures, side)) for title, pictures, side in shown]
    return strip(first.planes, drawn, bar=_bar(view))


def pictures_of(pictures: Pictures) -> list[tuple[View, Any]]:
    """Return the pictures of all views available for this pair, in the order of the catalogue."""
    return [(view, figure_of(view, pictures)) for view in report_views() if view.has_picture(pictures)]


def _bar(view: View) -> Bar | None:
    legend = view.legend
    if legend is None:
        return None
    # The color of folds is explained beside the bar, not by the note.
    title = legend.title if legend.marks_folds else legend.text(before=False)
    return Bar(title, legend.low, legend.high, legend.names, fold=legend.marks_folds, signed=legend.signed)


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
