"""Labeled volumes of a folder and the pairs to register: a manifest, a Learn2Reg JSON, or files with matching names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError, SettingsError, did_you_mean
from ..images.file_lists import read_dataset_list
from ..images.io import read_labels, read_volume
from ..images.volume import LabelMap, Volume
from ..phantom.phantom import cube
from ..phantom.population import FIELD_MM, Cohort, make_subject, plane

SUFFIX = re.compile(r"(\.nii|\.nii\.gz|\.nrrd|\.mha|\.mhd|\.mgz)$", re.IGNORECASE)
# Last words of the names of files with labels.
LABEL_WORDS = re.compile(
    r"^(labels?|seg\d*|segmentations?|mask|lpba|fs|aseg|aparc|neuromorph|tissue|derived|gland|organs\w*|parc\w*)$", re.I
)
IMAGE_WORDS = re.compile(r"^(t1w?|t2w?|flair|ct|mr|mri|us|pd|img|image|volume|brain|norm|orig|0000)$", re.IGNORECASE)


@dataclass(frozen=True)
class Labeled:
    """A volume with its segmentation.

    Attributes
    ----------
    name : str
        Unique within the study.
    dataset : str
        Its data set.
    where : mapping
        JSON for `load`: the files 'image' and 'labels', or a subject of a phantom population.
    """

    name: str
    dataset: str
    where: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name within all data sets."""
        return f"{self.dataset}/{self.name}"

    def load(self) -> tuple[Volume, LabelMap]:
        """Return the volume and its segmentation."""
        return load_subject(self.where)


@dataclass(frozen=True)
class LabeledPair:
    """A pair to register.

    Attributes
    ----------
    name, dataset : str
        Name and data set.
    fixed, moving : Labeled
        The moving volume is registered to the fixed volume.
    scored : tuple of int
        Labels to evaluate; all common labels when empty.
    kind : str
        Kind of the pair, if given in the manifest.
    """

    name: str
    dataset: str
    fixed: Labeled
    moving: Labeled
    scored: tuple[int, ...] = ()
    kind: str = ""

    @property
    def multimodal(self) -> bool:
        """Whether the two volumes have different contrasts."""
        return "multi-modal" in self.kind.lower() or "multimodal" in self.kind.lower()


@dataclass(frozen=True)
class Study:
    """The content of a folder.

    Attributes
    ----------
    subjects : tuple of Labeled
        All labeled volumes.
    listed : tuple of LabeledPair
        The pairs of a manifest; may be empty.
    source : str
        Description of the source.
    kept : tuple of str
        The data sets to use; all when empty.
    """

    subjects: tuple[Labeled, ...]
    listed: tuple[LabeledPair, ...] = ()
    source: str = ""
    kept: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets in use, in order of appearance."""
        there = dict.fromkeys(subject.dataset for subject in self.subjects)
        return tuple(name for name in there if not self.kept or name in self.kept)

    def cases(self, *, most: int = 0) -> tuple[LabeledPair, ...]:
        """Return the listed pairs, or else ordered pairs within each data set.

        Parameters
        ----------
        most : int
            Maximum number of random pairs per data set, always the same ones; 0 for all.
        """
        pairs = self.listed or tuple(self._ordered_pairs())
        if not most:
            return tuple(case for case in pairs if case.dataset in self.datasets)
        rng = np.random.default_rng(0)
        chosen: list[LabeledPair] = []
        for dataset in dict.fromkeys(case.dataset for case in pairs):
            own = [case for case in pairs if case.dataset == dataset]
            places = rng.choice(len(own), size=min(most, len(own)), replace=False)
            chosen += [own[place] for place in sorted(places)]
        # Filtered after the random selection, so that the pairs of a data set do not depend on the other data sets.
        return tuple(case for case in chosen if case.dataset in self.datasets)

    def only(self, names: Sequence[str]) -> Study:
        """Return the study restricted to some data sets; default: all.

        Raises
        ------
        SettingsError
            When there is no such data set.
        """
        for name in names:
            if name not in self.datasets:
                raise SettingsError(f"There is no data set '{name}' here.", hint=did_you_mean(name, self.datasets))
        if not names:
            return self
        return replace(self, source=f"{self.source}; of it {', '.join(names)}", kept=tuple(names))

    def _ordered_pairs(self) -> Iterable[LabeledPair]:
        for dataset in dict.fromkeys(subject.dataset for subject in self.subjects):
            own = [subject for subject in self.subjects if subject.dataset == dataset]
            for fixed, moving in itertools.permutations(own, 2):
                yield LabeledPair(f"{dataset}: {moving.name} -> {fixed.name}", dataset, fixed, moving)


def load_subject(where: Mapping[str, Any]) -> tuple[Volume, LabelMap]:
    """Return the volume and segmentation of a `Labeled.where`."""
    if "cohort" in where:
        size = int(where["size"])
        grid = plane(size) if where.get("flat") else cube(size, FIELD_MM)
        subject = make_subject(Cohort(**where["cohort"]), where["number"], grid, protocol=where.get("protocol", ""))
        return subject.image, subject.labels
    return read_volume(where["image"]), read_labels(where["labels"])


def read_study(path: Path) -> Study:
    """Return the labeled volumes of a folder.

    Parameters
    ----------
    path : path
        A folder with `manifest.json` (pairs), a Learn2Reg dataset JSON (or a folder with one `*_dataset.json`), or a
        folder with images and label maps that differ in the last word of their names (`S1_t1.nii.gz`, `S1_seg.nii.gz`)
        or are in `imagesXx` and `labelsXx`. Subfolders are separate data sets.

    Raises
    ------
    FileError
        When there are no labeled volumes, or a file is missing.
    """
    if not path.exists():
        raise FileError(f"{path} does not exist.", hint="Give a folder with labeled volumes.")
    if path.is_file():
        return _from_learn2reg(path)
    if (path / "manifest.json").is_file():
        return _from_manifest(path)
    listings = sorted(path.glob("*_dataset.json")) or sorted(path.glob("dataset.json"))
    if listings:
        return _from_learn2reg(listings[0])
    found = _from_files(path)
    if not found.subjects:
        raise FileError(
            f"No image with a segmentation was found in {path}.",
            hint="Name files like S1_t1.nii.gz and S1_seg.nii.gz, or use folders imagesTr and labelsTr with "
            "equal names.",
        )
    return found


def joined(studies: Sequence[Study]) -> Study:
    """Return several studies as one."""
    return Study(
        tuple(subject for study in studies for subject in study.subjects if subject.dataset in study.datasets),
        tuple(case for study in studies for case in study.cases()) if any(study.listed for study in studies) else (),
        "; ".join(study.source for study in studies),
    )


def _from_manifest(folder: Path) -> Study:
    cases = []
    for pair in read_dataset_list(folder / "manifest.json").pairs:
        if not (pair.fixed.label and pair.moving.label):
            continue
        dataset = Path(pair.fixed.image).parent.name
        fixed, moving = (
            _labeled(dataset, folder / side.image, folder / str(side.label)) for side in (pair.fixed, pair.moving)
        )
        cases.append(LabeledPair(pair.name, dataset, fixed, moving, pair.scored, pair.kind))
    subjects = {subject.where["image"]: subject for case in cases for subject in (case.fixed, case.moving)}
    return Study(tuple(subjects.values()), tuple(cases), f"{len(cases)} labeled pairs of {folder / 'manifest.json'}")


def _from_learn2reg(path: Path) -> Study:
    content = read_dataset_list(path)
    if "training" not in content.about:
        raise FileError(f"{path} is not a dataset description of Learn2Reg.", hint="It needs the list 'training'.")
    dataset = content.name
    subjects: dict[Path, Labeled] = {}
    for volume in content.volumes:
        if volume.label:
            subject = _labeled(dataset, path.parent / volume.image, path.parent / volume.label)
            subjects[Path(subject.where["image"])] = subject
    listed = []
    for pair in content.validation:
        sides = [subjects.get((path.parent / side.image).resolve()) for side in (pair.fixed, pair.moving)]
        if sides[0] is not None and sides[1] is not None:
            listed.append(LabeledPair(f"{dataset}: {sides[1].name} -> {sides[0].name}", dataset, sides[0], sides[1]))
    return Study(tuple(subjects.values()), tuple(listed), f"{len(subjects)} labeled volumes of {path}")


def _from_files(folder: Path) -> Study:
    subjects: list[Labeled] = []
    for place in [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]:
        files = sorted(path for path in place.iterdir() if path.is_file() and SUFFIX.search(path.name))
        dataset = folder.name if place == folder else str(place.relative_to(folder))
        if place.name.startswith("images"):
            other = place.with_name(place.name.replace("images", "labels"))
            subjects += _by_folder(files, other, place.parent.name)
        elif not place.name.startswith("labels"):
            subjects += _by_name(files, dataset)
    return Study(tuple(subjects), (), f"{len(subjects)} labeled volumes found in {folder}")


def _by_folder(images: Sequence[Path], other: Path, dataset: str) -> list[Labeled]:
    """Pair `imagesTr/X_0000.nii.gz` with `labelsTr/X_0000.nii.gz` or `labelsTr/X.nii.gz`."""
    found = []
    for image in images:
        for name in (image.name, re.sub(r"_0000(?=\.)", "", image.name)):
            if (other / name).is_file():
                found.append(_labeled(dataset, image, other / name))
                break
    return found


def _by_name(files: Sequence[Path], dataset: str) -> list[Labeled]:
    """Match files whose names differ only in the words for image or labels."""
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in files:
        stem, is_labels = _stem(path)
        # Of several images or segmentations with one stem, the first by name is used.
        (labels if is_labels else images).setdefault(stem, path)
    return [_labeled(dataset, images[stem], labels[stem]) for stem in images if stem in labels]


def _stem(path: Path) -> tuple[str, bool]:
    words = SUFFIX.sub("", path.name).split("_")
    is_labels = any(LABEL_WORDS.match(word) for word in words[1:])
    kept = [words[0], *(word for word in words[1:] if not LABEL_WORDS.match(word) and not IMAGE_WORDS.match(word))]
    return "_".join(kept), is_labels


def _labeled(dataset: str, image: Path, labels: Path) -> Labeled:
    for path in (image, labels):
        if not path.is_file():
            raise FileError(f"{path} is in the list of the data, but does not exist.")
    stem = _stem(image)[0]
    contrast = [word for word in SUFFIX.sub("", image.name).split("_") if re.match(r"^t2w?$|^flair$", word, re.I)]
    where = {"image": str(image.resolve()), "labels": str(labels.resolve())}
    return Labeled("_".join([stem, *contrast]), dataset, where)


def drawn_pairs(count: int, most: int, *, seed: int) -> list[tuple[int, int]]:
    """Return random ordered pairs of `count` subjects, at most `most` (0: all), evenly over fixed subjects."""
    every = [(a, b) for a in range(count) for b in range(count) if a != b]
    if not most or most >= len(every):
        return every
    rng = np.random.default_rng(seed)
    # Pairs along a random circle, so that every subject is fixed and moving about equally often.
    order = rng.permutation(count)
    shifts = 1 + rng.permutation(count - 1)
    circle = [(int(order[n]), int(order[(n + shift) % count])) for shift in shifts for n in range(count)]
    return sorted(circle[:most])
