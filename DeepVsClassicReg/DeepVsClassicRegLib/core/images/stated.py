"""What a file of ITK states about its geometry: ITK fills in what is missing, and ignores units, without a message."""

from __future__ import annotations

import re
from pathlib import Path

import SimpleITK as sitk

from .raw import first_bytes
from .volume import Note

NRRD, META = "NrrdImageIO", "MetaImageIO"
# Formats whose files have no orientation, or one that ITK does not read.
WITHOUT_ORIENTATION = {
    "BioRadImageIO": "BioRad",
    "GiplImageIO": "GIPL",
    "LSMImageIO": "LSM",
    "MRCImageIO": "MRC",
    "StimulateImageIO": "Stimulate",
    "TIFFImageIO": "TIFF",
    "VTKImageIO": "VTK",
}
# Spaces whose axes ITK turns to LPS, without the time axis that they may have.
SPACES = ("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las")
MILLIMETERS = ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres", "???", "?")
_HEAD = 1 << 16
_QUOTED = re.compile(r'"([^"]*)"')
_ASSUMED = "; its axes are taken as left, posterior, superior, as ITK does: check in a viewer that left is left."


def geometry_notes(path: Path) -> tuple[Note, ...]:
    """Return notes on what a 3D image file that ITK reads does not state about its geometry, or states in another unit.

    Parameters
    ----------
    path : Path
        The file, of any format but NIfTI, FreeSurfer's and DICOM.
    """
    kind = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    if kind in WITHOUT_ORIENTATION:
        return (_unknown(f"{WITHOUT_ORIENTATION[kind]} files state no orientation"),)
    if kind == NRRD:
        return _nrrd_notes(nrrd_facts(path))
    if kind == META:
        return _meta_notes(meta_facts(path))
    return ()


def nrrd_facts(path: Path) -> dict[str, str]:
    """Return the fields and keys of a NRRD header, in lower case; ITK does not hand all of them on."""
    facts: dict[str, str] = {}
    for raw in first_bytes(path, _HEAD).splitlines():
        line = raw.decode("utf-8", "replace").strip()
        if not line:
            break
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            facts[name.strip().lower()] = value.removeprefix("=").strip()
    return facts


def meta_facts(path: Path) -> dict[str, str]:
    """Return the entries of a MetaImage header."""
    facts: dict[str, str] = {}
    for raw in first_bytes(path, _HEAD).splitlines():
        name, equals, value = raw.decode("latin-1").partition("=")
        if equals:
            facts[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    return facts


def _nrrd_notes(facts: dict[str, str]) -> tuple[Note, ...]:
    notes = []
    space = facts.get("space", "").lower().removesuffix("-time").removesuffix("t")
    directed = "(" in facts.get("space directions", "")
    if not directed:
        notes.append(_unknown("The file states no orientation"))
        if not _has_number(facts.get("spacings", "")):
            notes.append(Note("The file states no voxel size; 1 mm is taken.", unsound=True))
    elif space not in SPACES:
        named = f"The file's space is '{facts['space']}'" if "space" in facts else "The file names no anatomical space"
        notes.append(_unknown(named))
    if directed and not _has_number(facts.get("space origin", "")):
        notes.append(Note("The file states no position; its first voxel is taken as the origin."))
    units = _QUOTED.findall(facts.get("space units", "") or facts.get("units", ""))
    return (*notes, *_unit_notes(units))


def _meta_notes(facts: dict[str, str]) -> tuple[Note, ...]:
    notes = []
    if not {"TransformMatrix", "Rotation", "Orientation"} & set(facts):
        notes.append(_unknown("The file states no orientation (TransformMatrix)"))
    if not {"ElementSpacing", "ElementSize"} & set(facts):
        notes.append(Note("The file states no voxel size (ElementSpacing); 1 mm is taken.", unsound=True))
    return (*notes, *_unit_notes([facts.get("DistanceUnits", "")]))


def _unit_notes(units: list[str]) -> list[Note]:
    others = sorted({unit for unit in units if unit.strip().lower() not in MILLIMETERS})
    if not others:
        return []
    text = (
        f"The header gives lengths in '{', '.join(others)}'. ITK and Slicer take these numbers as millimeters, and so "
        "does this program: results are in the header's unit."
    )
    return [Note(text, unsound=True)]


def _unknown(what: str) -> Note:
    return Note(what + _ASSUMED, unsound=True)


def _has_number(text: str) -> bool:
    return re.search(r"\d", text) is not None
