"""Segmentation files of Slicer, written by hand (NRRD is a text header and bytes), for the cases of labels."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

SHAPE = (10, 12, 14)
TERMINOLOGY = (
    "TerminologyEntry:Segmentation category and type~SCT^85756007^Tissue~SCT^10200004^Liver~^^~Anatomic~^^~^^|"
)


def boxes() -> tuple[Any, Any, Any]:
    """Return three boxes that do not touch, and lie in other octants."""
    return np.s_[1:4, 1:5, 1:6], np.s_[5:9, 6:11, 2:7], np.s_[2:6, 2:5, 9:13]


def on(box: Any) -> np.ndarray:
    """Return where a box is."""
    array = np.zeros(SHAPE, bool)
    array[box] = True
    return array


def segmentation(layers: Sequence[Sequence[tuple[str, int, Any]]]) -> tuple[list[np.ndarray], list[dict[str, str]]]:
    """Return layers and entries of segments, given as (name, value, box) for each layer."""
    arrays, entries = [], []
    for number, named in enumerate(layers):
        array = np.zeros(SHAPE, np.uint16)
        for name, value, box in named:
            array[box] = value
            entry = {"ID": f"Segment_{len(entries) + 1}", "Name": name, "LabelValue": str(value), "Layer": str(number)}
            entries.append({**entry, "Color": "0.5 0.25 1", "Tags": TERMINOLOGY, "Extent": "0 13 0 11 0 9"})
        arrays.append(array)
    return arrays, entries


def write_layers(
    path: Path, layers: Sequence[np.ndarray], entries: Sequence[dict[str, str]], *, kind: str = "list", cut: float = 1
) -> Path:
    """Write layers (Z, Y, X) as Slicer does."""
    several = len(layers) > 1
    sizes = " ".join(str(n) for n in ([len(layers)] if several else []) + list(SHAPE[::-1]))
    head = ["NRRD0004", "type: unsigned short", f"dimension: {4 if several else 3}", "space: left-posterior-superior"]
    head += [f"sizes: {sizes}", f"space directions: {'none ' if several else ''}(1,0,0) (0,1,0) (0,0,1)"]
    head += [f"kinds: {kind + ' ' if several else ''}domain domain domain", "endian: little", "encoding: gzip"]
    head += ["space origin: (0,0,0)"]
    head += [f"Segment{n}_{key}:={text}" for n, entry in enumerate(entries) for key, text in entry.items()]
    head += ["Segmentation_MasterRepresentation:=Binary labelmap", "Segmentation_ReferenceImageExtentOffset:=0 0 0"]
    voxels = np.stack(layers, axis=-1) if several else layers[0]
    data = gzip.compress(voxels.astype("<u2").tobytes())
    path.write_bytes("\n".join([*head, "", ""]).encode() + data[: int(len(data) * cut)])
    return path


def volume(folder: Path, name: str) -> Path:
    """Write a volume on the segmentations' grid."""
    ramp = sitk.GetImageFromArray(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE))
    sitk.WriteImage(ramp, str(folder / name))
    return folder / name


def one(*named: tuple[str, int, Any]) -> tuple[list[np.ndarray], list[dict[str, str]]]:
    """Return one layer with these (name, value, box)."""
    return segmentation([named])
