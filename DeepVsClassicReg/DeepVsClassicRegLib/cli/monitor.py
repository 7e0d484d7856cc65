"""`dvcreg monitor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..worker.protocol import EXIT_RESULT
from .atlas import process_options, shown_progress
from .folders import output_folder
from .options import setting_option, settings_of
from .output import show_entries, show_json, show_note, show_table

PATH = click.Path(path_type=Path)
HELP = """Measure how the structures of one subject changed over two or more scans (growth, atrophy).

SCANS are the time points in their order. They are aligned rigidly and resampled once in the mean of their positions,
so that none is the reference: in another order the changes are the inverse. Every pair is registered in both
directions; the change of a structure is the integrated Jacobian determinant. The uncertainty (95 %) contains the
difference of both directions, the change measured in simulated rescans of unchanged time points, and --sessions.

\b
Written to --out:
  monitor.html           report: what changed, how certain that is, trend, maps
  monitor.json           all numbers; monitor.csv has one line per structure and time point
  time_N.nii.gz          time points in the common space; space_to_time_N.tfm leads to the scan
  structures.nii.gz      structures at the first time point, in the common space
  change_N.nii.gz        local change of volume from the first to time point N, percent
  time_1_to_N.h5         deformation from the first time point to time point N
  work/                  finished registrations; the same command does not repeat them

\b
Examples:
  dvcreg monitor 2021.nii.gz 2023.nii.gz -o change
  dvcreg monitor a.nii.gz b.nii.gz c.nii.gz --seg 1=a_seg.nii.gz --days 0,182,365 -o change

Scans need the same contrast; for other scans use --engine instance. Without --seg the whole object is one structure.
"""


@click.command("monitor", help=HELP)
@click.argument("scans", nargs=-1, required=True, type=PATH)
@click.option(
    "--segmentation",
    "--seg",
    "segmentations",
    multiple=True,
    metavar="N=FILE",
    help="Segmentation of time point N, 1 for the first (repeatable); time points without get those of the others.",
)
@click.option("--days", metavar="D,D,...", help="Day of every time point, for the change per year.")
@click.option("--out", "-o", type=PATH, required=True, help="Folder to write into.")
@click.option(
    "--engine", "-e", default="instance:longitudinal", show_default=True, help="Deformable engine, or ENGINE:PRESET."
)
@setting_option
@click.option("--spacing", default=0.0, help="Voxel size in mm; default: two thirds of the finest of the scans.")
@click.option("--no-rescans", is_flag=True, help="Skip the no-change estimate (a third of the time).")
@click.option(
    "--sessions",
    default=2.5,
    show_default=True,
    help="Difference of two sessions of an unchanged person beyond noise and position, standard deviation in percent; "
    "0 for scans of one session.",
)
@process_options
def command(scans: tuple[Path, ...], out: Path, **options: Any) -> int:
    """Measure change."""
    from ..core.cohort.atlas_label import target_of
    from ..core.cohort.monitor import MonitorSettings, monitor, monitor_json
    from ..core.cohort.monitor_page import write_monitor_page
    from ..core.files import protect_inputs
    from ..core.settings import from_json

    labels = _segmentations(options["segmentations"], len(scans))
    subjects = [target_of(path, labels.get(number)) for number, path in enumerate(scans, 1)]
    settings = from_json(
        MonitorSettings,
        {
            "engine": options["engine"],
            "spacing_mm": options["spacing"],
            "rescans": not options["no_rescans"],
            "sessions_percent": options["sessions"],
        },
    )
    written = [out / "monitor.json", out / "structures.nii.gz"]
    written += [out / f"{kind}_{n}.nii.gz" for kind in ("time", "change") for n in range(1, len(scans) + 1)]
    protect_inputs([*scans, *labels.values()], written)
    with shown_progress(quiet=options["quiet"] or options["as_json"]) as progress:
        found = monitor(
            subjects,
            output_folder(out),
            settings,
            days=_days(options["days"]),
            engine_settings=settings_of(options["settings"]),
            workers=options["workers"],
            threads=options["threads"],
            seed=options["seed"],
            progress=progress,
        )
    files = {"table": _write_table(found, out / "monitor.csv")}
    if not options["no_html"]:
        files["report"] = write_monitor_page(found)
    if options["as_json"]:
        show_json(monitor_json(found))
    elif not options["quiet"]:
        _show(found)
        show_entries("Written", files)
    if min(found.residual) < 0.85:
        show_note("The time points do not match well after registration; the changes are not reliable.")
    return EXIT_RESULT


def _segmentations(entries: tuple[str, ...], count: int) -> dict[int, Path]:
    found = {}
    for entry in entries:
        number, equals, file = entry.partition("=")
        if not equals or not number.strip().isdigit() or not 1 <= int(number) <= count:
            raise click.UsageError(f"--seg needs N=FILE with N from 1 to {count}, got '{entry}'.")
        found[int(number)] = Path(file)
        if not Path(file).is_file():
            raise click.UsageError(f"--seg {number}: there is no file {file}.")
    return found


def _days(text: str | None) -> list[float] | None:
    if not text:
        return None
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--days needs numbers separated by commas, got '{text}'.") from error


def _rows(found: Any) -> list[list[Any]]:
    """Return one row per structure and further time point, as in monitor.csv."""
    rows = []
    for trend in found.trends:
        for change in trend.changes:
            volumes = [trend.first_mm3, change.volume_mm3, change.percent, change.uncertainty]
            directions = [change.forward, change.backward, trend.no_change, change.per_year]
            rows.append([trend.label, trend.name, change.time + 1, *volumes, *directions])
    return rows


def _write_table(found: Any, path: Path) -> Path:
    from ..core.files import write_csv

    columns = ["label", "structure", "time_point", "first_mm3", "volume_mm3", "change_percent", "uncertainty"]
    columns += ["forward_percent", "backward_percent", "no_change_percent", "percent_per_year"]
    return write_csv(path, columns, _rows(found))


def _show(found: Any) -> None:
    rows = [
        [name, str(time), f"{first / 1000:.2f}", f"{size / 1000:.2f}", f"{percent:+.2f} ± {spread:.2f}"]
        for _, name, time, first, size, percent, spread, *_ in _rows(found)
    ]
    titles = ["Structure", "Time point", "Before ml", "After ml", "Change %"]
    show_table(" to ".join(found.names), titles, rows, numbers=True)
