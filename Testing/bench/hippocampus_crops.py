"""Hippocampus crops of brains that no network here was trained on, with a manifest.json like that of the data folder.

Whole heads and skull-stripped brains of three sources, cut as the training crops are: the box of one hippocampus and
some margin. Their labels name the whole hippocampus, the training labels its two parts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

MARGIN_MM = 6.0
WHOLE = 1


@dataclass(frozen=True)
class Source:
    """Brains of one folder, whose hippocampi are cut out.

    Attributes
    ----------
    folder, image, labels : str
        Where the files lie; `image` and `labels` are patterns of the subject.
    pairs : tuple of (str, str)
        Moving and fixed subject.
    sides : mapping of str to int
        Label value of each side's hippocampus.
    """

    folder: str
    image: str
    labels: str
    pairs: tuple[tuple[str, str], ...]
    sides: tuple[tuple[str, int], ...]


FREESURFER = (("left", 17), ("right", 53))
SOURCES = (
    Source(
        "visible/brain_malf_oasis", "{}_t1.nii.gz", "{}_fs.nii.gz",
        (("1003", "1101"), ("1113", "1003"), ("1119", "1004"), ("1101", "1119"), ("1004", "1113")), FREESURFER,
    ),
    Source(
        "visible/brain_lpba40", "{}_t1.nii.gz", "{}_lpba.nii.gz",
        (("S02", "S01"), ("S03", "S01"), ("S04", "S01"), ("S05", "S01")), (("left", 165), ("right", 166)),
    ),
    Source(
        "visible/brain_fs", "{}_t1.nii.gz", "{}_fs.nii.gz", (("bert", "vmtest"), ("vmtest", "bert")), FREESURFER,
    ),
)  # fmt: skip


def make_crops(data: Path, out: Path) -> Path:
    """Write the crops and their manifest.json into `out` unless they are there, and return `out`."""
    if (out / "manifest.json").is_file():
        return out
    entries = []
    for source in SOURCES:
        folder = out / Path(source.folder).name
        folder.mkdir(parents=True, exist_ok=True)
        for side, value in source.sides:
            for subject in sorted({name for pair in source.pairs for name in pair}):
                _write_crop(data / source.folder, source, subject, value, folder / f"{subject}_{side}")
            entries += [_entry(folder.name, moving, fixed, side) for moving, fixed in source.pairs]
    (out / "manifest.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")
    return out


def _write_crop(folder: Path, source: Source, subject: str, value: int, target: Path) -> None:
    image = sitk.ReadImage(str(folder / source.image.format(subject)))
    labels = sitk.ReadImage(str(folder / source.labels.format(subject))) == value
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(labels)
    box = shape.GetBoundingBox(1)
    margin = [round(MARGIN_MM / spacing) for spacing in image.GetSpacing()]
    first = [max(0, start - wide) for start, wide in zip(box[:3], margin, strict=True)]
    last = [
        min(whole, start + size + wide)
        for whole, start, size, wide in zip(image.GetSize(), box[:3], box[3:], margin, strict=True)
    ]
    size = [end - start for start, end in zip(first, last, strict=True)]
    for kind, volume in (("t1", image), ("label", labels * WHOLE)):
        sitk.WriteImage(sitk.RegionOfInterest(volume, size, first), f"{target}_{kind}.nii.gz")


def _entry(folder: str, moving: str, fixed: str, side: str) -> dict:
    return {
        "id": f"{folder} {side} {moving}->{fixed}",
        "kind": "inter-subject T1",
        "fixed": f"{folder}/{fixed}_{side}_t1.nii.gz",
        "moving": f"{folder}/{moving}_{side}_t1.nii.gz",
        "fixed_label": f"{folder}/{fixed}_{side}_label.nii.gz",
        "moving_label": f"{folder}/{moving}_{side}_label.nii.gz",
        "labels": [WHOLE],
    }
