"""`dvcreg calibrate`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.files import protect_inputs
from .options import FILE
from .output import console, show_json, show_note, show_table

if TYPE_CHECKING:
    from ..core.recommendation.calibration import Calibration

HELP = """Fit the predicted Dice, the ranking of engines and their run times to measured registrations.

--runs are the JSON lines {case, group, kind, engine, status, dice, seconds, cpu_seconds} of the benchmark. Lines with
dice_per_label fit the coefficients; the confidence in the lines of the engine linear decides which pairs are used.
--data is the folder whose manifest.json lists the volumes and segmentations of each case. Errors are estimated by
leave-one-dataset-out cross-validation and stored with the coefficients.

\b
Examples:
  dvcreg calibrate --runs bench/runs.jsonl --runs bench/labels.jsonl --data DATA --out calibration.json
  dvcreg recommend --fixed f.nii.gz --moving m.nii.gz --calibration calibration.json
"""


@click.command("calibrate", help=HELP)
@click.option("--runs", type=FILE, multiple=True, required=True, help="Measured runs, JSON lines (repeatable).")
@click.option("--data", type=FILE, required=True, help="Folder with manifest.json and the volumes.")
@click.option("--out", type=FILE, required=True, help="JSON file to write.")
@click.option("--name", default="", help="Description of the runs, stored in the file.")
@click.option("--commit", default="", help="Version of the program that made the runs, stored in the file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(runs: tuple[Path, ...], data: Path, out: Path, name: str, commit: str, as_json: bool) -> None:
    """Fit and write a calibration."""
    from ..core.files import write_json
    from ..core.recommendation.evidence import Evidence
    from ..core.recommendation.examples import gather_examples, gather_seconds, read_runs
    from ..core.recommendation.fitting import fit_calibration
    from ..core.recommendation.runtime import probe_seconds
    from ..core.recommendation.strengths import measure_strengths
    from ..core.version import VERSION

    protect_inputs((*runs, *(path for path in data.rglob("*") if path.is_file())), [out])
    lines = read_runs(runs)
    examples, left_out = gather_examples(lines, data)
    about = {"name": name, "date": date.today().isoformat(), "commit": commit, "version": VERSION, "left_out": left_out}
    calibration = fit_calibration(examples, provenance=about)
    evidence = Evidence(calibration, measure_strengths(lines), gather_seconds(lines, data), probe_seconds())
    content = evidence.to_json()
    write_json(out, content)
    if as_json:
        show_json(content)
        return
    _show(calibration)
    for reason in left_out:
        show_note(f"Skipped: {reason}")


def _show(calibration: Calibration) -> None:
    rows: list[list[Any]] = [
        [
            entry,
            str(band.pairs),
            str(band.datasets),
            f"{band.error:.3f}",
            f"{band.baseline_error:.3f}",
            f"{100 * band.coverage:.0f} %",
        ]
        for entry, band in calibration.engines.items()
    ]
    titles = ["Engine", "Pairs", "Datasets", "Error", "Error of the mean", "In the band"]
    show_table("Leave-one-dataset-out errors", titles, rows, numbers=True)
    console().print(
        f"logit(Dice) = {calibration.intercept:.2f} {calibration.share:+.2f} ln(I/H) "
        f"{calibration.surface_to_volume:+.2f} ln(surface/volume)"
    )
