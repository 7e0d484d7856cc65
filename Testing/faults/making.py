"""Making inputs: a small phantom, and changes to the folder it lies in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom

from . import Call

Change = Callable[[Path], object]


def files(folder: Path) -> None:
    """Write a small phantom: fixed, moving, fixed_seg, moving_seg, fixed_points, moving_points, truth."""
    write_phantom(make_phantom("head", size=16), folder)


def arguments(text: str, *changes: Change) -> Callable[[Path], Call]:
    """Return a `build`: a phantom, changed, and the arguments of a command."""

    def build(folder: Path) -> Call:
        files(folder)
        for change in changes:
            change(folder)
        return text.split()

    return build


def moved(old: str, new: str) -> Change:
    """Return a change that renames a file."""

    def change(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return change


def linked(old: str, new: str, *, hard: bool = False) -> Change:
    """Return a change that gives a file or folder a second name."""

    def change(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (os.link if hard else os.symlink)(folder / old, folder / new)

    return change


def stored(old: str, new: str) -> Change:
    """Return a change that writes a volume in another format."""

    def change(folder: Path) -> None:
        image = sitk.ReadImage(str(folder / old))
        sitk.WriteImage(image, str(folder / new), useCompression=new.endswith("zraw"))

    return change


def text(name: str, content: Any) -> Change:
    """Return a change that writes a text file (JSON when it is not a string)."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        words = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(words, encoding="utf-8")

    return change


def dicom(name: str) -> Change:
    """Return a change that writes a folder of DICOM slices."""

    def change(folder: Path) -> None:
        (folder / name).mkdir()
        for number in range(3):
            image = sitk.GetImageFromArray(np.full((16, 16), number, np.int16))
            sitk.WriteImage(image, str(folder / name / f"{number}.dcm"))

    return change


def header(name: str, lines: Sequence[str]) -> Change:
    """Return a change that writes a header beside or above its voxels."""
    return text(name, "\n".join(lines) + "\n")


MHD = ("ObjectType = Image", "NDims = 3", "DimSize = 16 16 16", "ElementType = MET_FLOAT")


def raw(name: str) -> Change:
    """Return a change that writes bare voxels."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.arange(4096, dtype=np.float32).tofile(folder / name)

    return change
