"""Creates and cleans up the folder of a job."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..core.errors import FileError, SettingsError
from ..core.job import SCRATCH_FOLDER, Job

HIDDEN = ".dvcreg-"  # beginning of the names of job folders in an output folder


def new_job_folder(parent: Path | None = None) -> Path:
    """Create an empty folder for a job, by default in the system's temporary folder.

    Raises
    ------
    FileError
        When it cannot be created.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=HIDDEN if parent else "dvcreg-", dir=parent))
    except OSError as error:
        raise FileError(
            f"Could not create a folder in {parent or tempfile.gettempdir()}: {error.strerror or error}.",
            hint="Choose another folder, or check its permissions and the free space.",
        ) from error


def clean_up(folder: Path, *, whole: bool = False) -> None:
    """Remove the scratch folder or, with `whole`, the job folder (an ephemeral one whose owner has ended)."""
    shutil.rmtree(folder if whole else folder / SCRATCH_FOLDER, ignore_errors=True)


def task_of(folder: Path) -> str:
    """Return the task of a job folder; empty when it contains no valid job."""
    try:
        return Job.read(folder).task
    except (FileError, SettingsError):
        return ""


def is_ephemeral(folder: Path) -> bool:
    """Return whether a job folder is removed when its owner ends.

    Call this before removing anything, because the answer is stored in the folder.
    """
    try:
        return Job.read(folder).ephemeral
    except (FileError, SettingsError):
        return False
