"""Creates the report of one registration from the outputs of engine and evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..device import machine
from ..files import jsonable
from ..images.volume import LabelMap, Volume, is_marked
from ..pair import Pair
from ..result import Result
from ..version import VERSION
from .evaluate import Evaluation
from .report import Measured, Report
from .verdict import judge_report


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
        )
    )


def judged(report: Report) -> Report:
    """Return the report with the verdict of `judge_report`."""
    return dataclasses.replace(report, verdict=judge_report(report))


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
        if isinstance(item, LabelMap) and is_marked(item):
            described[role]["estimated"] = True
    if pair.fixed_points is not None:
        described["landmarks"] = {"count": len(pair.fixed_points)}
    for role, path in paths.items():
        described.setdefault(role, {})["path"] = str(path)
    return described
