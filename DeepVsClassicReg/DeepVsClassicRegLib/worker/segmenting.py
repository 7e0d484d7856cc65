"""The task of the worker that segments the volumes of a pair with a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.engines.segmentation import AUTO, segment
from ..core.errors import SettingsError
from ..core.images.io import read_volume, write_labels
from ..core.job import OUTPUT_FOLDER, SEGMENTATION_MODEL, SEGMENTED, SIDES, Job
from ..core.progress import Progress


def segment_volumes(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'segment': segment the volumes named by the option `SIDES`.

    Returns
    -------
    dict
        'files', side -> segmentation in the job's `out` folder, and 'notes'.

    Raises
    ------
    SettingsError
        When a side has no volume.
    RegistrationError
        When a file is not usable, or there is no model.
    Cancelled
        When the user canceled.
    """
    sides, paths = list(job.options.get(SIDES, ())), job.input_paths(folder)
    if not sides or set(sides) - (set(paths) & set(SEGMENTED)):
        raise SettingsError(f"A segmentation needs the volumes of the sides {sides}, got {sorted(paths)}.")
    out = folder / OUTPUT_FOLDER
    out.mkdir(exist_ok=True)
    files: dict[str, str] = {}
    notes: list[str] = []
    for number, side in enumerate(sides):
        labels = segment(
            read_volume(paths[side]),
            model=job.options.get(SEGMENTATION_MODEL, AUTO),
            device=job.compute.device,
            threads=job.compute.threads,
            progress=progress.part(number / len(sides), (number + 1) / len(sides)),
        )
        write_labels(labels, out / SEGMENTED[side])
        files[side] = SEGMENTED[side]
        notes += [note for note in labels.notes if note not in notes]
    return {"files": files, "notes": notes}
