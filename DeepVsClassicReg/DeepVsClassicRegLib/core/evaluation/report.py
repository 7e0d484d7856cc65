"""report.json: what was done, how long it took, and how good it is, in one stable dictionary."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..device import machine
from ..files import jsonable, write_json
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from ..result import Result
from ..version import VERSION
from .evaluate import Evaluation
from .verdict import judge_report

FORMAT = 1


def make_report(
    pair: Pair,
    result: Result,
    evaluation: Evaluation,
    *,
    status: str = "done",
    citations: Sequence[str] = (),
    inputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the report of one registration as plain JSON values.

    Parameters
    ----------
    pair : Pair
        What was registered.
    result : Result
        What the engine returned.
    evaluation : Evaluation
        Its measures.
    status : str
        'done', or why the result is not complete.
    citations : sequence of str
        Papers to cite for the engine and its back end.
    inputs : mapping, optional
        Paths of the input files, by role ('fixed', 'moving', ...).

    Returns
    -------
    dict
        `engine, preset, status, seconds, cpu_seconds, peak_memory_mb, measures {before, start, after}, settings,
        notes, unsound, verdict, versions, machine, inputs` and more. `unsound` repeats those of the notes that say that
        an input may be wrong. `seconds` holds the stages and `total`. Numbers that are not
        defined are None, and labels are strings, as JSON wants them.
    """
    diagnostics = dataclasses.replace(result.diagnostics, notes=(*result.diagnostics.notes, *evaluation.notes))
    run = diagnostics.to_json()
    columns = {"before": evaluation.before, "start": evaluation.start, "after": evaluation.after}
    report = {
        "format": FORMAT,
        "engine": result.engine,
        "preset": result.preset,
        "status": status,
        **{name: run[name] for name in ("seconds", "cpu_seconds", "peak_memory_mb")},
        "evaluation_seconds": evaluation.seconds,
        "measures": {name: column for name, column in columns.items() if column is not None},
        "labels_scored": list(evaluation.labels),
        "region": evaluation.region,
        "look_at": [location.to_json() for location in evaluation.look_at],
        "locations": evaluation.locations.to_json(),
        "settings": _plain_settings(result.settings),
        **{name: run[name] for name in ("stop_condition", "confidence", "notes", "unsound")},
        "citations": list(citations),
        **{name: run[name] for name in ("device", "threads", "seed")},
        "versions": {"DeepVsClassicReg": VERSION, **run["versions"]},
        "machine": machine(),
        "inputs": _inputs(pair, inputs or {}),
        "trace": run["trace"],
    }
    return judged(jsonable(report))


def judged(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report with its `verdict`: level, headline, sentence and reasons as `judge_report` finds them."""
    verdict = dataclasses.asdict(judge_report(report))
    del verdict["look_at"]  # the report has it
    return {**report, "verdict": jsonable(verdict)}


def write_report_json(path: str | os.PathLike[str], report: Mapping[str, Any]) -> Path:
    """Write a report so that a reader never sees half of it.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    return write_json(Path(path), report, indent=2)


def _plain_settings(settings: Any) -> Any:
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return dataclasses.asdict(settings)
    return settings or {}


def _inputs(pair: Pair, paths: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    roles = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask")
    for role in roles:
        item = getattr(pair, role)
        if isinstance(item, (Volume, LabelMap)):
            described[role] = {
                "name": item.name,
                "size": item.grid.size,
                "spacing_mm": item.grid.spacing_mm,
                "origin_mm": item.grid.origin_mm,
                "direction": item.grid.direction,
            }
    if pair.fixed_points is not None:
        described["landmarks"] = {"count": len(pair.fixed_points)}
    for role, path in paths.items():
        described.setdefault(role, {})["path"] = str(path)
    return described
