"""Checks a manifest before anything is computed: missing files, unreadable headers, doubled ids, all at once."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import SimpleITK as sitk

from ..errors import FileError, GeometryError, RegistrationError
from ..files import split_series
from ..images.nifti import nifti_dimensions
from ..images.points import read_landmarks
from ..images.raw import is_mgh, is_nifti
from ..progress import Progress
from .manifest import CohortManifest, CohortPair, ManifestProblem

READERS = 8
Use = tuple[str, str, str]
VOLUMES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask")
MISSING = "Correct the path (relative paths are relative to the manifest), or remove the line."


def check_manifest(manifest: CohortManifest, *, progress: Progress | None = None) -> tuple[ManifestProblem, ...]:
    """Return all problems of a manifest, sorted by pair: those of its text, missing files, and unreadable headers.

    Every file is opened once, however many pairs use it; of volumes only the header is read.

    Parameters
    ----------
    manifest : CohortManifest
        From `read_cohort`.
    progress : Progress, optional
        Receives progress updates and can cancel.
    """
    listener = progress or Progress()
    uses = dict.fromkeys(use for pair in manifest.pairs for use in _uses(pair))
    found: dict[Use, RegistrationError] = {}
    with ThreadPoolExecutor(READERS) as pool:
        for number, (use, error) in enumerate(zip(uses, pool.map(_problem_of, uses), strict=True), 1):
            if error is not None:
                found[use] = error
            if number % 256 == 0:
                listener.report(number / len(uses), f"Checked {number} of {len(uses)} files")
    order = {pair.place: number for number, pair in enumerate(manifest.pairs)}
    problems = [*manifest.problems, *(p for pair in manifest.pairs for p in _problems_of_pair(pair, found))]
    return tuple(sorted(problems, key=lambda problem: (_number(problem.place), order.get(problem.place, -1))))


def _number(place: str) -> int:
    """Return the number of a line or pair, so that all problems of a file are in its order; 0 without a number."""
    kind, _, number = place.partition(" ")
    return int(number) if kind in ("line", "pair") and number.isdigit() else 0


def _uses(pair: CohortPair) -> list[Use]:
    """Return (role, path, prefix of the columns) of every file of a pair."""
    points = [pair.inputs.get(f"{side}_points") for side in ("fixed", "moving")]
    shared = points[0] == points[1] and Path(points[0] or "").suffix.lower() == ".csv"
    return [
        (role, path, role.removesuffix("points") if shared and role.endswith("points") else "")
        for role, path in pair.inputs.items()
    ]


def _problems_of_pair(pair: CohortPair, found: dict[Use, RegistrationError]) -> Iterable[ManifestProblem]:
    for use in _uses(pair):
        if use in found:
            error = found[use]
            yield ManifestProblem(pair.place, f"{use[0].replace('_', ' ')}: {error.message}", error.hint)
    sides = [side for side in ("fixed", "moving") if f"{side}_points" in pair.inputs]
    if len(sides) == 1:
        text = f"Landmarks are given for the {sides[0]} side only."
        yield ManifestProblem(pair.place, text, "Give both lists or none.")


def _problem_of(use: Use) -> RegistrationError | None:
    role, text, prefix = use
    source, part = split_series(Path(text))
    try:
        if not source.exists():
            return FileError(f"There is no file {source}.", hint=MISSING)
        if role in VOLUMES:
            check_header(source, part)
        elif role.endswith("points"):
            read_landmarks(source, prefix=prefix)
    except RegistrationError as error:
        return error
    return None


def check_header(path: Path, part: str | None = None) -> None:
    """Check that the header of a volume is readable and three-dimensional; DICOM folders are not opened.

    Parameters
    ----------
    path : Path
        The file.
    part : str, optional
        Frame of a 4D file.

    Raises
    ------
    FileError
        When the header is not readable.
    GeometryError
        When the volume is not 3D.
    """
    if path.is_dir() or is_mgh(path):
        return
    lengths = nifti_dimensions(path) if is_nifti(path) else _itk_dimensions(path)
    dimensions = len(lengths) - (part is not None)
    if dimensions != 3:
        hint = f"Name a frame: {path.name}#0." if len(lengths) == 4 else "Give a 3D volume."
        raise GeometryError(f"{path.name} has {len(lengths)} dimensions {tuple(lengths)}, expected 3.", hint=hint)


def _itk_dimensions(path: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ")
        raise FileError(f"The header of {path} is not readable: {reason}", hint="Export or copy it again.") from error
    lengths = tuple(int(length) for length in reader.GetSize())
    while len(lengths) > 3 and lengths[-1] == 1:
        lengths = lengths[:-1]
    return lengths
