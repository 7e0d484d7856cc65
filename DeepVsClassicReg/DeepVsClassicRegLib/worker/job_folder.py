"""The folder of a job: its creation, its files moved to the folder of the user, its removal."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import FileError, SettingsError
from ..core.files import read_json
from ..core.job import FILE_NAMES, OUTPUTS, SCRATCH_FOLDER, Job

HIDDEN = ".dvcreg-"  # beginning of the names of job folders in an output folder
REPORT = OUTPUTS["report"]
EXTRAS = OUTPUTS["extras"].partition(".")[0]


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


def publish(files: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """Move the files of a finished job to the output folder, the report last, so that it marks a complete result.

    Outputs of an earlier run are removed first.

    Raises
    ------
    FileError
        When a file cannot be moved.
    """
    moved = {}
    try:
        for name in _earlier(out):
            (out / name).unlink(missing_ok=True)
        for role, path in sorted(files.items(), key=lambda item: item[0] == "report"):
            path.replace(out / path.name)
            moved[role] = out / path.name
    except OSError as error:
        raise FileError(f"Could not write into {out}: {error.strerror or error}.", hint="Check the folder.") from error
    return moved


def _earlier(out: Path) -> list[str]:
    """Return the names of the outputs in a folder with a report of this program, report first; otherwise none."""
    try:
        ours = {"engine", "measures"} <= set(read_json(out / REPORT))
    except FileError:
        return []
    extras = [path.name for path in out.glob(f"{EXTRAS}_*")]
    return [REPORT, *(name for name in FILE_NAMES if name != REPORT), *extras] if ours else []
