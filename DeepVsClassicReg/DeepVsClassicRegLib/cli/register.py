"""`dvcreg register`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.errors import SettingsError
from ..core.files import protect_inputs
from ..core.job import ERROR_MODEL, ESTIMATED_SEGMENTATIONS, FILE_NAMES, Job
from ..core.settings import DEFAULT, Choice
from ..worker.job_folder import publish
from .folders import job_folder
from .options import (
    compute_of,
    compute_options,
    error_model_option,
    estimate_option,
    inputs_of,
    outputs_of,
    page_option,
    pair_options,
    setting_option,
    settings_of,
    show_options,
)
from .output import show_entries, show_json, show_measures, show_notes, show_verdict
from .running import Listener, run_job, show_failure

HELP = """Register a moving volume to a fixed volume and evaluate the result.

Without --initial a robust linear alignment is computed first. The registration runs in a separate process; Ctrl-C
cancels it and removes all temporary files.

\b
Written to --out:
  warped.nii.gz       moving volume on the fixed grid
  warped_seg.nii.gz   moving segmentation on the fixed grid (with --moving-seg); warped_seg.seg.nrrd, with names,
                      colors and terminology, when that is a Slicer segmentation (.seg.nrrd)
  transform.h5        the complete fixed-to-moving transform, for SimpleITK.Resample and Slicer
  jacobian.nii.gz     Jacobian determinant: volume change at every voxel (1: none, below 1: shrinks, 0 or less: folds)
  uncertainty.nii.gz  standard deviation of the displacement in mm (networks that predict a distribution)
  estimated_error.nii.gz  estimated error at every voxel in mm (with --error-map)
  extra_NAME          further outputs of the engine: maps, label maps (.nii.gz), transforms (.h5)
  report.json         verdict, measures before and after, notes, seconds, memory, versions
  report.html         the same with pictures, as a self-contained page

With --estimate-segs a network segments the volumes that have no segmentation: the overlap of estimated structures is
reported, marked as estimated, and can only lower the verdict.

At the end the verdict is printed (good, check or bad) with all failed checks and the confidence of the linear
alignment; with --quiet only a verdict that is not good. The verdict does not change the exit code.

The result of an earlier run in --out is replaced when the new one is complete; an input is never overwritten.

\b
Examples:
  dvcreg register --fixed fixed.nii.gz --moving moving.nii.gz --out result
  dvcreg register --fixed f.nrrd --moving m.nrrd --engine elastix --preset lung-ct --out result
  dvcreg register --fixed f.nii.gz --moving m.nii.gz --fixed-seg fs.nii.gz --moving-seg ms.nii.gz \\
      --engine sitk-demons --set iterations=50,20 --threads 4 --out result
  dvcreg register --fixed f.nii.gz --moving m.nii.gz --initial result/transform.h5 --engine instance --preset repair \\
      --fixed-points f.fcsv --moving-points m.fcsv --out repaired   (corrects the map around these landmarks)
"""


@click.command("register", help=HELP)
@pair_options()
@click.option("--engine", "-e", help="Engine, or ENGINE:PRESET, see `dvcreg engines`; default: the best installed one.")
@click.option("--preset", "-p", help="Preset of the engine.  [default: default]")
@setting_option
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option("--error-map", is_flag=True, help="Estimate the error of the result at every place (needs PyTorch).")
@error_model_option
@estimate_option
@compute_options
@page_option
@show_options
def command(**options: Any) -> int:
    """Register a pair."""
    out: Path = options["out"]
    outputs = outputs_of(options)
    choice = _choice(options["engine"], options["preset"])
    job = Job(
        inputs=inputs_of(options),
        engine=choice.engine,
        preset=choice.preset,
        settings=settings_of(options["settings"]),
        compute=compute_of(options),
        outputs=outputs,
        options={
            **({ERROR_MODEL: options["error_model"]} if options["error_map"] else {}),
            **({ESTIMATED_SEGMENTATIONS: options["estimate_segs"]} if options["estimate_segs"] else {}),
        },
        ephemeral=True,
    )
    protect_inputs(map(Path, job.inputs.values()), [out / name for name in FILE_NAMES])
    quiet = options["quiet"]
    with job_folder(out) as folder:
        listener = Listener(quiet=quiet, verbose=options["verbose"])
        outcome = run_job(job, folder, listener)
        if not outcome.ok:
            show_failure(outcome, verbose=options["verbose"])
            return outcome.code
        files = publish(outcome.files, out)
    from ..core.evaluation.report import read_report

    report = read_report(files["report"])
    if options["as_json"]:
        show_json(report.to_json())
    elif not quiet:
        show_measures(report)
        show_entries("Written", files)
    show_notes((note for note in report.notes if note not in listener.shown_notes), quiet=quiet)
    show_verdict(report, confidence=report.confidence, quiet=quiet)
    return outcome.code


def _choice(engine: str | None, preset: str | None) -> Choice:
    """Return the wanted engine and preset; both may be in the engine's option, as in the other commands."""
    if not engine:
        from ..core.engines.catalogue import default_engine  # loads all that its engine needs

        return Choice(default_engine(), preset or DEFAULT)
    choice = Choice.parse(engine)
    if preset and ":" in engine and preset != choice.preset:
        raise SettingsError(f"Two presets are given, '{choice.preset}' and '{preset}'.", hint="Give one of them.")
    return Choice(choice.engine, preset or choice.preset)
