"""Reads the bytes of files: the first ones, or all, decompressed, with notes about irregular ends."""

from __future__ import annotations

import zlib
from pathlib import Path

from ..errors import FileError

_GZIP_MAGIC = b"\x1f\x8b"
_AGAIN = "Copy or download the file again."


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
