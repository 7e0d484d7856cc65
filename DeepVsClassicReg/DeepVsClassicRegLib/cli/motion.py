"""`dvcreg motion`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..worker.protocol import EXIT_RESULT
from .atlas import process_options, shown_progress
from .folders import output_folder
from .options import setting_option, settings_of
from .output import show_entries, show_json, show_table

PATH = click.Path(path_type=Path)
HELP = """Correct the motion of a series: register all frames of a 4D volume to one of them, or to their mean.

SOURCES is one 4D volume (NIfTI, NRRD, or a sequence of Slicer, .seq.nrrd), a folder of 3D volumes in the order of the
numbers in their names, or the 3D volumes in the order of time. Every frame is registered on its own, several at a time
with --workers; the motion can be made smooth over time (--smooth), for breathing and heartbeat also from the last frame
to the first (--cyclic).

\b
Written to --out:
  corrected.nii.gz       the frames resampled on the reference (4D)
  reference.nii.gz       the reference
  transforms/            frame_NNN.h5 maps points of the reference to points of frame NNN, LPS mm; with --both-ways
                         frame_NNN_to_reference.h5 maps them back
  motion.csv             per frame: displacement, correlation, folds, time, with --landmarks the landmark error; shift
                         and rotation of linear engines
  motion.json, motion.png, motion.html
  work/                  finished registrations; the same command does not repeat them

A canceled run keeps the transforms of the finished frames (as registered, before --smooth) and is continued by the same
command.

\b
Examples:
  dvcreg motion ct4d.nii.gz --to 0 --cyclic --smooth 0.7 --workers 2 -o corrected
  dvcreg motion bold.nii.gz --to mean --engine linear:rigid -o corrected
  dvcreg motion phases/ --to first --engine instance:lung --start neighbor --both-ways -o corrected
"""


@click.command("motion", help=HELP)
@click.argument("sources", nargs=-1, required=True, type=PATH)
@click.option("--to", "reference", default="first", show_default=True, help="first, mean, or a frame, from 0.")
@click.option("--out", "-o", type=PATH, required=True, help="Folder to write into.")
@click.option("--engine", "-e", default="instance", show_default=True, help="Engine, or ENGINE:PRESET.")
@setting_option
@click.option(
    "--start",
    default="position",
    show_default=True,
    help="position (as the frames are), linear (a linear alignment of each), neighbor (the motion of its neighbor).",
)
@click.option("--smooth", default=0.0, show_default=True, help="Smoothness over time, standard deviation in frames.")
@click.option("--cyclic", is_flag=True, help="The first frame follows the last one.")
@click.option("--both-ways", is_flag=True, help="Also write the transforms from the frames to the reference.")
@click.option("--rounds", default=2, show_default=True, help="Rounds with --to mean.")
@click.option("--mask", type=PATH, help="Region of the reference where similarity and motion are measured.")
@click.option("--landmarks", type=PATH, help="CSV with frame (from 0), name, x, y, z (LPS mm): the landmark error.")
@process_options
def command(sources: tuple[Path, ...], out: Path, **options: Any) -> int:
    """Correct motion."""
    from ..core.files import protect_inputs
    from ..core.motion.correct import correct_motion, motion_json
    from ..core.motion.page import TABLE, reference_text, write_motion_page, write_motion_table
    from ..core.motion.settings import CORRECTED, FACTS, REFERENCE, MotionSettings
    from ..core.settings import from_json

    settings = from_json(
        MotionSettings,
        {
            "engine": options["engine"],
            "reference": options["reference"],
            "start": options["start"],
            "smooth_frames": options["smooth"],
            "cyclic": options["cyclic"],
            "both_ways": options["both_ways"],
            "rounds": options["rounds"],
        },
    )
    given = [*sources, *(path for path in (options["mask"], options["landmarks"]) if path is not None)]
    protect_inputs(given, [out / name for name in (CORRECTED, REFERENCE, FACTS, TABLE)])
    with shown_progress(quiet=options["quiet"] or options["as_json"]) as progress:
        found = correct_motion(
            sources,
            output_folder(out),
            settings,
            engine_settings=settings_of(options["settings"]),
            mask=options["mask"],
            landmarks=options["landmarks"],
            workers=options["workers"],
            threads=options["threads"],
            seed=options["seed"],
            progress=progress,
        )
    files = {**found.files, "table": write_motion_table(found)}
    if not options["no_html"]:
        files |= write_motion_page(found)
    if options["as_json"]:
        show_json(motion_json(found))
    elif not options["quiet"]:
        _show(found, reference_text(found), show_table)
        show_entries("Written", files)
    return EXIT_RESULT


def _show(found: Any, reference: str, show: Any) -> None:
    landmarks = any(frame.tre_after_mm is not None for frame in found.frames)
    titles = ["Frame", "Motion mm", "Largest mm", "Correlation", *(["Landmark error mm"] if landmarks else [])]
    rows = []
    for frame in found.frames:
        row = [str(frame.number), f"{frame.mean_mm:.2f}", f"{frame.largest_mm:.2f}"]
        row.append(f"{frame.correlation_before:.3f} -> {frame.correlation_after:.3f}")
        if landmarks:
            known = frame.tre_after_mm is not None
            row.append(f"{frame.tre_before_mm:.2f} -> {frame.tre_after_mm:.2f}" if known else "")
        rows.append(row)
    show(f"{found.name} to {reference}", titles, rows, numbers=True)
