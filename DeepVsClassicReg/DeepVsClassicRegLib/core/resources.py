"""Location of the bundled files: presets, models."""

from __future__ import annotations

from pathlib import Path

from .errors import FileError


def resource_folder() -> Path:
    """Return the Resources folder: beside the library in Slicer and in the source tree, inside it in a wheel."""
    library = Path(__file__).resolve().parents[1]
    beside, inside = library.parent / "Resources", library / "_resources"
    folder = beside if (beside / "Presets").is_dir() else inside
    if not folder.is_dir():
        raise FileError(f"The resources are missing (looked in {beside} and {inside}).", hint="Reinstall.")
    return folder
