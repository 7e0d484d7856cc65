"""Output of the commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:  # they load numpy, which the help of a command does without
    from ..core.evaluation.locations import Location
    from ..core.evaluation.measures import Measure
    from ..core.evaluation.report import Report

PIPE_WIDTH = 120
COLORS = {"good": "green", "check": "yellow", "bad": "red"}
ASPECT_MARKS = {"good": ("✔", "green"), "check": ("⚠", "yellow"), "bad": ("✖", "red"), "unknown": ("○", "dim")}


def console(*, stderr: bool = False) -> Console:
    """Return a console for the current standard output or standard error."""
    screen = Console(stderr=stderr, highlight=False, soft_wrap=stderr)
    if not screen.is_terminal and "COLUMNS" not in os.environ:
        screen.width = PIPE_WIDTH
    return screen


def show_error(message: str, hint: str = "") -> None:
    """Print an error in red and its hint."""
    screen = console(stderr=True)
    screen.print(f"[bold red]Error:[/] {escape(message)}")
    if hint:
        screen.print(f"[yellow]Hint:[/]  {escape(hint)}")


def show_verdict(report: Report, *, confidence: float | None = None, title: str = "", quiet: bool = False) -> None:
    """Print the verdict, its aspects and reasons, and the confidence of the linear alignment on standard error.

    Parameters
    ----------
    report : Report
        Nothing is printed for a report without verdict.
    confidence : float, optional
        Confidence of the linear alignment, 0 to 1, if it belongs to this run.
    title : str
        Title of the run, when there are several.
    quiet : bool
        Print one line, and only when the verdict is not good.
    """
    from ..core.evaluation.verdict import further_reasons

    verdict = report.verdict
    if verdict is None or (quiet and verdict.level == "good"):
        return
    level, screen = verdict.level, console(stderr=True)
    head = f"{title}: {verdict.headline}" if title else verdict.headline
    screen.print(f"[bold {COLORS[level]}]Verdict:[/] {escape(head)} ({level}). {escape(verdict.sentence)}")
    if quiet:
        return
    for aspect in verdict.aspects:
        mark, color = ASPECT_MARKS[aspect.level]
        screen.print(f"  [{color}]{mark}[/] {aspect.title}: {escape(aspect.text)}")
    for reason in further_reasons(report):
        screen.print(f"  - {escape(reason)}")
    if confidence is not None:
        screen.print(f"  Linear alignment: {100 * confidence:.0f} % confident.")


def show_note(text: str) -> None:
    """Print a note."""
    console(stderr=True).print(f"[yellow]Note:[/]  {escape(text)}")


def show_notes(notes: Iterable[str], *, quiet: bool = False) -> None:
    """Print each of the notes once, unless `quiet`."""
    for note in () if quiet else dict.fromkeys(notes):
        show_note(note)


def show_places(places: Iterable[Location], *, most: int = 3) -> None:
    """Show the first of some locations: where they are (x, y, z in mm, LPS) and what is there."""
    screen = console()
    for place in islice(places, most):
        x, y, z = place.point_mm
        screen.print(f"  At ({x:.1f}, {y:.1f}, {z:.1f}) mm: {escape(place.text)}", soft_wrap=True)


@contextmanager
def library_warnings() -> Iterator[None]:
    """Print warnings of the library as notes inside the block."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            show_note(record.getMessage())

    handler, logger = Notes(logging.WARNING), logging.getLogger(__name__.partition(".")[0])
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def show_cancelled() -> None:
    """Print that the user canceled and nothing was written."""
    console(stderr=True).print("[yellow]Canceled.[/]")


def show_json(content: Any) -> None:
    """Print plain JSON to standard output."""
    click.echo(json.dumps(content, indent=1, ensure_ascii=False))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> None:
    """Print a table; with `numbers`, all columns except the first are right-aligned."""
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD
    )
    for index, column in enumerate(columns):
        right = numbers and index > 0
        table.add_column(
            escape(column), justify="right" if right else "left", overflow="fold", no_wrap=numbers and index == 0
        )
    for row in rows:
        table.add_row(*row)
    console().print(table)


def show_entries(title: str, entries: Mapping[str, Any]) -> None:
    """Print names and values, one per line."""
    width = max(map(len, entries), default=0)
    screen = console()
    screen.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    for name, value in entries.items():
        screen.print(f"  {name:<{width}}  {escape(str(value))}", soft_wrap=True)


def show_measures(report: Report) -> None:
    """Print the main measures of a report before registration, after the linear alignment, and at the end."""
    from ..core.evaluation.measures import MEASURES

    columns = report.measures.columns
    stages = [name for name in ("before", "start", "after") if columns.get(name)]
    titles = {"before": "Before", "start": "Linear", "after": "After"}
    rows = []
    for measure in MEASURES.values():
        values = [columns[stage].get(measure.name) for stage in stages]
        if measure.main and any(value is not None for value in values):
            rows.append([_measure_title(measure), *(measure.text(value) for value in values)])
    total = report.total_seconds
    name = ":".join(filter(None, (report.engine, report.preset)))
    took = f", {total:.1f} s" if total is not None else ""
    show_table(f"{name or 'Measures'}{took}", ["Measure", *(titles[stage] for stage in stages)], rows, numbers=True)


def _measure_title(measure: Measure) -> str:
    unit = f" [{measure.unit}]" if measure.unit else ""
    return f"{measure.title}{unit} {measure.arrow}".replace("[", "\\[").strip()
