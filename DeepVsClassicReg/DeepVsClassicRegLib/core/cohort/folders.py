"""Pairs of a folder: BIDS, files that match a pattern, and the frames of a 4D volume."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FileError, SettingsError, did_you_mean
from ..images.file_lists import VOLUME_ENDINGS, labelled_files
from ..images.io import stem
from ..images.nifti import nifti_dimensions

BETWEEN = ("sessions", "subjects")
PLACEHOLDERS = {"subject": r"[A-Za-z0-9-]+", "session": r"[A-Za-z0-9-]+", "group": r"[A-Za-z0-9-]+"}
BIDS_FOLDERS = ("anat", "func", "dwi", "pet", "perf")
_BIDS_NAME = re.compile(r"sub-(?P<subject>[A-Za-z0-9]+)_(?:ses-(?P<session>[A-Za-z0-9]+)_)?(?P<rest>.*)")


@dataclass(frozen=True)
class FolderOptions:
    """How the pairs of a folder or of a 4D volume are formed.

    Attributes
    ----------
    fixed, fixed_seg, fixed_mask : Path or None
        A template: every volume is registered to it.
    between : {'', 'sessions', 'subjects'}
        Without a template: later sessions to the first one of each subject, or every volume to every other one.
    pattern, seg_pattern, mask_pattern : str
        Names of images, segmentations and masks, relative to the folder, such as '{subject}/{session}_t1.nii.gz'; the
        placeholders are subject, session and group, '*' is any text within a name.
    suffix : str
        The images of a BIDS folder.
    frame : int
        The fixed frame of a 4D volume without a template, counted from 0.
    """

    fixed: Path | None = None
    fixed_seg: Path | None = None
    fixed_mask: Path | None = None
    between: str = ""
    pattern: str = ""
    seg_pattern: str = ""
    mask_pattern: str = ""
    suffix: str = "T1w"
    frame: int = 0

    def __post_init__(self) -> None:
        if self.between and self.between not in BETWEEN:
            raise SettingsError(f"between is '{self.between}'.", hint=did_you_mean(self.between, BETWEEN))
        if self.between and self.fixed:
            raise SettingsError("A template and pairs between volumes exclude each other.", hint="Give one of them.")

    def template(self) -> dict[str, Path]:
        """Return the files of the template by role."""
        given = {"fixed": self.fixed, "fixed_labels": self.fixed_seg, "fixed_mask": self.fixed_mask}
        return {role: path.absolute() for role, path in given.items() if path is not None}


@dataclass(frozen=True)
class PairedFiles:
    """The files of a pair by role, and what their names say about it."""

    inputs: dict[str, Path]
    subject: str = ""
    session: str = ""
    group: str = ""
    name: str = ""


@dataclass(frozen=True)
class _Scan:
    """An image of a folder with its segmentation and mask."""

    image: Path
    subject: str = ""
    session: str = ""
    group: str = ""
    more: dict[str, Path] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return "_".join(filter(None, (self.subject, self.session)))

    def side(self, side: str) -> dict[str, Path]:
        return {side: self.image, **{f"{side}_{role}": path for role, path in self.more.items()}}


def pairs_of_folder(folder: Path, options: FolderOptions) -> list[PairedFiles]:
    """Return the pairs of a BIDS folder, or of a folder with images.

    Raises
    ------
    FileError
        When no image is found.
    SettingsError
        When it is not said to which volume the images are registered.
    """
    if options.pattern:
        scans = _by_pattern(folder, options)
    elif any(folder.glob("sub-*")):
        scans = _of_bids(folder, options.suffix)
    else:
        found = labelled_files(folder)
        scans = [_Scan(image, stem(image), more={"labels": seg} if seg else {}) for image, seg in found]
    return _paired(scans, options)


def pairs_of_frames(path: Path, options: FolderOptions) -> list[PairedFiles]:
    """Return the frames of a 4D NIfTI, each with the fixed frame or the template; `scan.nii.gz#3` is frame 3.

    Raises
    ------
    FileError
        When the file has no valid header, is not 4D, or has no such frame.
    """
    lengths = nifti_dimensions(path)
    if len(lengths) != 4:
        raise FileError(f"{path.name} has {len(lengths)} dimensions {lengths}, expected 4.", hint="Give a 4D NIfTI.")
    if not 0 <= options.frame < lengths[3]:
        raise FileError(f"{path.name} has {lengths[3]} frames, no frame {options.frame}.", hint="They count from 0.")
    frames = [Path(f"{path.absolute()}#{number}") for number in range(lengths[3])]
    fixed = options.template() or {"fixed": frames[options.frame]}
    width = len(str(lengths[3] - 1))
    return [
        PairedFiles({**fixed, "moving": frame}, session=f"{number:0{width}d}", name=f"frame_{number:0{width}d}")
        for number, frame in enumerate(frames)
        if frame != fixed["fixed"]
    ]


def _paired(scans: Sequence[_Scan], options: FolderOptions) -> list[PairedFiles]:
    template = options.template()
    if template:
        away = template["fixed"].resolve()
        chosen = [(template, scan, "") for scan in scans if scan.image.resolve() != away]
    elif options.between == "sessions":
        chosen = [(first.side("fixed"), scan, "") for first, scan in _to_first_session(scans)]
    elif options.between == "subjects":
        unique = len({scan.label for scan in scans}) == len(scans)
        chosen = [
            (fixed.side("fixed"), scan, f"{scan.label}_to_{fixed.label}" if unique else "")
            for fixed, scan in itertools.permutations(scans, 2)
        ]
    else:
        raise SettingsError(
            f"{len(scans)} volumes were found, but not the volume to which they are registered.",
            hint="Give a template with --fixed, or --between sessions or subjects.",
        )
    return [
        PairedFiles({**fixed, **scan.side("moving")}, scan.subject, scan.session, scan.group, name)
        for fixed, scan, name in chosen
    ]


def _to_first_session(scans: Sequence[_Scan]) -> Iterable[tuple[_Scan, _Scan]]:
    ordered = sorted(scans, key=lambda scan: (scan.subject, scan.session))
    for _subject, group in itertools.groupby(ordered, key=lambda scan: scan.subject):
        first, *later = group
        yield from ((first, scan) for scan in later)


def _of_bids(folder: Path, suffix: str) -> list[_Scan]:
    """Return the images of a BIDS folder; masks and segmentations come from the same folder or from derivatives."""
    files = [
        path
        for kind in BIDS_FOLDERS
        for pattern in (f"sub-*/{kind}/*", f"sub-*/ses-*/{kind}/*")
        for path in folder.glob(pattern)
        if VOLUME_ENDINGS.search(path.name)
    ]
    images = sorted(path for path in files if stem(path).endswith(f"_{suffix}") and "_desc-" not in path.name)
    if not images:
        there = sorted({stem(path).rpartition("_")[2] for path in files})
        raise FileError(
            f"{folder} contains no image of the kind '{suffix}'.", hint=f"--suffix: {', '.join(there) or 'none found'}."
        )
    return [_bids_scan(folder, path, suffix) for path in images]


def _bids_scan(folder: Path, path: Path, suffix: str) -> _Scan:
    named = _BIDS_NAME.match(stem(path))
    if named is None:
        raise FileError(f"{path} has no name of BIDS.", hint="It begins with sub-LABEL_.")
    more: dict[str, Path] = {}
    base, place = stem(path).removesuffix(f"_{suffix}"), path.parent.relative_to(folder)
    for role, endings in (("labels", ("_dseg", "_desc-aseg_dseg")), ("mask", ("_desc-brain_mask", "_mask"))):
        places = [path.parent, *(each / place for each in sorted(folder.glob("derivatives/*")))]
        candidates = (
            where / f"{base}{end}{kind}" for where in places for end in endings for kind in (".nii.gz", ".nii")
        )
        file = next((file for file in candidates if file.is_file()), None)
        if file:
            more[role] = file
    return _Scan(path, named["subject"], named["session"] or "", more=more)


def _by_pattern(folder: Path, options: FolderOptions) -> list[_Scan]:
    images = _matches(folder, options.pattern)
    if not images:
        raise FileError(f"No file in {folder} matches '{options.pattern}'.", hint="Check the pattern and the endings.")
    others = {"labels": options.seg_pattern, "mask": options.mask_pattern}
    found = {
        role: {_key(about): path for path, about in _matches(folder, pattern)}
        for role, pattern in others.items()
        if pattern
    }
    scans = []
    for path, about in images:
        more = {role: files[_key(about)] for role, files in found.items() if _key(about) in files}
        scans.append(_Scan(path, about.get("subject", ""), about.get("session", ""), about.get("group", ""), more))
    return scans


def _matches(folder: Path, pattern: str) -> list[tuple[Path, dict[str, str]]]:
    """Return the files that match a pattern with placeholders, sorted, and the text at the placeholders."""
    parts = re.split(r"(\{\w*\}|\*)", pattern)
    named: set[str] = set()
    expression = ""
    for part in parts:
        name = part[1:-1] if part.startswith("{") else ""
        if name and name not in PLACEHOLDERS:
            raise SettingsError(f"The pattern has the placeholder '{name}'.", hint=did_you_mean(name, PLACEHOLDERS))
        if name in named:
            expression += f"(?P={name})"
        elif name:
            expression += f"(?P<{name}>{PLACEHOLDERS[name]})"
            named.add(name)
        else:
            expression += "[^/]*" if part == "*" else re.escape(part)
    glob = re.sub(r"\{\w*\}", "*", pattern)
    matched = ((path, re.fullmatch(expression, path.relative_to(folder).as_posix())) for path in folder.glob(glob))
    return sorted((path.absolute(), match.groupdict()) for path, match in matched if match)


def _key(about: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(about.items()))
