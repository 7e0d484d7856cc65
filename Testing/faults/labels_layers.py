"""Slicer's segmentations: layers, names, colors and terminology are read and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.images.io import read_labels
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom
from segmentation_samples import TERMINOLOGY, boxes, on, one, segmentation, volume, write_layers

from . import Call, Case, Gives, Refused, Run

A, B, _ = boxes()

INNER = np.s_[2:3, 2:4, 2:5]
OVERLAP = segmentation([[("Brain", 1, A)], [("Tumor", 1, INNER)]])
INNER_SIZE, OUTER_SIZE = int(on(INNER).sum()), int(on(A).sum())


def stored(name: str, content: Any, **options: Any) -> Callable[[Path], Call]:
    """Return a build function that writes a segmentation and reads it."""

    def build(folder: Path) -> Call:
        write_layers(folder / name, *content, **options)
        return lambda: read_labels(folder / name)

    return build


def sizes(run: Run) -> dict[str, int]:
    """Return the voxels of each segment by name."""
    labels = run.value
    return {labels.names.get(label, str(label)): int((labels.array == label).sum()) for label in labels.labels}


def warp(content: Any, out: str, **options: Any) -> Callable[[Path], Call]:
    """Return a build function for `dvcreg transform --labels` with a shift by one voxel along x."""

    def build(folder: Path) -> Call:
        write_layers(folder / "m.seg.nrrd", *content, **options)
        volume(folder, "f.mha")
        sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 0, 0)), str(folder / "t.tfm"))
        return ["transform", "-t", "t.tfm", "--labels", "m.seg.nrrd", "--reference", "f.mha", "--out", out]

    return build


def written(name: str, key: str) -> Callable[[Run], Any]:
    """Return a reader of an entry of a written file, with SimpleITK."""

    def read(run: Run) -> Any:
        image = sitk.ReadImage(str(run.folder / name))
        return image.GetMetaData(key)

    return read


def layer_sizes(run: Run) -> list[int]:
    """Return the voxels of each layer of the written file."""
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(run.folder / "w.seg.nrrd")))
    return [int((array[..., layer] != 0).sum()) for layer in range(array.shape[-1])]


def shift_of(run: Run) -> list[int]:
    """Return the first x index of each layer of the written file."""
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(run.folder / "w.seg.nrrd")))
    return [int(np.argwhere(array[..., layer])[:, 2].min()) for layer in range(array.shape[-1])]


def changed(entries: Sequence[dict[str, str]], **entry: str) -> list[dict[str, str]]:
    """Return the entries with these of the first segment changed."""
    return [{**entries[0], **entry}, *entries[1:]]


TWO = one(("Liver", 1, A), ("Spleen", 7, B))
NAMELESS = (TWO[0], [{key: text for key, text in entry.items() if key != "Name"} for entry in TWO[1]])
UNLISTED = (TWO[0], TWO[1][:1])
OLD = (
    [on(A).astype(np.uint16), on(INNER).astype(np.uint16)],
    [{key: entry[key] for key in ("ID", "Name", "Color")} for entry in OVERLAP[1]],
)
LAYER_CASES = [
    Case(
        "C",
        "names and values of a .seg.nrrd",
        stored("s.seg.nrrd", TWO),
        Gives({"Liver": OUTER_SIZE, "Spleen": int(on(B).sum())}, read=sizes),
    ),
    Case(
        "C",
        "a .seg.nrrd under the ending .nrrd",
        stored("s.nrrd", TWO),
        Gives({"Liver": OUTER_SIZE, "Spleen": int(on(B).sum())}, read=sizes),
    ),
    Case(
        "C",
        "overlapping layers, read as one map",
        stored("s.seg.nrrd", OVERLAP),
        Gives(
            {"Brain": OUTER_SIZE - INNER_SIZE, "Tumor": INNER_SIZE},
            read=sizes,
            notes=["overlap", f"'Tumor' hides {INNER_SIZE} voxels of 'Brain'"],
        ),
    ),
    Case(
        "C",
        "layers that do not overlap",
        stored("s.seg.nrrd", segmentation([[("Liver", 1, A)], [("Spleen", 1, B)]])),
        Gives({"Liver": OUTER_SIZE, "Spleen": int(on(B).sum())}, read=sizes, silent=["overlap"]),
    ),
    Case(
        "C",
        "layers as vectors (SimpleITK)",
        stored("s.seg.nrrd", OVERLAP, kind="vector"),
        Gives({"Brain": OUTER_SIZE - INNER_SIZE, "Tumor": INNER_SIZE}, read=sizes, notes=["overlap"]),
    ),
    Case(
        "C",
        "layers of a Slicer before 4.11 (no label values)",
        stored("s.seg.nrrd", OLD),
        Gives({"Brain": OUTER_SIZE - INNER_SIZE, "Tumor": INNER_SIZE}, read=sizes, notes=["overlap"]),
    ),
    Case(
        "C",
        "segments without names",
        stored("s.seg.nrrd", NAMELESS),
        Gives({"Segment_1": OUTER_SIZE, "Segment_2": int(on(B).sum())}, read=sizes),
    ),
    Case(
        "C",
        "voxels that belong to no segment",
        stored("s.seg.nrrd", UNLISTED),
        Gives({"Liver": OUTER_SIZE, "7": int(on(B).sum())}, read=sizes, notes=["7 belong to no segment"]),
    ),
    Case(
        "C",
        "a segmentation without segments",
        stored("s.seg.nrrd", (TWO[0], [])),
        Gives({"1": OUTER_SIZE, "7": int(on(B).sum())}, read=sizes, notes=["lists no segment"]),
    ),
    Case(
        "C",
        "a name with umlauts and a colon",
        stored("s.seg.nrrd", one(("Größe: 3", 1, A))),
        Gives({"Größe: 3": OUTER_SIZE}, read=sizes),
    ),
    Case(
        "C",
        "a layer that is not there",
        stored("s.seg.nrrd", (TWO[0], changed(TWO[1], Layer="4"))),
        Refused(FileError, "layer 4", "Liver"),
    ),
    Case(
        "C",
        "a label value that is a word",
        stored("s.seg.nrrd", (TWO[0], changed(TWO[1], LabelValue="one"))),
        Refused(FileError, "LabelValue", "'one'"),
    ),
    Case(
        "C",
        "two segments of one value in one layer",
        stored("s.seg.nrrd", (TWO[0], changed(TWO[1], LabelValue="7"))),
        Refused(FileError, "two segments", "label 7"),
    ),
    *(
        Case(
            "C",
            f".seg.nrrd cut at {n} tenths of its voxels",
            stored("s.seg.nrrd", TWO, cut=n / 10),
            Refused(FileError, "s.seg.nrrd"),
        )
        for n in range(1, 10)
    ),
    Case(
        "C",
        "transform keeps names",
        warp(TWO, "w.seg.nrrd"),
        Gives("Liver", read=written("w.seg.nrrd", "Segment0_Name")),
    ),
    Case(
        "C",
        "transform keeps colors",
        warp(TWO, "w.seg.nrrd"),
        Gives("0.5 0.25 1", read=written("w.seg.nrrd", "Segment1_Color")),
    ),
    Case(
        "C",
        "transform keeps terminology",
        warp(TWO, "w.seg.nrrd"),
        Gives(TERMINOLOGY, read=written("w.seg.nrrd", "Segment0_Tags")),
    ),
    Case(
        "C",
        "transform keeps label values",
        warp(TWO, "w.seg.nrrd"),
        Gives("7", read=written("w.seg.nrrd", "Segment1_LabelValue")),
    ),
    Case(
        "C",
        "transform keeps names under the ending .nrrd",
        warp(TWO, "w.nrrd"),
        Gives("Spleen", read=written("w.nrrd", "Segment1_Name")),
    ),
    Case(
        "C",
        "transform keeps overlapping layers whole",
        warp(OVERLAP, "w.seg.nrrd"),
        Gives([OUTER_SIZE, INNER_SIZE], read=layer_sizes),
    ),
    Case("C", "transform moves every layer", warp(OVERLAP, "w.seg.nrrd"), Gives([0, 1], read=shift_of)),
    Case(
        "C",
        "transform of overlapping layers to NIfTI",
        warp(OVERLAP, "w.nii.gz"),
        Gives(True, read=lambda run: (run.folder / "w.nii.gz").is_file(), notes=["hides", ".seg.nrrd"]),
    ),
]


def _phantom_segmentation(folder: Path, side: str, numbers: dict[int, tuple[int, str]]) -> None:
    """Write some labels of the phantom as a Slicer segmentation with other values; label -> (value, name)."""
    image = sitk.ReadImage(str(folder / f"{side}_seg.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    made = sitk.GetImageFromArray(sum((array == old) * np.uint8(new) for old, (new, _name) in numbers.items()))
    made.CopyInformation(image)
    for place, (value, name) in enumerate(numbers.values()):
        for key, text in {"ID": f"S{place}", "Name": name, "LabelValue": str(value), "Layer": "0"}.items():
            made.SetMetaData(f"Segment{place}_{key}", text)
    sitk.WriteImage(made, str(folder / f"{side}.seg.nrrd"))


def _swapped(folder: Path, *command: str) -> list[str]:
    write_phantom(make_phantom("head", size=32), folder)
    _phantom_segmentation(folder, "fixed", {2: (1, "White matter"), 8: (2, "Cerebellum")})
    _phantom_segmentation(folder, "moving", {8: (1, "Cerebellum"), 2: (2, "White matter")})
    pair = ["--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz"]
    return [*command, *pair, "--fixed-seg", "fixed.seg.nrrd", "--moving-seg", "moving.seg.nrrd"]


def _true_dice(run: Run) -> list[float]:
    """Return the Dice of both labels as reported, minus that of SimpleITK's resampling of the NIfTI labels."""
    fixed, moving = (sitk.ReadImage(str(run.folder / f"{side}_seg.nii.gz")) for side in ("fixed", "moving"))
    truth = sitk.ReadTransform(str(run.folder / "truth.h5"))
    arrays = [
        sitk.GetArrayFromImage(image)
        for image in (fixed, sitk.Resample(moving, fixed, truth, sitk.sitkNearestNeighbor))
    ]
    reported = run.json("measures.json")["measures"]["after"]["dice_per_label"]
    dice = [2 * np.logical_and(*(a == n for a in arrays)).sum() / sum((a == n).sum() for a in arrays) for n in (2, 8)]
    return [reported["1"] - dice[0], reported["2"] - dice[1]]


def _own_segmentation(folder: Path) -> list[str]:
    command = _swapped(folder, "register", "-e", "linear", "--out", ".")
    (folder / "moving.seg.nrrd").rename(folder / "warped_seg.seg.nrrd")
    return [*command[:-1], "warped_seg.seg.nrrd"]


COMMAND_CASES = [
    Case(
        "C",
        "evaluate the true transform, values swapped",
        lambda folder: _swapped(folder, "evaluate", "-t", "truth.h5", "--out", "measures.json"),
        Gives(np.zeros(2), 1e-6, _true_dice, notes=["numbered as in the fixed segmentation", "White matter"]),
    ),
    Case(
        "C",
        "register writes a segmentation",
        lambda folder: _swapped(folder, "register", "-e", "linear", "--no-html", "--out", "out"),
        Gives("White matter", read=written("out/warped_seg.seg.nrrd", "Segment0_Name")),
        slow=True,
    ),
    Case(
        "C",
        "register never overwrites its segmentation",
        _own_segmentation,
        Refused(FileError, "would be overwritten", "warped_seg.seg.nrrd"),
    ),
]
CASES = [*LAYER_CASES, *COMMAND_CASES]
