"""`dvcreg compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..core.engines.catalogue import parse_choices
from ..core.evaluation.measures import MEASURES, SECONDS, Measure
from ..worker.protocol import EXIT_RESULT
from .comparison import ComparedRun, Comparison, write_comparison
from .folders import output_folder
from .options import compute_of, compute_options, inputs_of, outputs_of, page_option, pair_options, show_options
from .output import COLORS, show_entries, show_error, show_json, show_notes, show_table, show_verdict

HELP = """Run several engines on one pair and compare the results.

The linear alignment is computed once, and every engine starts from it; the time of every run includes it.
The engines run one after another, each in its own process. An engine that fails does not stop the others; it is
listed with the reason. At the end the verdict of each run is printed (good, check or bad) with all failed checks.

\b
Written to --out:
  NAME/               the files of `dvcreg register` for each engine (NAME is engine or engine-preset), and linear/
  comparison.json     all runs with their measures
  comparison.csv      one line per run, for a spreadsheet
  comparison.html     the same with pictures, as a self-contained page

\b
Examples:
  dvcreg compare --fixed f.nii.gz --moving m.nii.gz --engines elastix,sitk-demons --out both
  dvcreg compare --fixed f.nii.gz --moving m.nii.gz --fixed-seg fs.nii.gz --moving-seg ms.nii.gz \\
      --engines elastix:brain-t1,ants:quick,greedy --threads 4 --out three

Results of earlier runs in --out are replaced; an input is never overwritten.
Exit code 0 when at least one engine has a result.
"""

SHORT_TITLES = {
    "dice_mean": "Dice",
    "hd95_mm_mean": "HD95",
    "tre_mm_mean": "TRE",
    "mi": "MI",
    "ncc": "NCC",
    "folding_percent": "Folds",
    "sd_log_jacobian": "SD log J",
}


@click.command("compare", help=HELP)
@pair_options()
@click.option(
    "--engines", "-e", required=True, metavar="A,B:PRESET,...", help="Engines, each optionally with a preset."
)
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@compute_options
@page_option
@show_options
def command(**options: Any) -> int:
    """Compare engines."""
    choices = parse_choices(options["engines"])
    out: Path = options["out"]
    inputs = inputs_of(options)
    quiet = options["quiet"]
    comparison = Comparison(
        inputs=inputs,
        compute=compute_of(options),
        out=out,
        outputs=outputs_of(options),
        quiet=quiet,
        verbose=options["verbose"],
    )
    comparison.protect_inputs(choices)
    output_folder(out)
    linear = comparison.start_linear() if "initial" not in inputs else None
    if linear is not None and not linear.ok:
        show_error(f"The linear alignment failed: {linear.reason}", linear.hint)
        return linear.code
    runs = [comparison.run(choice) for choice in choices]
    content, files = write_comparison(out, inputs, linear, runs, page=not options["no_html"])
    if options["as_json"]:
        show_json(content)
    elif not quiet:
        show_runs(linear, runs)
        show_entries("Written", {**{run.name: _page(run) for run in _finished(linear, runs)}, **files})
    reports = [(run.name, run.report) for run in (linear, *runs) if run is not None and run.report is not None]
    show_notes((note for _, report in reports for note in report.notes), quiet=quiet)
    for number, (name, report) in enumerate(reports):
        confidence = report.confidence if number == 0 else None  # they share the linear alignment
        show_verdict(report, confidence=confidence, title=name, quiet=quiet)
    for run in runs:
        if not run.ok:
            show_error(f"{run.name}: {run.reason}", run.hint)
    return EXIT_RESULT if any(run.ok for run in runs) else runs[-1].code


def _page(run: ComparedRun) -> Path:
    """Return the HTML page, or the folder when no page was written."""
    page = run.folder / "report.html"
    return page if page.is_file() else run.folder


def _finished(linear: ComparedRun | None, runs: list[ComparedRun]) -> list[ComparedRun]:
    return [run for run in (linear, *runs) if run is not None and run.ok]


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


def _short(measure: Measure) -> str:
    title = SHORT_TITLES.get(measure.name, measure.title)
    return f"{title}{f' {measure.unit}' if measure.unit in ('mm', '%', 's') else ''} {measure.arrow}".strip()


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
