"""report.json: what was done, how long it took, and how good it is, in one stable dictionary."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..device import machine
from ..files import jsonable, write_json
from ..images.notes import is_unsound
from ..images.volume import LabelMap, Pair, Volume
from ..version import VERSION
from .evaluate import Evaluation
from .outcome import Outcome

FORMAT = 1
TOTAL = "total"


def make_report(
    pair: Pair,
    outcome: Outcome,
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
    outcome : Outcome
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
        notes, unsound, versions, machine, inputs` and more. `unsound` repeats those of the notes that say that an input
        may be wrong. `seconds` holds the stages and `total`. Numbers that are not
        defined are None, and labels are strings, as JSON wants them.
    """
    run = outcome.diagnostics
    notes = [*run.notes, *evaluation.notes]
    columns = {"before": evaluation.before, "start": evaluation.start, "after": evaluation.after}
    report = {
        "format": FORMAT,
        "engine": outcome.engine,
        "preset": outcome.preset,
        "status": status,
        "seconds": {**run.seconds, TOTAL: sum(run.seconds.values())},
        "cpu_seconds": {**run.cpu_seconds, TOTAL: sum(run.cpu_seconds.values())},
        "evaluation_seconds": evaluation.seconds,
        "peak_memory_mb": run.peak_memory_mb,
        "measures": {name: column for name, column in columns.items() if column is not None},
        "labels_scored": list(evaluation.labels),
        "region": evaluation.region,
        "look_at": [spot.to_json() for spot in evaluation.look_at],
        "settings": _plain_settings(outcome.settings),
        "stop_condition": run.stop_condition,
        "confidence": run.confidence,
        "notes": notes,
        "unsound": [note for note in notes if is_unsound(note)],
        "citations": list(citations),
        "device": run.device,
        "threads": run.threads,
        "seed": run.seed,
        "versions": {"DeepVsClassicReg": VERSION, **run.versions},
        "machine": machine(),
        "inputs": _inputs(pair, inputs or {}),
        "trace": [[point.stage, point.iteration, point.metric] for point in run.trace],
    }
    plain: dict[str, Any] = jsonable(report)
    return plain


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
