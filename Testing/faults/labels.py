"""Segmentations: labels are never wrapped or merged, segments are matched by name and keep what Slicer says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.api import load_pair
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.io import read_labels
from DeepVsClassicRegLib.core.pair import check_pair
from segmentation_samples import SHAPE, boxes, on, one, volume, write_layers

from . import Call, Case, Gives, Refused, Run

A, B, C = boxes()


def numbers(name: str, array: np.ndarray) -> Callable[[Path], Call]:
    """Return a build function that writes label numbers and reads them."""

    def build(folder: Path) -> Call:
        if name.endswith(".nii.gz"):
            nib.save(nib.Nifti1Image(array, np.eye(4), dtype=array.dtype), folder / name)
        else:
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / name))
        return lambda: read_labels(folder / name)

    return build


def values(*wanted: int, kind: Any, name: str = "s.mha") -> Callable[[Path], Call]:
    """Return a build function for these numbers, one box each."""
    array = np.zeros(SHAPE, kind)
    for box, value in zip((A, B, C), wanted, strict=False):
        array[box] = value
    return numbers(name, array)


def found(run: Run) -> list[int]:
    """Return the labels read."""
    return list(run.value.labels)


def pair(fixed: Any, moving: Any, *, ending: Sequence[str] = (".seg.nrrd", ".seg.nrrd")) -> Callable[[Path], Call]:
    """Return a build function that reads a pair with these segmentations and says what is shared."""

    def build(folder: Path) -> Call:
        paths = []
        for side, content, end in zip(("fixed", "moving"), (fixed, moving), ending, strict=True):
            path = folder / f"{side}{end}"
            if end == ".seg.nrrd":
                write_layers(path, *content)
            else:
                sitk.WriteImage(sitk.GetImageFromArray(content), str(path))
            paths.append(path)
        volumes = volume(folder, "f.mha"), volume(folder, "m.mha")

        def call() -> Shared:
            made = load_pair(*volumes, fixed_labels=paths[0], moving_labels=paths[1])
            return Shared(made.fixed_labels, made.moving_labels, check_pair(made))

        return call

    return build


class Shared:
    """Dice of the structures with one number on both sides, by the moving side's names."""

    def __init__(self, fixed: Any, moving: Any, notes: Sequence[str]) -> None:
        self.notes = notes
        self.values = [self._dice(fixed.array == n, moving.array == n) for n in moving.labels if n in fixed.labels]
        self.dice = {
            moving.names.get(label) or str(label): round(self._dice(fixed.array == label, moving.array == label), 3)
            for label in moving.labels
            if label in fixed.labels
        }

    def __str__(self) -> str:
        return str(self.dice)

    @staticmethod
    def _dice(a: np.ndarray, b: np.ndarray) -> float:
        return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def shares(dice: Mapping[str, float], *, notes: Sequence[str] = (), silent: Sequence[str] = ()) -> Gives:
    """Expect that these structures meet with this Dice, and no others."""
    return Gives(dict(dice), read=lambda run: run.value.dice, notes=notes, silent=silent)


VALUE_CASES = [
    Case(
        "C",
        "int64 beyond 32 bits",
        values(1, 5_000_000_000, kind=np.int64),
        Refused(RegistrationError, "5000000000", "renumber"),
    ),
    Case(
        "C", "uint32 beyond 31 bits", values(1, 4_294_967_295, kind=np.uint32), Refused(RegistrationError, "4294967295")
    ),
    Case(
        "C",
        "uint64 beyond 63 bits",
        values(1, 2**63 + 5, kind=np.uint64),
        Refused(RegistrationError, "9223372036854775813"),
    ),
    Case("C", "int64 far below zero", values(1, -(2**40), kind=np.int64), Refused(RegistrationError, "-1099511627776")),
    Case(
        "C",
        "uint32 within 31 bits (Allen atlas)",
        values(1, 614_454_277, kind=np.uint32),
        Gives([1, 614_454_277], read=found),
    ),
    Case(
        "C",
        "two numbers that differ by 2**32",
        values(7, 7 + 2**32, kind=np.int64),
        Refused(RegistrationError, "4294967303"),
    ),
    Case("C", "negative labels", values(-3, 2, kind=np.int16), Gives([-3, 2], read=found)),
    Case("C", "int8 labels", values(-128, 127, kind=np.int8), Gives([-128, 127], read=found)),
    Case("C", "labels as whole floats", values(1, 2, 3, kind=np.float32), Gives([1, 2, 3], read=found)),
    Case("C", "labels as doubles", values(1, 70_000, kind=np.float64), Gives([1, 70_000], read=found)),
    Case(
        "C",
        "32-bit floats beyond 2**24",
        values(1, 2**24 + 2, kind=np.float32),
        Refused(RegistrationError, "32-bit floats"),
    ),
    Case("C", "doubles beyond 2**24", values(1, 2**24 + 1, kind=np.float64), Gives([1, 2**24 + 1], read=found)),
    Case("C", "doubles beyond 32 bits", values(1, 2**33, kind=np.float64), Refused(RegistrationError, "8589934592")),
    Case("C", "half labels", values(1.5, 2, kind=np.float32), Refused(RegistrationError, "not integers")),
    Case(
        "C",
        "probabilities",
        numbers("p.mha", np.linspace(0, 1, 512, dtype=np.float32).reshape(8, 8, 8)),
        Refused(RegistrationError, "probability"),
    ),
    Case("C", "NaN", values(np.nan, 1, kind=np.float32), Refused(RegistrationError, "not integers")),
    Case("C", "infinite", values(np.inf, 1, kind=np.float32), Refused(RegistrationError, "not integers")),
    Case("C", "uint16 as NIfTI", values(1, 40_000, kind=np.uint16, name="s.nii.gz"), Gives([1, 40_000], read=found)),
    Case(
        "C",
        "uint32 beyond 31 bits as NIfTI",
        values(1, 3_000_000_000, kind=np.uint32, name="s.nii.gz"),
        Refused(RegistrationError, "3000000000"),
    ),
    Case("C", "empty segmentation", numbers("c.mha", np.zeros(SHAPE, np.uint8)), Gives([], read=found)),
]


def _mask(folder: Path, kind: Any, value: int) -> Call:
    array = np.zeros(SHAPE, kind)
    array[A] = value
    sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "mask.mha"))
    return lambda: int(read_labels(folder / "mask.mha").mask().sum())


BOX = int(np.zeros(SHAPE)[A].size)
MASK_CASES = [
    Case("C", f"mask of {value} in {kind.__name__}", lambda folder, k=kind, v=value: _mask(folder, k, v), Gives(BOX))
    for kind, value in ((np.int16, -1), (np.uint8, 255), (np.float32, -1000), (np.int32, -(2**31)), (np.uint16, 65535))
]

SWAPPED = one(("White matter", 2, A), ("Cerebellum", 1, B))
MATCH_CASES = [
    Case(
        "C",
        "same names, swapped values",
        pair(one(("White matter", 1, A), ("Cerebellum", 2, B)), SWAPPED),
        shares({"White matter": 1, "Cerebellum": 1}, notes=["numbered as in the fixed", "White matter"]),
    ),
    Case(
        "C",
        "names in another case, with underscores",
        pair(one(("white_matter", 1, A), ("CEREBELLUM", 2, B)), SWAPPED),
        shares({"White matter": 1, "Cerebellum": 1}),
    ),
    Case(
        "C",
        "same names, same values",
        pair(one(("Liver", 1, A), ("Spleen", 2, B)), one(("Liver", 1, A), ("Spleen", 2, B))),
        shares({"Liver": 1, "Spleen": 1}, silent=["matched", "numbered"]),
    ),
    Case(
        "C",
        "one name only on each side",
        pair(one(("Liver", 1, A), ("Spleen", 2, B)), one(("Liver", 2, A), ("Kidney", 1, B))),
        shares({"Liver": 1}, notes=["2 is 1 (Liver)"]),
    ),
    Case(
        "C",
        "generic names match by value",
        pair(one(("Segment_1", 1, A), ("Segment_2", 2, B)), one(("Liver", 1, A), ("Spleen", 2, B))),
        shares({"Liver": 1, "Spleen": 1}, notes=["by label value, not by name"]),
    ),
    Case(
        "C",
        "different names never match by value",
        pair(one(("Liver", 1, A), ("Spleen", 2, B)), one(("Kidney", 1, A), ("Lung", 2, B))),
        shares({}),
    ),
    Case(
        "C",
        "single segments of other names",
        pair(one(("Tumor", 1, A)), one(("GTV", 5, A))),
        shares({"GTV": 1}, notes=["'Tumor' and 'GTV'", "taken as the same"]),
    ),
    Case(
        "C",
        "repeated names, first meets first",
        pair(one(("Node", 1, A), ("Node", 2, B)), one(("Node", 3, A), ("Node", 4, B))),
        Gives([1.0, 1.0], read=lambda run: run.value.values),
    ),
    Case(
        "C",
        "plain label numbers against segments",
        pair(
            np.where(on(A), 1, np.where(on(B), 2, 0)).astype(np.uint8),
            one(("Liver", 1, A), ("Spleen", 2, B)),
            ending=(".mha", ".seg.nrrd"),
        ),
        shares({"Liver": 1, "Spleen": 1}, notes=["by label value", "no name"]),
    ),
    Case(
        "C",
        "plain label numbers on both sides",
        pair(on(A).astype(np.uint8), on(A).astype(np.uint8), ending=(".mha", ".mha")),
        shares({"1": 1}, silent=["matched"]),
    ),
]


CASES = [*VALUE_CASES, *MASK_CASES, *MATCH_CASES]
