"""The output folder: created on demand, filled with complete results only."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import FileError
from ..worker.job_folder import new_job_folder


def output_folder(path: Path) -> Path:
    """Create the folder if it does not exist and check that it is writable.

    Raises
    ------
    FileError
        When it cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"Could not create the folder {path}: {error.strerror or error}.", hint="Choose another --out."
        ) from error
    if not os.access(path, os.W_OK):
        raise FileError(f"The folder {path} is not writable.", hint="Choose another --out, or change its permissions.")
    return path.resolve()


@contextmanager
def job_folder(out: Path) -> Iterator[Path]:
    """Create a hidden job folder in the output folder, on the same disk; it is removed after the block.

    An output folder that was created for it and is still empty is removed as well.
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
    """Provide a temporary path for a file; the file is moved to `path` when the block ends without error.

    When the block fails or is interrupted, an earlier file of that name does not change. Files written beside it, such
    as the voxel file of a header, are moved with it.

    Raises
    ------
    FileError
        When `path` is a folder, or its parent folder cannot be created or written.
    """
    if path.is_dir():
        raise FileError(f"{path} is a folder.", hint="Give the path of a file.")
    with job_folder(path.parent) as folder:
        yield folder / path.name
        try:
            for part in sorted(folder.iterdir(), key=lambda part: part.name == path.name):
                part.replace(path.parent / part.name)
        except OSError as error:
            raise FileError(f"Could not write {path}: {error.strerror or error}.", hint="Check the folder.") from error
