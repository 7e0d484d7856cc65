"""Lists of volumes and pairs in files and folders: CSV, the dataset JSON of Learn2Reg, images beside label maps."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileError
from ..files import read_any_json
from .io import stem

VOLUME_ENDINGS = re.compile(r"\.(nii|nii\.gz|nrrd|mha|mhd)$", re.IGNORECASE)
LABEL_WORDS = re.compile(r"^(labels?|seg\d*|segmentations?|lpba|fs|aseg|neuromorph|tissue|parc\w*)$", re.IGNORECASE)
IMAGE_FOLDERS, LABEL_FOLDERS = ("imagesTr", "images"), ("labelsTr", "labels")
CHANNEL = re.compile(r"_0000$")


@dataclass(frozen=True)
class ListedVolume:
    """A volume of a list, as paths relative to the list.

    Attributes
    ----------
    image : str
        Intensities.
    label, mask : str or None
        Its segmentation and its mask.
    """

    image: str
    label: str | None = None
    mask: str | None = None


@dataclass(frozen=True)
class ListedPair:
    """A pair of a list.

    Attributes
    ----------
    fixed, moving : ListedVolume
        The two volumes.
    name : str
        Its id; may be empty.
    landmarks : str or None
        A .csv with the landmarks of both sides.
    kind : str
        Kind of the pair, if given.
    scored : tuple of int
        Labels to evaluate; all common labels when empty.
    """

    fixed: ListedVolume
    moving: ListedVolume
    name: str = ""
    landmarks: str | None = None
    kind: str = ""
    scored: tuple[int, ...] = ()


@dataclass(frozen=True)
class DatasetList:
    """The content of a dataset JSON.

    Attributes
    ----------
    name : str
        Name of the dataset.
    volumes : tuple of ListedVolume
        The entries of 'training'.
    pairs, validation : tuple of ListedPair
        The pairs ('pairs' or 'training_paired_images') and those of 'registration_val'.
    about : mapping
        The whole file.
    """

    name: str
    volumes: tuple[ListedVolume, ...]
    pairs: tuple[ListedPair, ...]
    validation: tuple[ListedPair, ...]
    about: Mapping[str, Any]


def csv_rows(path: Path, *, hint: str = "") -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV file with a header as (line number, column -> text); lines with # are comments.

    Column names are lowercase without surrounding blanks; empty cells are ''.

    Raises
    ------
    FileError
        When the file is missing, no text, or no CSV.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        kept = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
        cells = [(number, next(csv.reader([line], strict=True))) for number, line in kept]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"Could not read {path}: {error}.", hint=hint) from error
    if not cells:
        return []
    columns = [cell.strip().lower() for cell in cells[0][1]]
    return [
        (number, {column: cell.strip() for column, cell in zip(columns, [*row, *[""] * len(columns)], strict=False)})
        for number, row in cells[1:]
    ]


def read_dataset_list(path: Path) -> DatasetList:
    """Read a dataset JSON of Learn2Reg, or a list of pairs (fixed, moving, fixed_label, moving_label, landmarks).

    Raises
    ------
    FileError
        When the file is missing, no JSON, or has entries of another form.
    """
    content = read_any_json(path)
    about = {"pairs": content} if isinstance(content, list) else content
    if not isinstance(about, Mapping):
        raise FileError(f"{path} contains a {type(content).__name__}, expected an object.")
    try:
        volumes = tuple(_volume(entry) for entry in about.get("training", ()))
        listed = about.get("pairs") or about.get("training_paired_images") or ()
        known = {volume.image: volume for volume in volumes}
        pairs = tuple(_pair(entry, known) for entry in listed)
        validation = tuple(_pair(entry, known) for entry in about.get("registration_val", ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path} is not a dataset description of Learn2Reg ({error!r}).") from error
    return DatasetList(str(about.get("name") or path.stem), volumes, pairs, validation, about)


def _volume(entry: Any) -> ListedVolume:
    if isinstance(entry, str):  # nnU-Net lists names only
        return ListedVolume(entry)
    return ListedVolume(entry["image"], entry.get("label") or None, entry.get("mask") or None)


def _pair(entry: Mapping[str, Any], known: Mapping[str, ListedVolume]) -> ListedPair:
    sides = []
    for side, number in (("fixed", "0"), ("moving", "1")):
        image = str(entry.get(side) or entry[number])
        label, mask = entry.get(f"{side}_label") or None, entry.get(f"{side}_mask") or None
        listed = known.get(image, ListedVolume(image))
        sides.append(ListedVolume(image, label or listed.label, mask or listed.mask))
    name, kind = str(entry.get("id") or ""), str(entry.get("kind") or "")
    scored = tuple(entry.get("labels") or ())
    return ListedPair(sides[0], sides[1], name, entry.get("landmarks") or None, kind, scored)


def labelled_files(folder: Path) -> list[tuple[Path, Path | None]]:
    """Return every image of a folder with its label map, or None where there is none.

    Images lie in `imagesTr`, `images` or the folder itself; label maps have the same name (without nnU-Net's `_0000`)
    in `labelsTr` or `labels`, or lie beside the image with a last word like `seg` instead of the image's
    (`S1_t1.nii.gz`, `S1_seg.nii.gz`).

    Raises
    ------
    FileError
        When there are fewer than two images.
    """
    place = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), folder)
    files = [path for path in sorted(place.iterdir()) if path.is_file() and VOLUME_ENDINGS.search(path.name)]
    images = [path for path in files if not _says_labels(path)]
    if len(images) < 2:
        raise FileError(f"{place} contains {len(images)} images; at least two are needed.", hint="Check the folder.")
    beside = {_person(path): path for path in files if _says_labels(path)}
    apart = {stem(path): path for name in LABEL_FOLDERS if (folder / name).is_dir() for path in _volumes(folder / name)}
    return [(image, _labels_of(image, apart, beside)) for image in images]


def _labels_of(image: Path, apart: dict[str, Path], beside: dict[str, Path]) -> Path | None:
    name = stem(image)
    return apart.get(name) or apart.get(CHANNEL.sub("", name)) or beside.get(name) or beside.get(_person(image))


def _volumes(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if VOLUME_ENDINGS.search(path.name)]


def _says_labels(path: Path) -> bool:
    words = stem(path).split("_")
    return len(words) > 1 and bool(LABEL_WORDS.match(words[-1]))


def _person(path: Path) -> str:
    return stem(path).rpartition("_")[0]
