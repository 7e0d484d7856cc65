"""The folder of a job: made before, cleaned up afterwards."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..core.errors import FileError, SettingsError
from ..core.job import SCRATCH_FOLDER, Job


def new_job_folder(parent: Path | None = None) -> Path:
    """Make an empty folder for a job, in the system's temporary folder unless a parent is given.

    Raises
    ------
    FileError
        When it cannot be made.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=".dvcreg-" if parent else "dvcreg-", dir=parent))
    except OSError as error:
        raise FileError(
            f"Could not make a folder in {parent or tempfile.gettempdir()}: {error.strerror or error}.",
            hint="Choose another folder, or check its permissions and the free space.",
        ) from error


def clean_up(folder: Path, *, whole: bool = False) -> None:
    """Remove the scratch folder, or the whole job folder (an ephemeral one whose owner is gone)."""
    shutil.rmtree(folder if whole else folder / SCRATCH_FOLDER, ignore_errors=True)


def is_ephemeral(folder: Path) -> bool:
    """Return whether a job folder must not outlive its owner.

    Ask before anything is removed: afterwards the job that says so may be gone.
    """
    try:
        return Job.read(folder).ephemeral
    except (FileError, SettingsError):
        return False
