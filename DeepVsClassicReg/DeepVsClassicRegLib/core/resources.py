"""Where the files shipped beside the library lie: presets, models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import FileError


def resource_folder() -> Path:
    """Return the Resources folder: beside the library in Slicer and in the source tree, inside it in a wheel."""
    library = Path(__file__).resolve().parents[1]
    beside, inside = library.parent / "Resources", library / "_resources"
    folder = beside if (beside / "Presets").is_dir() else inside
    if not folder.is_dir():
        raise FileError(f"The resources are missing (looked in {beside} and {inside}).", hint="Reinstall.")
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; `FileError` when it is missing or broken."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"Could not read {path}: {error}.") from error
    if not isinstance(content, dict):
        raise FileError(f"{path} holds a {type(content).__name__}, expected an object.")
    return content
