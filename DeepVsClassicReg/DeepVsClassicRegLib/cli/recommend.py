"""`dvcreg recommend`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from ..core.device import DEVICES
from ..core.files import protect_inputs
from .folders import whole_file
from .options import FILE, estimate_option, inputs_of, pair_options
from .output import console, show_json, show_note, show_notes, show_table

if TYPE_CHECKING:
    from ..core.recommendation.advice import Advice

HELP = """Recommend an engine for a pair, classical or deep, with expected Dice, expected time and reasons.

Only a fast linear alignment is computed, to check whether the volumes match and have the same contrast. With a
segmentation of the structures of interest (at least on the fixed volume) the Dice is predicted from the mutual
information of intensities and labels. When the evidence is not sufficient, the recommendation says so.

\b
Examples:
  dvcreg recommend --fixed f.nii.gz --moving m.nii.gz --fixed-seg fs.nii.gz --moving-seg ms.nii.gz
  dvcreg recommend --fixed f.nii.gz --moving m.nii.gz --training-labels 300 --representative --json
"""


@click.command("recommend", help=HELP)
@pair_options(masks=False)
@estimate_option
@click.option("--labels", metavar="1,2,...", help="Labels of interest; default: all.")
@click.option("--time-budget", type=click.FloatRange(min=0), help="Maximum time of one registration in seconds.")
@click.option("--training-labels", default=0, show_default=True, help="Segmented cases available for training.")
@click.option(
    "--representative/--not-representative",
    default=None,
    help="Whether those have the same scanner, imaging protocol and labeling as this pair.",
)
@click.option("--no-align", is_flag=True, help="Skip the linear alignment and use the headers (or --initial); faster.")
@click.option("--models", type=FILE, multiple=True, help="Folder with additional models (repeatable).")
@click.option("--calibration", type=FILE, help="Calibration of `dvcreg calibrate` to use instead of the bundled one.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Device of the engines.")
@click.option("--threads", default=0, show_default=True, help="Maximum CPU threads; 0 for all cores.")
@click.option("--plot", type=FILE, help="Also write the MI-Dice plot of this pair (.png, .svg, .pdf).")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON instead of text.")
def command(**options: Any) -> None:
    """Recommend an engine."""
    from ..core.api import load_pair
    from ..core.engines.segmentation import with_estimated_labels
    from ..core.pair import reader_notes
    from ..core.recommend import recommend

    inputs = inputs_of(options)
    if options["plot"]:
        protect_inputs(map(Path, filter(None, (*inputs.values(), options["calibration"]))), [options["plot"]])
    pair = load_pair(inputs.pop("fixed"), inputs.pop("moving"), **inputs)
    if options["estimate_segs"]:
        pair = with_estimated_labels(
            pair, model=options["estimate_segs"], device=options["device"], threads=options["threads"]
        )
    advice = recommend(
        pair,
        time_budget_s=options["time_budget"],
        training_labels=options["training_labels"],
        representative=options["representative"],
        labels=_numbers(options["labels"]),
        align=not options["no_align"],
        device=options["device"],
        threads=options["threads"],
        models=options["models"],
        calibration=options["calibration"],
    )
    if options["plot"]:
        _write_plot(advice, options["plot"])
    if options["as_json"]:
        show_json(advice.to_json())
    else:
        _show(advice)
    show_notes(reader_notes(pair))


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(entry) for entry in text.split(",") if entry.strip()]
    except ValueError as error:
        raise click.UsageError(f"--labels needs integers separated by commas, got '{text}'.") from error


def _show(advice: Advice) -> None:
    screen = console()
    color = "green" if advice.sure else "yellow"
    screen.print(f"[bold {color}]{escape(advice.headline)}[/]")
    if advice.runner_up:
        screen.print(f"Runner-up: {escape(advice.runner_up)}")
    screen.print()
    for number, reason in enumerate(advice.reasons, start=1):
        screen.print(f"{number}. {escape(reason.text)} [dim]({escape(reason.source)})[/]")
    rows = [
        [
            escape(entry),
            f"{band.mean:.2f} ({band.low:.2f} to {band.high:.2f})" if band else "–",
            f"{seconds:.0f}" if seconds is not None else "–",
        ]
        for entry in dict.fromkeys([advice.entry, *advice.predicted_dice, *advice.seconds])
        for band, seconds in [(advice.predicted_dice.get(entry), advice.seconds.get(entry))]
    ]
    screen.print()
    show_table("Expected quality and time", ["Engine", "Dice (80 % band)", "Seconds"], rows, numbers=True)
    for model, report in advice.domain.items():
        where = "the pair resembles its training images" if report.inside else "; ".join(report.reasons)
        screen.print(f"Model {escape(model)}: {escape(where)} (distance {report.score:.1f} of {report.threshold:g})")
    for limit in advice.limits:
        show_note(limit)


def _write_plot(advice: Advice, path: Path) -> None:
    from ..core.errors import RegistrationError
    from ..core.recommendation.figure import write_plot

    if advice.plot is None:
        raise RegistrationError("There is no calibrated engine to plot.", hint="Install a calibrated engine.")
    with whole_file(path) as draft:
        write_plot(advice.plot, draft)
