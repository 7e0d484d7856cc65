"""Outputs: no command overwrites an input."""

from __future__ import annotations

from pathlib import Path

from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom

from . import Case, Refused


def _warped_is_the_moving_volume(folder: Path) -> list[str]:
    write_phantom(make_phantom("head", size=16), folder)
    (folder / "moving.nii.gz").rename(folder / "warped.nii.gz")
    return ["register", "--fixed", "fixed.nii.gz", "--moving", "warped.nii.gz", "--out", "."]


CASES = [
    Case(
        "F",
        "register --out . with warped.nii.gz as moving volume",
        _warped_is_the_moving_volume,
        Refused(FileError, "would be overwritten"),
    ),
]
