"""Images of a folder and the label maps that belong to them, by their names."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import FileError
from ..images.formats import stem

ENDINGS = re.compile(r"\.(nii|nii\.gz|nrrd|mha|mhd)$", re.IGNORECASE)
LABEL_WORDS = re.compile(r"^(labels?|seg\d*|segmentations?|lpba|fs|aseg|neuromorph|tissue|parc\w*)$", re.IGNORECASE)
IMAGE_FOLDERS, LABEL_FOLDERS = ("imagesTr", "images"), ("labelsTr", "labels")
CHANNEL = re.compile(r"_0000$")


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
    files = [path for path in sorted(place.iterdir()) if path.is_file() and ENDINGS.search(path.name)]
    images = [path for path in files if not _says_labels(path)]
    if len(images) < 2:
        raise FileError(f"{place} holds {len(images)} images, a training needs two at least.", hint="Check the folder.")
    beside = {_person(path): path for path in files if _says_labels(path)}
    apart = {stem(path): path for name in LABEL_FOLDERS if (folder / name).is_dir() for path in _volumes(folder / name)}
    return [(image, _labels_of(image, apart, beside)) for image in images]


def _labels_of(image: Path, apart: dict[str, Path], beside: dict[str, Path]) -> Path | None:
    name = stem(image)
    return apart.get(name) or apart.get(CHANNEL.sub("", name)) or beside.get(name) or beside.get(_person(image))


def _volumes(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if ENDINGS.search(path.name)]


def _says_labels(path: Path) -> bool:
    words = stem(path).split("_")
    return len(words) > 1 and bool(LABEL_WORDS.match(words[-1]))


def _person(path: Path) -> str:
    return stem(path).rpartition("_")[0]
