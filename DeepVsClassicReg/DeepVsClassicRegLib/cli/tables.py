"""Tables of measures on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.evaluation.measures import MEASURES, SECONDS, Measure
from ..core.evaluation.report import Report
from .comparison import ComparedRun
from .output import COLORS, show_table

SHORT_TITLES = {
    "dice_mean": "Dice",
    "hd95_mm_mean": "HD95",
    "tre_mm_mean": "TRE",
    "mi": "MI",
    "ncc": "NCC",
    "folding_percent": "Folds",
    "sd_log_jacobian": "SD log J",
}


def show_measures(report: Report) -> None:
    """Print the main measures of a report before registration, after the linear alignment, and at the end."""
    columns = report.measures.columns
    stages = [name for name in ("before", "start", "after") if columns.get(name)]
    titles = {"before": "Before", "start": "Linear", "after": "After"}
    rows = []
    for measure in MEASURES.values():
        values = [columns[stage].get(measure.name) for stage in stages]
        if measure.main and any(value is not None for value in values):
            rows.append([_title(measure), *(measure.text(value) for value in values)])
    total = report.total_seconds
    name = ":".join(filter(None, (report.engine, report.preset)))
    took = f", {total:.1f} s" if total is not None else ""
    show_table(f"{name or 'Measures'}{took}", ["Measure", *(titles[stage] for stage in stages)], rows, numbers=True)


def _short(measure: Measure) -> str:
    title = SHORT_TITLES.get(measure.name, measure.title)
    return f"{title}{f' {measure.unit}' if measure.unit in ('mm', '%', 's') else ''} {measure.arrow}".strip()


def _title(measure: Measure) -> str:
    unit = f" [{measure.unit}]" if measure.unit else ""
    return f"{measure.title}{unit} {measure.arrow}".replace("[", "\\[").strip()


def show_runs(linear: ComparedRun | None, runs: Sequence[ComparedRun]) -> None:
    """Print the main measures of a comparison, one line per run, the best value of each column in green."""
    finished = [run for run in (linear, *runs) if run is not None and run.ok]
    before = next((run.report.measures.before for run in finished if run.report), None)
    if before is None:
        return
    names = ["before", *(f"{run.name} (start)" if run is linear else run.name for run in finished)]
    titles, columns = ["Run"], [names]
    for measure in (*MEASURES.values(), SECONDS):
        values = [_value(run, measure) for run in finished]
        if measure.main and any(value is not None for value in values):
            titles.append(_short(measure))
            marked = _marked(measure, values, first=linear is not None)
            columns.append([measure.text(before.get(measure.name)), *marked])
    titles.append("Verdict")
    columns.append(["", *(_verdict(run) for run in finished)])
    show_table("Comparison", titles, list(zip(*columns, strict=True)), numbers=True)


def _verdict(run: ComparedRun) -> str:
    level = run.report.verdict.level if run.report and run.report.verdict else "check"
    return f"[{COLORS[level]}]{level}[/]"


def _value(run: ComparedRun, measure: Measure) -> float | None:
    if measure is SECONDS or run.report is None:
        return run.seconds
    value: float | None = run.report.measures.after.get(measure.name)
    return value


def _marked(measure: Measure, values: Sequence[float | None], *, first: bool) -> list[str]:
    """Return the values as text, the best in green; with `first`, the common linear start is not considered."""
    rivals = [value for value in values[1 if first else 0 :] if value is not None]
    texts = []
    for index, value in enumerate(values):
        competes = value is not None and len(rivals) > 1 and not (first and index == 0)
        best = competes and bool(measure.direction) and not any(measure.better(other, value) for other in rivals)
        text = measure.text(value)
        texts.append(f"[bold green]{text}[/]" if best else text)
    return texts
