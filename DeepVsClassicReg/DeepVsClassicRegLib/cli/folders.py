"""The output folder: made on demand, filled at once, never with a part of a result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import FileError
from ..core.files import read_json
from ..core.job import FILE_NAMES, OUTPUTS
from ..worker.job_folder import new_job_folder

REPORT = OUTPUTS["report"]
EXTRAS = OUTPUTS["extras"].partition(".")[0]


def output_folder(path: Path) -> Path:
    """Make the folder when it is not there and check that it can be written.

    Raises
    ------
    FileError
        When it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"Could not make the folder {path}: {error.strerror or error}.", hint="Choose another --out."
        ) from error
    if not os.access(path, os.W_OK):
        raise FileError(f"The folder {path} cannot be written.", hint="Choose another --out, or its permissions.")
    return path.resolve()


@contextmanager
def job_folder(out: Path) -> Iterator[Path]:
    """Give a hidden job folder inside the output folder, on the same disk, gone after the block.

    An output folder that was made for it and stayed empty is removed as well.
    """
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    folder = new_job_folder(output_folder(out))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for made in missing:
            if not any(made.iterdir()):
                made.rmdir()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a place to write a file; what was written there moves to `path` when the block ends well.

    A block that fails or is cut off leaves an earlier file of that name as it was. Files written beside it, such as
    the voxels of a header, move along.

    Raises
    ------
    FileError
        When `path` is a folder, or the folder around it cannot be made or written.
    """
    if path.is_dir():
        raise FileError(f"{path} is a folder.", hint="Name a file to write.")
    with job_folder(path.parent) as folder:
        yield folder / path.name
        try:
            for part in sorted(folder.iterdir(), key=lambda part: part.name == path.name):
                part.replace(path.parent / part.name)
        except OSError as error:
            raise FileError(f"Could not write {path}: {error.strerror or error}.", hint="Check the folder.") from error


def publish(files: Mapping[str, Path], out: Path) -> dict[str, Path]:
    """Move a finished job's files into the output folder, the report last, so that it exists only when all others do.

    What an earlier run left there under the names of our outputs is removed first.

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
    """Return the names of our outputs, report first, when the folder holds a report of ours; else none."""
    try:
        ours = {"engine", "measures"} <= set(read_json(out / REPORT))
    except FileError:
        return []
    extras = [path.name for path in out.glob(f"{EXTRAS}_*")]
    return [REPORT, *(name for name in FILE_NAMES if name != REPORT), *extras] if ours else []
