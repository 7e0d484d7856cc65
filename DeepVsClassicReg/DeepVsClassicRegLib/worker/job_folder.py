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


def clean_up(folder: Path, *, orphaned: bool = False) -> None:
    """Remove the scratch folder, or the whole job folder when it is ephemeral and its owner is gone."""
    if orphaned and _is_ephemeral(folder):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        shutil.rmtree(folder / SCRATCH_FOLDER, ignore_errors=True)


def _is_ephemeral(folder: Path) -> bool:
    try:
        return Job.read(folder).ephemeral
    except (FileError, SettingsError):
        return False
