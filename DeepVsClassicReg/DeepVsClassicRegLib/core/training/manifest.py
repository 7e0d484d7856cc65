"""The volumes and pairs of a dataset: a Learn2Reg JSON, a CSV manifest, or a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError
from ..images.file_lists import ListedPair, csv_rows, labelled_files, read_dataset_list
from ..images.io import stem

KINDS_HINT = (
    "Give a Learn2Reg .json, a .csv manifest, a folder, shapes, labels:FOLDER, appearance:FOLDER or sections:FOLDER."
)
CSV_HINT = "It needs the columns fixed, moving (fixed_label, moving_label), or image (label, mask); and maybe split."


@dataclass(frozen=True)
class TrainingCase:
    """A training volume.

    Attributes
    ----------
    image : Path
        Intensities.
    labels : Path or None
        Its segmentation.
    mask : Path or None
        Intensities are set to background where it is 0.
    """

    image: Path
    labels: Path | None = None
    mask: Path | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return stem(self.image)


@dataclass(frozen=True)
class Manifest:
    """Cases and the pairs (fixed, moving) of them, as positions in `cases`.

    Attributes
    ----------
    name, licence : str
        As given by the dataset, for the card.
    cases : tuple of TrainingCase
        All volumes.
    training, validation : tuple of (int, int)
        Pairs; no validation case is in a training pair.
    label_names : mapping of int to str
        As given by the dataset; may be empty.
    """

    name: str
    cases: tuple[TrainingCase, ...]
    training: tuple[tuple[int, int], ...]
    validation: tuple[tuple[int, int], ...]
    label_names: Mapping[int, str] = field(default_factory=dict)
    licence: str = ""


def with_labels(manifest: Manifest) -> Manifest:
    """Return the manifest with those training pairs of which an image has labels; with all when no image has."""
    labeled = tuple(
        pair for pair in manifest.training if any(manifest.cases[place].labels is not None for place in pair)
    )
    return replace(manifest, training=labeled or manifest.training)


def read_manifest(path: Path, *, validation: int = 20) -> Manifest:
    """Return the cases and pairs of a dataset.

    Parameters
    ----------
    path : Path
        A Learn2Reg JSON ('training' with 'registration_val', 'training_paired_images', or 'pairs'), a CSV manifest, or
        a folder (with one of these, with images and labels in separate folders, or with matching names).
    validation : int
        Number of random validation pairs when the dataset defines none; small datasets have fewer.

    Raises
    ------
    FileError
        When there is no dataset, a file is missing, or no pair is left for training.
    """
    if path.is_dir():
        listed = [*sorted(path.glob("*_dataset.json")), path / "dataset.json", path / "pairs.csv"]
        path = next((file for file in listed if file.is_file()), path)
    if path.is_dir():
        found = _of_cases(
            path.name, [TrainingCase(image, labels) for image, labels in labelled_files(path)], validation
        )
    elif not path.exists():
        raise FileError(f"There is no dataset {path}.", hint=KINDS_HINT)
    elif path.suffix.lower() == ".csv":
        found = _from_csv(path, validation)
    elif path.suffix.lower() == ".json":
        found = _from_json(path, validation)
    else:
        raise FileError(f"{path} is not a dataset.", hint=KINDS_HINT)
    _check(found, path)
    return found


class _Book:
    """Collects cases by image and pairs of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: dict[Path, TrainingCase] = {}

    def place(self, image: str, labels: str | None = None, mask: str | None = None) -> int:
        """Return the position of a case, adding new information about it."""
        path = self.folder / image
        known = self.cases.get(path, TrainingCase(path))
        self.cases[path] = TrainingCase(path, self._path(labels) or known.labels, self._path(mask) or known.mask)
        return list(self.cases).index(path)

    def _path(self, text: str | None) -> Path | None:
        return self.folder / text if text else None


def _from_csv(path: Path, validation: int) -> Manifest:
    rows = [row for _line, row in csv_rows(path, hint=CSV_HINT)]
    columns = set(rows[0]) if rows else set()
    book = _Book(path.parent)
    if {"fixed", "moving"} <= columns:
        pairs = [_csv_pair(book, row) for row in rows]
        return _of_pairs(path.stem, book, pairs, [_is_held(row) for row in rows], validation)
    if "image" not in columns:
        raise FileError(f"{path} is not a manifest, its columns are {sorted(columns)}.", hint=CSV_HINT)
    places = [book.place(row["image"], row.get("label"), row.get("mask")) for row in rows]
    cases, held = list(book.cases.values()), {place for place, row in zip(places, rows, strict=True) if _is_held(row)}
    return _of_cases(path.stem, cases, validation, held=held)


def _csv_pair(book: _Book, row: Mapping[str, str]) -> tuple[int, int]:
    return (
        book.place(row["fixed"], row.get("fixed_label"), row.get("fixed_mask")),
        book.place(row["moving"], row.get("moving_label"), row.get("moving_mask")),
    )


def _is_held(row: Mapping[str, str]) -> bool:
    return (row.get("split") or "").strip().lower().startswith("val")


def _from_json(path: Path, validation: int) -> Manifest:
    content = read_dataset_list(path)
    about: dict[str, Any] = {
        "label_names": _label_names(content.about.get("labels")),
        "licence": str(content.about.get("licence") or content.about.get("license") or "").strip()[:200],
    }
    book = _Book(path.parent)
    for volume in content.volumes:
        book.place(volume.image, volume.label)
    pairs = [_json_pair(book, pair) for pair in content.pairs]
    own = [_json_pair(book, pair) for pair in content.validation]
    if pairs:
        held = [False] * len(pairs) + [True] * len(own)
        return _of_pairs(content.name, book, [*pairs, *own], held, validation, **about)
    away = {place for pair in own for place in pair}
    return _of_cases(content.name, list(book.cases.values()), validation, held=away, own=own, **about)


def _json_pair(book: _Book, pair: ListedPair) -> tuple[int, int]:
    return book.place(pair.fixed.image, pair.fixed.label), book.place(pair.moving.image, pair.moving.label)


def _label_names(given: Any) -> dict[int, str]:
    """Return names as {1: 'hippocampus'}; some datasets nest them under the number of the modality."""
    if not isinstance(given, Mapping):
        return {}
    if given and all(isinstance(value, Mapping) for value in given.values()):
        given = next(iter(given.values()))
    return {int(value): str(name) for value, name in given.items() if str(value).isdigit() and int(value) != 0}


def _of_cases(
    name: str,
    cases: Sequence[TrainingCase],
    validation: int,
    *,
    held: Iterable[int] = (),
    own: Sequence[tuple[int, int]] = (),
    **about: Any,
) -> Manifest:
    """Return all ordered pairs of cases except the validation cases, which are given or random."""
    away = sorted(set(held)) or _drawn(len(cases), _held_count(len(cases), validation))
    kept = [place for place in range(len(cases)) if place not in set(away)]
    pairs = own or _balanced_pairs(away)[: validation or None]
    return Manifest(name, tuple(cases), tuple(itertools.permutations(kept, 2)), tuple(pairs), **about)


def _drawn(count: int, wanted: int) -> list[int]:
    """Return random positions out of `count`, always the same."""
    return sorted(np.random.default_rng(0).permutation(count)[:wanted].tolist())


def _held_count(cases: int, pairs: int) -> int:
    """Return the number of validation cases: one per pair, at most a tenth of all, but enough for the ordered pairs.

    Of few cases at most a fifth, or two, are used for validation.
    """
    if not pairs:
        return 0
    enough = next(count for count in itertools.count() if count * (count - 1) >= pairs)
    return min(max(enough, min(pairs, cases // 10)), max(2, cases // 5))


def _balanced_pairs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Return all ordered pairs, in an order in which every case occurs about equally often from the beginning."""
    count = len(places)
    return [(places[n], places[(n + step) % count]) for step in range(1, count) for n in range(count)]


def _of_pairs(
    name: str, book: _Book, pairs: Sequence[tuple[int, int]], held: Sequence[bool], validation: int, **about: Any
) -> Manifest:
    """Return the pairs except the validation pairs, given or random, whose cases are not used for training."""
    chosen = set(_drawn(len(pairs), min(validation, max(1, len(pairs) // 5))))
    away = list(held) if any(held) else [number in chosen for number in range(len(pairs))]
    judged = [pair for pair, out in zip(pairs, away, strict=True) if out]
    cases = {place for pair in judged for place in pair}
    kept = [pair for pair, out in zip(pairs, away, strict=True) if not out and not cases & set(pair)]
    return Manifest(name, tuple(book.cases.values()), tuple(kept), tuple(judged), **about)


def _check(manifest: Manifest, path: Path) -> None:
    for case in manifest.cases:
        for file in (case.image, case.labels, case.mask):
            if file is not None and not file.exists():
                raise FileError(
                    f"{path} contains {file}, which does not exist.", hint="Paths are relative to the list."
                )
    if not manifest.training:
        raise FileError(
            f"{path} leaves no pair for training: {len(manifest.cases)} cases, {len(manifest.validation)} validation "
            "pairs whose cases are not used for training.",
            hint="Use more cases, fewer --validation pairs, or a column 'split' with train and val.",
        )
