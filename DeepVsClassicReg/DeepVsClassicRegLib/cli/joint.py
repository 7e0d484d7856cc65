"""The files of a comparison: JSON, CSV and HTML."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ..core.device import machine
from ..core.errors import RegistrationError
from ..core.evaluation.measures import MEASURES, scalars
from ..core.evaluation.report import write_report_json
from ..core.files import write_text
from .comparing import Run
from .output import show_note

FORMAT = 1


def write_joint(
    out: Path, inputs: Mapping[str, str], linear: Run | None, runs: Sequence[Run], *, page: bool = True
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Write comparison.json, .csv and, with `page`, .html and return the content and the files.

    A page that cannot be drawn (packages missing) costs a note, not the comparison.
    """
    content = joint_content(out, inputs, linear, runs)
    files = {
        "comparison.json": write_report_json(out / "comparison.json", content),
        "comparison.csv": write_text(out / "comparison.csv", joint_csv(linear, runs)),
    }
    if page and any(run.ok for run in runs):
        from .joint_page import write_page

        try:
            files["comparison.html"] = write_page(out / "comparison.html", inputs, runs)
        except RegistrationError as error:
            show_note(f"comparison.html was not written: {error}")
    return content, files


def joint_content(out: Path, inputs: Mapping[str, str], linear: Run | None, runs: Sequence[Run]) -> dict[str, Any]:
    """Return all runs of a comparison as plain values; the seconds of every run contain those of `linear`."""
    return {
        "format": FORMAT,
        "inputs": dict(inputs),
        "linear": None if linear is None else _described(linear, out),
        "runs": [_described(run, out) for run in runs],
        "machine": machine(),
    }


def joint_csv(linear: Run | None, runs: Sequence[Run]) -> str:
    """Return one line per run: who, how it went, seconds, then every single number after registration."""
    everybody = [run for run in (linear, *runs) if run is not None]
    columns = {run.name: scalars(run.report["measures"]["after"]) for run in everybody if run.ok}
    names = [name for name in MEASURES if any(name in values for values in columns.values())]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["engine", "preset", "status", "reason", "seconds", "cpu_seconds", "peak_memory_mb", *names])
    first = next((run for run in everybody if run.ok), None)
    if first is not None:
        before = first.report["measures"]["before"]
        writer.writerow(["(before)", "", "", "", "", "", "", *(_cell(before.get(name)) for name in names)])
    for run in everybody:
        values = columns.get(run.name, {})
        cost = [run.seconds, run.report.get("cpu_seconds", {}).get("total"), run.report.get("peak_memory_mb")]
        status = "done" if run.ok else "failed"
        writer.writerow(
            [run.engine, run.preset, status, run.reason, *map(_cell, cost), *(_cell(values.get(n)) for n in names)]
        )
    return text.getvalue()


def _described(run: Run, out: Path) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": run.name,
        "engine": run.engine,
        "preset": run.preset,
        "status": run.report.get("status", "done") if run.ok else "failed",
    }
    if not run.ok:
        return {**about, "reason": run.reason, "hint": run.hint, "exit_code": run.code}
    kept = (
        "seconds",
        "cpu_seconds",
        "peak_memory_mb",
        "measures",
        "confidence",
        "notes",
        "unsound",
        "verdict",
        "versions",
    )
    return {**about, "folder": run.folder.relative_to(out).as_posix(), **{key: run.report.get(key) for key in kept}}


def _cell(value: Any) -> Any:
    return "" if value is None else value
