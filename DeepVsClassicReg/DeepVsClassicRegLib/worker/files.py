"""Writing files so that they are either whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import FileError

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
    """Force a written file to the disk, since some file systems tell only then that they are full.

    Raises
    ------
    FileError
        When the file is missing, empty, or does not reach the disk.
    """
    try:
        with path.open("r+b") as file:
            os.fsync(file.fileno())
            empty = file.seek(0, os.SEEK_END) == 0
    except OSError as error:
        raise FileError(f"Could not write {path}: {error.strerror or error}.", hint=NO_SPACE) from error
    if empty:
        raise FileError(f"Could not write {path}: the file is empty.", hint=NO_SPACE)
    return path
