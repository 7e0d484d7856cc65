"""Writing files so that they are either whole or not there."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import FileError

CHUNK = 1 << 20
NO_SPACE = "Check the folder, its permissions and the free space."


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON file atomically: a reader finds the old file or the whole new one, never a part.

    Raises
    ------
    FileError
        When it cannot be written; nothing is left behind then.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise FileError(f"Could not write {path}: {error.strerror or error}.", hint=NO_SPACE) from error
    return path


def settle(path: Path) -> Path:
    """Make sure that a written file is whole and on the disk.

    The NIfTI writer of ITK does not notice that the disk is full, and some file systems tell it only at the end.

    Raises
    ------
    FileError
        When the file is missing, empty or cut off.
    """
    try:
        with path.open("r+b") as file:
            os.fsync(file.fileno())
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise FileError(f"Could not write {path}: {error.strerror or error}.", hint=NO_SPACE) from error
    if size == 0 or (path.suffix == ".gz" and not _is_whole_gzip(path)):
        raise FileError(f"Could not write {path}: it was cut off after {size} bytes.", hint=NO_SPACE)
    return path


def _is_whole_gzip(path: Path) -> bool:
    try:
        with gzip.open(path, "rb") as file:
            while file.read(CHUNK):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True
