"""The page of an experiment, its figures and tables as files, and the summary as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..device import machine
from ..engines.base import versions
from ..evaluation.pages import Page
from ..evaluation.plotting import data_uri, png_bytes
from ..files import jsonable, write_bytes, write_csv, write_json, write_text
from .findings import FAILS, HOLDS, PAPER, UNDECIDED, Drawing, Findings, Table
from .tasks import TaskResult, failures_of

LEVELS = {HOLDS: "good", UNDECIDED: "check", FAILS: "bad"}
PACKAGES = ("scipy", "torch", "numba", "antspyx", "picsl_greedy", "itk-elastix")


def write_all(
    folder: Path, name: str, found: Findings, finished: Sequence[TaskResult], run: Mapping[str, Any]
) -> dict[str, Path]:
    """Write the page, figures and tables of an experiment and return the files by content.

    Parameters
    ----------
    folder : path
        Receives NAME.html, NAME.json, a PNG per figure, and NAME_TABLE.csv per table.
    name : str
        The experiment.
    found : Findings
        The findings.
    finished : sequence of TaskResult
        All tasks, for failures and times.
    run : mapping
        Description of the call.

    Raises
    ------
    RegistrationError
        When jinja2 or matplotlib is missing, or a file cannot be written.
    """
    page = Page("experiment.html")
    files = {}
    for table in found.tables:
        files[table.name] = write_csv(folder / f"{name}_{table.name}.csv", table.columns, table.rows)
    claims = jsonable(found.claims)
    columns = ["title", "verdict", "paper", "ours", "rule", "ours_alone"]
    files["claims"] = write_csv(folder / f"{name}_claims.csv", columns, [[c[key] for key in columns] for c in claims])
    for drawing in found.drawings:
        files[f"{drawing.name} figure"] = _picture(folder, drawing)
    about = {**run, **_effort(finished)}
    failures = [{"unit": f.task, "status": f.status, "reason": f.reason} for f in failures_of(finished)]
    summary = {
        "experiment": name,
        "claims": claims,
        "numbers": dict(found.numbers),
        "run": {key: str(value) for key, value in about.items()},
        "units": len(finished),
        "failures": failures,
        "notes": list(found.notes),
    }
    files["summary"] = write_json(folder / f"{name}.json", summary)
    values = {
        "title": found.title,
        "figure_of_paper": found.figure_of_paper,
        "summary": found.summary,
        "claims": [{**c, "level": LEVELS[c["verdict"]], "badge": c["verdict"], "paper": c["paper"]} for c in claims],
        "drawings": [
            {"title": d.title, "caption": d.caption, "uri": data_uri(d.figure, photo=False)} for d in found.drawings
        ],
        "tables": [_shown(table) for table in found.tables if table.rows],
        "notes": found.notes,
        "failures": failures,
        "units": len(finished),
        "run": list(about.items()),
        "versions": [*versions(*PACKAGES).items(), *machine().items()],
        "paper": PAPER,
    }
    files["page"] = write_text(folder / f"{name}.html", page.filled(values))
    return files


def _effort(finished: Sequence[TaskResult]) -> dict[str, str]:
    total = sum(entry.cpu_seconds for entry in finished)
    parts: dict[str, float] = {}
    for entry in finished:
        parts[entry.group] = parts.get(entry.group, 0.0) + entry.cpu_seconds
    shares = ", ".join(f"{group} {seconds:.0f} s" for group, seconds in parts.items())
    return {"units": f"{len(finished)}", "CPU time": f"{total:.0f} s ({shares})" if finished else "0 s"}


def _picture(folder: Path, drawing: Drawing) -> Path:
    return write_bytes(folder / f"{drawing.name}.png", png_bytes(drawing.figure))


def _shown(table: Table) -> dict[str, Any]:
    numeric = [
        all(isinstance(row[place], (int, float)) or row[place] is None for row in table.rows)
        for place in range(len(table.columns))
    ]
    rows = [[_text(cell) for cell in row] for row in table.rows]
    return {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "columns": table.columns,
        "rows": rows,
        "numeric": numeric,
        "folded": table.folded,
    }


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
