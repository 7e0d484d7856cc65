"""Manifest of a cohort: the pairs to register, read from a CSV, a JSON, a folder or a 4D volume."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..errors import FileError, SettingsError, did_you_mean
from ..images.file_lists import ListedPair, csv_rows, read_dataset_list
from ..images.io import stem
from ..images.raw import is_nifti
from ..job import INPUTS
from .folders import FolderOptions, PairedFiles, pairs_of_folder, pairs_of_frames

HINT = (
    "Give a .csv with the columns fixed and moving, a dataset JSON of Learn2Reg, a BIDS folder, a folder with "
    "--pattern, or a 4D NIfTI."
)
ABOUT = ("subject", "session", "group")
# Columns of a CSV besides the roles of a job -> role.
ALIASES = {
    f"{side}_{alias}": f"{side}_{role}"
    for side in ("fixed", "moving")
    for alias, role in (
        ("seg", "labels"),
        ("label", "labels"),
        ("segmentation", "labels"),
        ("landmarks", "points"),
        ("landmark", "points"),
    )
}
NAMES = ("id", "name")
LISTS = ("dataset.json", "pairs.csv", "manifest.json")
LONGEST_NAME = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class CohortPair:
    """A pair of a cohort.

    Attributes
    ----------
    name : str
        Its id: unique, and usable as the name of a folder.
    inputs : mapping of str to str
        Entry of `job.INPUTS` -> absolute path.
    place : str
        Where it is listed, such as 'line 3'.
    subject, session, group : str
        What the manifest says about it; may be empty.
    info : mapping of str to str
        Further columns of the manifest, which are copied to the table.
    """

    name: str
    inputs: Mapping[str, str]
    place: str = ""
    subject: str = ""
    session: str = ""
    group: str = ""
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CohortManifest:
    """The pairs of a cohort and the problems found while they were read.

    Attributes
    ----------
    source : Path
        The file or folder.
    pairs : tuple of CohortPair
        All pairs, also those with problems.
    problems : tuple of ManifestProblem
        What must be corrected before a run; see also `manifest_check.check_manifest`.
    """

    source: Path
    pairs: tuple[CohortPair, ...]
    problems: tuple[ManifestProblem, ...] = ()


@dataclass(frozen=True, order=True)
class ManifestProblem:
    """A mistake in a manifest.

    Attributes
    ----------
    place : str
        Where it is, such as 'line 3'.
    message, remedy : str
        What is wrong, and what to do.
    """

    place: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the problem in one line."""
        return f"{self.place}: {self.message} {self.remedy}".strip(": ")


def read_cohort(source: Path, options: FolderOptions | None = None) -> CohortManifest:
    """Return the pairs of a manifest; files are not opened, see `manifest_check.check_manifest`.

    Parameters
    ----------
    source : path
        A CSV (columns fixed, moving and optionally id, subject, session, group, fixed_seg, fixed_mask, fixed_landmarks,
        the same of the moving side, and initial), a dataset JSON of Learn2Reg, a folder with one of these, a BIDS
        folder, a folder with images, or a 4D NIfTI. Relative paths are relative to the CSV or JSON.
    options : FolderOptions, optional
        How the pairs of a folder or 4D volume are formed.

    Raises
    ------
    FileError
        When it is missing, of another kind, or contains no pair.
    SettingsError
        When the options are not sufficient to form pairs.
    """
    chosen = options or FolderOptions()
    if not source.exists():
        raise FileError(f"There is no manifest {source}.", hint=HINT)
    if source.is_dir():
        source = _listed_in(source, chosen)
    if source.is_dir():
        found = _of_files(source, pairs_of_folder(source, chosen))
    elif source.suffix.lower() == ".csv":
        found = _from_csv(source)
    elif source.suffix.lower() == ".json":
        found = _from_json(source)
    elif is_nifti(source):
        found = _of_files(source, pairs_of_frames(source, chosen))
    else:
        raise FileError(f"{source} is not a manifest.", hint=HINT)
    if not found.pairs and not found.problems:
        raise FileError(f"{source} contains no pair.", hint=HINT)
    return _with_doubles(found)


def _listed_in(folder: Path, options: FolderOptions) -> Path:
    """Return the list in a folder, or the folder when it has none or the options say how pairs are formed."""
    if options.pattern or options.between or options.fixed:
        return folder
    listed = (*sorted(folder.glob("*_dataset.json")), *(folder / name for name in LISTS))
    return next((file for file in listed if file.is_file()), folder)


def _from_csv(path: Path) -> CohortManifest:
    rows = csv_rows(path, hint=HINT)
    columns = list(rows[0][1]) if rows else []
    missing = [name for name in ("fixed", "moving") if name not in columns]
    if rows and missing:
        raise FileError(
            f"{path} has no column {' and '.join(missing)}; its columns are {', '.join(columns)}.", hint=HINT
        )
    problems = [_misspelled(column) for column in columns if _is_misspelled(column)]
    pairs = []
    for line, row in rows:
        place = f"line {line}"
        empty = [side for side in ("fixed", "moving") if not row[side]]
        if empty:
            problems.append(
                ManifestProblem(place, f"The {empty[0]} volume is empty.", "Give a path, or remove the line.")
            )
            continue
        inputs = {
            role: _absolute(path.parent, text)
            for column, text in row.items()
            if text and (role := ALIASES.get(column, column)) in INPUTS
        }
        about = {name: row.get(name, "") for name in ABOUT}
        extra = {
            name: text
            for name, text in row.items()
            if name and ALIASES.get(name, name) not in (*INPUTS, *ABOUT, *NAMES)
        }
        given = next((row[name] for name in NAMES if row.get(name)), "")
        if given and _safe(given) != given:
            problems.append(
                ManifestProblem(
                    place,
                    f"The id '{given}' cannot be the name of a folder.",
                    f"Use letters, digits, '.', '_' and '-', at most {LONGEST_NAME}: '{_safe(given)}'.",
                )
            )
        pairs.append(CohortPair(given or _name(inputs, about), inputs, place, info=extra, **cast(Any, about)))
    return CohortManifest(path, tuple(pairs), tuple(problems))


def _is_misspelled(column: str) -> bool:
    """Return whether a column is almost one of those that are used: otherwise a typo would be ignored silently."""
    known = (*INPUTS, *ALIASES, *ABOUT, *NAMES)
    return column not in known and did_you_mean(column, known).startswith("Did") and column.startswith(("fix", "mov"))


def _misspelled(column: str) -> ManifestProblem:
    known = (*INPUTS, *ALIASES, *ABOUT, *NAMES)
    return ManifestProblem("line 1", f"The column '{column}' is not known.", did_you_mean(column, known))


def _from_json(path: Path) -> CohortManifest:
    content = read_dataset_list(path)
    listed = [*content.pairs, *content.validation]
    pairs = [_json_pair(path.parent, pair, f"pair {number}") for number, pair in enumerate(listed, 1)]
    if not pairs:
        raise FileError(
            f"{path} lists {len(content.volumes)} volumes but no pairs.",
            hint="Add 'pairs' or 'registration_val', or write a .csv with the columns fixed and moving.",
        )
    return CohortManifest(path, tuple(pairs))


def _json_pair(folder: Path, pair: ListedPair, place: str) -> CohortPair:
    given = {
        "fixed": pair.fixed.image,
        "moving": pair.moving.image,
        "fixed_labels": pair.fixed.label,
        "moving_labels": pair.moving.label,
        "fixed_mask": pair.fixed.mask,
        "moving_mask": pair.moving.mask,
        "fixed_points": pair.landmarks,
        "moving_points": pair.landmarks,
    }
    inputs = {role: _absolute(folder, text) for role, text in given.items() if text}
    name = _safe(pair.name) if pair.name else _name(inputs, {})
    return CohortPair(name, inputs, place, group=pair.kind)


def _of_files(source: Path, listed: Iterable[PairedFiles]) -> CohortManifest:
    pairs = []
    for entry in listed:
        inputs = {role: str(path) for role, path in entry.inputs.items()}
        about = {"subject": entry.subject, "session": entry.session, "group": entry.group}
        pairs.append(CohortPair(entry.name or _name(inputs, about), inputs, stem(inputs["moving"]), **cast(Any, about)))
    return CohortManifest(source, tuple(pairs))


def _with_doubles(manifest: CohortManifest) -> CohortManifest:
    """Add a problem for every id and every pair that occurs twice; names made from files get a unique ending."""
    problems, names, files = list(manifest.problems), dict[str, CohortPair](), dict[tuple[str, ...], CohortPair]()
    pairs = []
    for pair in manifest.pairs:
        key = (pair.inputs["fixed"], pair.inputs["moving"], pair.inputs.get("initial", ""))
        if key in files:
            first = files[key].place
            remedy = "Remove one of them."
            problems.append(ManifestProblem(pair.place, f"The pair is the same as that of {first}.", remedy))
        elif pair.name.lower() in names:
            first = names[pair.name.lower()].place
            remedy = "Give every pair its own id; upper and lower case are the same for many disks."
            problems.append(ManifestProblem(pair.place, f"The id '{pair.name}' is also that of {first}.", remedy))
        names.setdefault(pair.name.lower(), pair)
        files.setdefault(key, pair)
        pairs.append(pair)
    return CohortManifest(manifest.source, tuple(pairs), tuple(problems))


def _name(inputs: Mapping[str, str], about: Mapping[str, str]) -> str:
    """Return an id made from subject and session, or from the names of the files, unique by a part of their hash."""
    parts = [about.get("subject", ""), about.get("session", "")]
    base = "_".join(filter(None, parts)) or f"{stem(inputs['moving'])}_to_{stem(inputs['fixed'])}"
    paths = "\n".join((inputs["fixed"], inputs["moving"], inputs.get("initial", "")))
    return f"{_safe(base)[: LONGEST_NAME - 7]}_{hashlib.sha256(paths.encode()).hexdigest()[:6]}"


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-.")[:LONGEST_NAME]


def _absolute(folder: Path, text: str) -> str:
    return str((folder / Path(text).expanduser()).absolute())


def chosen_pairs(manifest: CohortManifest, names: Sequence[str]) -> tuple[CohortPair, ...]:
    """Return the pairs of these names, all without names.

    Raises
    ------
    SettingsError
        When there is no such pair.
    """
    known = {pair.name: pair for pair in manifest.pairs}
    for name in names:
        if name not in known:
            raise SettingsError(f"There is no pair '{name}'.", hint=did_you_mean(name, known))
    return tuple(known[name] for name in names) if names else manifest.pairs
