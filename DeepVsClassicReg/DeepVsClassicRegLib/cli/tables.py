"""Tables of measures on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.evaluation.measures import MEASURES, Measure
from .output import show_note, show_table


def show_measures(report: Mapping[str, Any]) -> None:
    """Show a report's main measures before, after the linear alignment, and after, and its notes."""
    columns = report["measures"]
    stages = [name for name in ("before", "start", "after") if columns.get(name)]
    titles = {"before": "Before", "start": "Linear", "after": "After"}
    rows = []
    for measure in MEASURES.values():
        values = [columns[stage].get(measure.name) for stage in stages]
        if measure.main and any(value is not None for value in values):
            rows.append([_title(measure), *(measure.text(value) for value in values)])
    total = report.get("seconds", {}).get("total")
    name = ":".join(filter(None, (report.get("engine"), report.get("preset"))))
    took = f", {total:.1f} s" if isinstance(total, (int, float)) else ""
    show_table(f"{name or 'Measures'}{took}", ["Measure", *(titles[stage] for stage in stages)], rows, numbers=True)
    for note in report.get("notes", []):
        show_note(note)


def _title(measure: Measure) -> str:
    unit = f" [{measure.unit}]" if measure.unit else ""
    return f"{measure.title}{unit} {measure.arrow}".replace("[", "\\[").strip()
