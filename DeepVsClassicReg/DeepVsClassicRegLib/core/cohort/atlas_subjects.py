"""The volumes of an atlas, with or without label maps: named, checked, in an order independent of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FileError
from ..files import content_digest
from ..images.io import stem
from ..training.manifest import labelled_files, read_manifest

HINT = "Give volumes, a folder with images and label maps, a .csv (image,label) or a Learn2Reg .json."


@dataclass(frozen=True)
class AtlasSubject:
    """One volume of an atlas.

    Attributes
    ----------
    name : str
        Unique within the atlas.
    image : Path
        Intensities.
    labels : Path or None
        Segmentation of the same subject.
    digest : str
        SHA-256 of the image file.
    """

    name: str
    image: Path
    labels: Path | None = None
    digest: str = ""


def gather_subjects(
    sources: Sequence[Path], labels: Sequence[Path] = (), *, fewest: int = 2, need_labels: bool = False
) -> tuple[AtlasSubject, ...]:
    """Return the subjects, ordered by the content of their files.

    Parameters
    ----------
    sources : sequence of Path
        Volumes, or one folder or manifest that lists them with their label maps.
    labels : sequence of Path
        Label maps of the volumes, in the same order.
    fewest : int
        Smallest number of subjects.
    need_labels : bool
        Whether every subject needs a label map.

    Raises
    ------
    FileError
        When a file or label map is missing, a volume is given twice, or there are too few.
    """
    listed = _listed([Path(path).resolve() for path in sources], [Path(path).resolve() for path in labels])
    for image, own in listed:
        for path in (image, own):
            if path is not None and not path.exists():
                raise FileError(f"There is no file {path}.", hint=HINT)
    if len(listed) < fewest:
        raise FileError(f"{len(listed)} volumes are given, at least {fewest} are needed.", hint=HINT)
    bare = [image.name for image, own in listed if own is None]
    if need_labels and bare:
        raise FileError(f"{len(bare)} atlases have no label map: {', '.join(bare[:5])}.", hint=HINT)
    if bare and len(bare) < len(listed):
        raise FileError(
            f"{len(bare)} of {len(listed)} volumes have no label map: {', '.join(bare[:5])}.",
            hint="Give label maps for all volumes or for none.",
        )
    names = _names([image for image, _ in listed])
    subjects = [
        AtlasSubject(name, image, own, content_digest(image)) for name, (image, own) in zip(names, listed, strict=True)
    ]
    twice = [digest for digest, count in Counter(subject.digest for subject in subjects).items() if count > 1]
    if twice:
        same = [subject.image.name for subject in subjects if subject.digest == twice[0]]
        raise FileError(f"The same volume is given {len(same)} times: {', '.join(same)}.", hint="Give it once.")
    return tuple(sorted(subjects, key=lambda subject: subject.digest))


def _listed(sources: list[Path], labels: list[Path]) -> list[tuple[Path, Path | None]]:
    if len(sources) == 1 and not labels:
        return _from_list(sources[0])
    if labels and len(labels) != len(sources):
        raise FileError(
            f"{len(labels)} label maps are given for {len(sources)} volumes.",
            hint="Give one for every volume, in the same order.",
        )
    own: Sequence[Path | None] = labels or [None] * len(sources)
    return list(zip(sources, own, strict=True))


def _from_list(source: Path) -> list[tuple[Path, Path | None]]:
    """Return images and label maps of a folder or manifest; a single volume is a list of one."""
    if not source.exists():
        raise FileError(f"There is no file or folder {source}.", hint=HINT)
    if source.suffix.lower() in (".csv", ".json"):
        return [(case.image, case.labels) for case in read_manifest(source, validation=0).cases]
    return labelled_files(source) if source.is_dir() else [(source, None)]


def _names(images: list[Path]) -> list[str]:
    """Return the stems of the files, with the folder where stems are equal, numbered where this is not enough."""
    names = [stem(path) for path in images]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}_{name}" for path, name in zip(images, names, strict=True)]
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return unique
