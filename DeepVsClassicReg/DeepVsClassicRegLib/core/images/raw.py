"""What the readers of all formats share: the bytes of files, and the content of an image file (`RawImage`)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError
from .grid import Grid

_GZIP_MAGIC = b"\x1f\x8b"
NIFTI_ENDINGS = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
MGH_ENDINGS = (".mgh", ".mgz", ".mgh.gz")
_AGAIN = "Copy or download the file again."
_UNPACK = "Unpack it first, and give the image in it."
# What is found in place of an image, by its first bytes in lower case.
_FOREIGN = {
    b"<!doctype": ("a web page", "The download failed; download the file again."),
    b"<html": ("a web page", "The download failed; download the file again."),
    b"version https://git-lfs": ("a pointer of Git LFS", "Get the file itself: git lfs pull."),
    b"/annex/objects": ("a pointer of git-annex", "Get the file itself: git annex get."),
    b"pk\x03\x04": ("a zip archive", _UNPACK),
    b"bzh": ("compressed with bzip2", "Decompress it first (bunzip2)."),
    b"\xfd7zxz": ("compressed with xz", "Decompress it first (unxz)."),
    b"7z\xbc\xaf": ("a 7z archive", _UNPACK),
    b"rar!": ("a rar archive", _UNPACK),
    b"%pdf": ("a PDF document", "Give an image."),
}
Pathlike = str | os.PathLike[str]


def first_bytes(path: Path, count: int) -> bytes:
    """Return the first bytes of a file, none when it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def looks_like_dicom(path: Path) -> bool:
    """Return whether the file has the DICOM prefix, or starts like a DICOM file without it."""
    start = first_bytes(path, 132)
    return start[128:] == b"DICM" or start[:4] in (b"\x08\0\x05\0", b"\x08\0\0\0", b"\x08\0\x08\0", b"\x02\0\0\0")


def is_nifti(path: Path) -> bool:
    """Return whether a file is NIfTI or Analyze by its name, or a single NIfTI file by its content."""
    return path.name.lower().endswith(NIFTI_ENDINGS) or holds_nifti(path)


def holds_nifti(path: Path) -> bool:
    """Return whether the content of a file is that of a single NIfTI file, independent of its name."""
    start = first_bytes(path, 1 << 12)
    if start.startswith(_GZIP_MAGIC):
        try:
            start = zlib.decompressobj(wbits=31).decompress(start, 1 << 12)
        except zlib.error:
            return False
    sizes = (start[:4], start[3::-1])
    one, two = (n.to_bytes(4, "little") for n in (348, 540))
    return (one in sizes and start[344:348] == b"n+1\0") or (two in sizes and start[4:7] == b"n+2")


def check_content(path: Path) -> None:
    """Raise an error that names a file of another kind: a web page, an archive, or a pointer to a file elsewhere.

    Raises
    ------
    FileError
        When the file is one of these.
    """
    start = first_bytes(path, 64).lstrip().lower()
    for mark, (what, hint) in _FOREIGN.items():
        if start.startswith(mark):
            raise FileError(f"{path.name} is {what}, not an image.", hint=hint)


def is_mgh(path: Path) -> bool:
    """Return whether the file's name is one of FreeSurfer's volumes."""
    return path.name.lower().endswith(MGH_ENDINGS)


def read_whole(path: Path) -> tuple[bytes, list[str]]:
    """Return the content of a file, decompressed when it starts with the gzip signature, and notes.

    Raises
    ------
    FileError
        When the file cannot be opened, or its compressed stream is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"Could not read {path}: {error.strerror or error}.", hint="Check the path.") from error
    if not content.startswith(_GZIP_MAGIC):
        if not path.name.lower().endswith((".gz", ".mgz")):
            return content, []
        return content, ["The file's name says gzip, but its content is not compressed; it is read as it is."]
    unpacked, rest, whole = _unpack(content, path)
    notes = [] if path.name.lower().endswith((".gz", ".mgz")) else ["The file is compressed although not named .gz."]
    if not whole:
        raise FileError(
            f"{path.name} is cut off: its compressed stream does not end ({len(unpacked)} bytes could be unpacked).",
            hint=_AGAIN,
        )
    if rest.strip(b"\0"):
        notes.append(f"{len(rest)} bytes behind the end of the compressed stream are ignored.")
    return unpacked, notes


def read_beginning(path: Path, count: int) -> bytes:
    """Return the first bytes of a file, decompressed when it starts with the gzip signature.

    Raises
    ------
    FileError
        When the file cannot be opened, or its compressed stream is damaged.
    """
    try:
        with path.open("rb") as file:
            content = file.read(count)
    except OSError as error:
        raise FileError(f"Could not read {path}: {error.strerror or error}.", hint="Check the path.") from error
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return zlib.decompressobj(wbits=31).decompress(content, count)
    except zlib.error as error:
        raise FileError(f"{path.name} is damaged: its compressed stream cannot be unpacked.", hint=_AGAIN) from error


def _unpack(content: bytes, path: Path) -> tuple[bytes, bytes, bool]:
    """Return what all members of a gzip file hold, what follows them, and whether the last one ends."""
    parts, rest, whole = [], content, True
    while rest.startswith(_GZIP_MAGIC):
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(rest))
        except zlib.error as error:
            if parts:
                break
            raise FileError(
                f"{path.name} is damaged: its compressed stream cannot be unpacked.", hint=_AGAIN
            ) from error
        whole, rest = member.eof, member.unused_data
    return b"".join(parts), rest, whole


@dataclass(frozen=True, eq=False)
class RawImage:
    """A scalar 3D image as stored.

    Parameters
    ----------
    array : (Z, Y, X) array
        Voxel values in their stored type (integers stay integers), or float32/float64 where the file gives
        a scale; may hold NaN and Inf.
    grid : Grid
        Grid of the voxels, LPS mm.
    stored_as : str
        The file's format and voxel type, for `dvcreg info`.
    notes : tuple of str
        Notes for the user: what was odd in the file and how it was read.
    about : mapping of str to plain values
        Further entries of the header, for `dvcreg info`.
    valid : (Z, Y, X) bool array, optional
        False in padding according to the header. None means measured everywhere.
    channels : (Z, Y, X, C) array, optional
        All values of a color or vector image, of which `array` is the luminance or one channel.
    """

    array: npt.NDArray[Any]
    grid: Grid
    stored_as: str = ""
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    valid: npt.NDArray[np.bool_] | None = None
    channels: npt.NDArray[Any] | None = None
