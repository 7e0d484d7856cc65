"""The task of the worker that aligns serial sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.errors import SettingsError
from ..core.images.sections import read_sections
from ..core.job import AXIS, OUTPUT_FOLDER, SECTIONS, STACK, Job
from ..core.progress import Progress
from ..core.stacks.report import ALIGNED, REPORT, TRANSFORM, write_stack
from ..core.stacks.stack import stack


def align_stack(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'stack': the sections of the option `SECTIONS` with the settings of the option `STACK`.

    The engine of the job deforms the sections; 'none' aligns them linearly.

    Returns
    -------
    dict
        'files': the aligned volume, transform and report in the job's `out` folder; 'notes'.

    Raises
    ------
    SettingsError
        When the job names no sections.
    RegistrationError
        When the sections or a setting are not valid, or the alignment fails.
    Cancelled
        When the user canceled.
    """
    name, settings = job.options.get(SECTIONS), dict(job.options.get(STACK, {}))
    if not name:
        raise SettingsError("The job names no sections.")
    sections = read_sections(f"{folder / name}", axis=job.options.get(AXIS, "k"))
    found = stack(
        sections,
        job.engine,
        preset=job.preset,
        settings=job.settings,
        device=job.compute.device,
        threads=job.compute.threads,
        seed=job.compute.seed,
        progress=progress,
        **settings,
    )
    used = {**settings, "engine": job.engine, "preset": job.preset, "engine_settings": dict(job.settings)}
    write_stack(found, folder / OUTPUT_FOLDER, used, title=sections.volume.name, page=False)
    files = {"aligned": ALIGNED, "transform": TRANSFORM, "report": REPORT}
    return {"files": files, "notes": [*sections.volume.notes, *found.notes]}
