"""Moves the files of a finished job to the folder of the user, the report last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.errors import FileError
from ..core.files import read_json
from ..core.job import FILE_NAMES, OUTPUTS

REPORT = OUTPUTS["report"]
EXTRAS = OUTPUTS["extras"].partition(".")[0]


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
