"""The task of the worker that corrects the motion of a series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.errors import SettingsError
from ..core.job import FRAMES, MOTION, OUTPUT_FOLDER, WORKERS, Job
from ..core.motion.correct import correct_motion
from ..core.motion.page import write_motion_table
from ..core.motion.settings import FACTS, TRANSFORMS, MotionSettings
from ..core.progress import Progress
from ..core.settings import from_json


def correct_frames(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'motion': the files of the option `FRAMES` with the settings of the option `MOTION`.

    A canceled job leaves the transforms of the finished frames in `out/transforms`.

    Returns
    -------
    dict
        'files': corrected, table and facts in the job's `out` folder; 'transforms': their names, frame by frame.

    Raises
    ------
    SettingsError
        When the job names no frames.
    RegistrationError
        When a file or setting is not valid, or a registration fails.
    Cancelled
        When the user canceled.
    """
    names = job.options.get(FRAMES, ())
    if not names:
        raise SettingsError("The job names no frames.")
    found = correct_motion(
        [folder / name for name in names],
        folder / OUTPUT_FOLDER,
        from_json(MotionSettings, job.options.get(MOTION, {})),
        engine_settings=job.settings,
        workers=int(job.options.get(WORKERS, 1)),
        threads=job.compute.threads,
        seed=job.compute.seed,
        progress=progress,
    )
    transforms = sorted((found.folder / TRANSFORMS).iterdir())
    return {
        "files": {
            "corrected": found.files["corrected"].name,
            "table": write_motion_table(found).name,
            "facts": FACTS,
        },
        "transforms": [path.name for path in transforms],
        "notes": [],
    }
