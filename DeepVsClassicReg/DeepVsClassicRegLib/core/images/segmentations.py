"""Segmentation files: reading and writing label maps."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from .formats import read_raw, stem, write_image
from .raw import Pathlike
from .simple import to_sitk
from .volume import LabelMap


def read_labels(path: Pathlike, *, name: str | None = None) -> LabelMap:
    """Read a segmentation or mask; the same errors as `read_volume`."""
    raw = read_raw(path)
    return LabelMap(raw.array, raw.grid, name=name or stem(path), notes=raw.notes)


def write_labels(labels: LabelMap, path: Pathlike) -> Path:
    """Write a label map in the smallest integer type, compressed; `FileError` when that fails."""
    return write_image(sitk.Cast(to_sitk(labels), _label_type(labels)), path)


def _label_type(labels: LabelMap) -> int:
    low, high = int(labels.array.min()), int(labels.array.max())
    if low < 0:
        return int(sitk.sitkInt32)
    return int(sitk.sitkUInt8 if high < 256 else sitk.sitkUInt16 if high < 65536 else sitk.sitkInt32)
