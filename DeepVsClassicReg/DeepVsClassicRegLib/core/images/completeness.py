"""Checks that a file read by ITK has the length given in its header.

Some of ITK's readers fill missing voxels with uninitialized memory (VTK, GIPL, MRC), some skip slices (TIFF), and
others print messages before they fail (MetaImage, HDF5). Therefore the lengths are compared first.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import SimpleITK as sitk

from ..errors import FileError
from .raw import read_whole
from .stated import nrrd_facts

HDF5_MARK = b"\x89HDF\r\n\x1a\n"
AGAIN = "Copy or download the file again."
_HEAD, _PART = 1 << 16, 1 << 20
_META = (".mha", ".mhd")
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_NRRD_PACKED = ("raw", "gzip", "gz")
# Without signs, which do not change the length.
_NRRD_BYTES = {
    **dict.fromkeys(("char", "int8"), 1),
    **dict.fromkeys(("short", "short int", "int16"), 2),
    **dict.fromkeys(("int", "int32", "float"), 4),
    **dict.fromkeys(("long long", "long long int", "longlong", "int64", "double"), 8),
}
_GIPL_HEADER, _MRC_HEADER, _MRC_EXTENSION = 256, 1024, 92
_RAW = ("VTKImageIO", "GiplImageIO", "MRCImageIO", "StimulateImageIO", "BioRadImageIO", "Bruker2dseqImageIO")
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_STRIP_OFFSETS, _STRIP_LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 16: 8}
_TIFF_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


def check_complete(path: Path) -> None:
    """Compare the length of an image file with that of its header.

    Raises
    ------
    FileError
        When the file, or the file of voxels beside it, is too short.
    """
    head = _start(path)
    if head.startswith(HDF5_MARK):
        check_hdf5(path)
    elif head.startswith(_TIFF_MARKS):
        _check_tiff(path)
    elif path.name.lower().endswith(_META):
        _check_meta(path, head)
    elif head.startswith(b"NRRD"):
        _check_nrrd(path, head)
    elif (kind := sitk.ImageFileReader.GetImageIOFromFileName(str(path))) in _RAW:
        _check_raw(path, kind)


def check_hdf5(path: Path) -> None:
    """Compare the length that HDF5's first block states with the file's, before ITK prints a long HDF5 error.

    Raises
    ------
    FileError
        When the file is too short.
    """
    head = _start(path)
    if not head.startswith(HDF5_MARK):
        return
    place = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8]) if len(head) > 8 else None
    stated = int.from_bytes(head[place : place + 8], "little") if place is not None else 0
    there = path.stat().st_size
    if there < stated:
        raise FileError(f"{path.name} is cut off: its header gives {stated} bytes, the file has {there}.", hint=AGAIN)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise FileError(f"Could not read {path}: {error.strerror or error}.", hint="Check the path.") from error


def _compare(path: Path, needed: int, there: int) -> None:
    if there < needed:
        raise FileError(
            f"{path.name} is cut off: its header gives {needed} bytes of voxels, the file contains {max(there, 0)} "
            f"({100 * max(there, 0) / needed:.0f} %).",
            hint=AGAIN,
        )


def _check_meta(path: Path, head: bytes) -> None:
    if b"NDims" not in head:
        return  # another format, whatever its name
    facts: dict[str, str] = {}
    place = 0
    while "ElementDataFile" not in facts:
        end = head.find(b"\n", place)
        if end < 0:
            raise FileError(f"{path.name} is cut off: its header does not end.", hint=AGAIN)
        name, _, value = head[place:end].decode("latin-1").partition("=")
        facts[name.strip()] = value.strip()
        place = end + 1
    needed = _meta_bytes(facts)
    source = path if facts["ElementDataFile"].upper() == "LOCAL" else path.parent / facts["ElementDataFile"]
    if needed is None or facts["ElementDataFile"].upper().startswith("LIST") or "%" in facts["ElementDataFile"]:
        return  # several files: ITK reports those that are missing
    if not source.is_file():
        raise _missing(path, facts["ElementDataFile"])
    skipped = place if source == path else max(int(facts.get("HeaderSize", "0") or 0), 0)
    there = source.stat().st_size - skipped
    if facts.get("CompressedData", "").lower() != "true":
        _compare(source, needed, there)
        return
    packed = facts.get("CompressedDataSize", "")
    if packed.isdigit():
        _compare(source, int(packed), there)
    if _unpacked(source, skipped) < needed:
        raise FileError(f"{source.name} is cut off or damaged: its voxels cannot be unpacked.", hint=AGAIN)


def _check_nrrd(path: Path, head: bytes) -> None:
    facts = nrrd_facts(path)
    encoding = facts.get("encoding", "raw").lower()
    if encoding in ("bzip2", "bz2"):
        raise FileError(
            f"{path.name} is compressed with bzip2, which ITK does not read.", hint="Save it with the encoding gzip."
        )
    named = facts.get("data file", facts.get("datafile", ""))
    if named.upper().startswith("LIST") or "%" in named:
        return  # several files: ITK reports those that are missing
    source = path.parent / named if named else path
    if not source.is_file():
        raise _missing(path, named)
    skips = [facts.get(f"{unit}{blank}skip", "0") for unit in ("line", "byte") for blank in (" ", "")]
    needed = _nrrd_bytes(facts)
    if needed is None or encoding not in _NRRD_PACKED or any(skip != "0" for skip in skips):
        return
    end = re.search(rb"\r?\n\r?\n", head)
    skipped = 0 if named else end.end() if end else len(head)
    if encoding == "raw":
        _compare(source, needed, source.stat().st_size - skipped)
    elif _unpacked(source, skipped) < needed:
        raise FileError(f"{source.name} is cut off or damaged: its voxels cannot be unpacked.", hint=AGAIN)


def _nrrd_bytes(facts: dict[str, str]) -> int | None:
    """Return how many bytes of voxels a NRRD header announces, None when it does not say."""
    kind = re.sub(r"^(unsigned |signed |u)|_t$", "", facts.get("type", "").lower())
    needed = _NRRD_BYTES.get(kind)
    sizes = facts.get("sizes", "").split()
    if needed is None or not sizes or not all(size.isdigit() for size in sizes):
        return None
    for size in sizes:
        needed *= int(size)
    return needed


def _missing(path: Path, named: str) -> FileError:
    return FileError(
        f"{path.name} is a header; the file with its voxels, {named}, is missing.", hint=f"Put it beside {path.name}."
    )


def _unpacked(path: Path, skipped: int) -> int:
    """Return how many bytes a compressed stream behind the first bytes of a file gives, -1 when it is damaged."""
    stream, total = zlib.decompressobj(wbits=47), 0  # zlib or gzip, as its first bytes say
    with path.open("rb") as file:
        file.seek(skipped)
        while not stream.eof and (part := file.read(_PART)):
            try:
                total += len(stream.decompress(part))
            except zlib.error:
                return -1
    return total if stream.eof else -1


def _meta_bytes(facts: dict[str, str]) -> int | None:
    """Return how many bytes of voxels a MetaImage header announces, None when it does not say."""
    try:
        needed = _META_BYTES[facts["ElementType"].removeprefix("MET_").removeprefix("U").removesuffix("_ARRAY")]
        for size in facts["DimSize"].split():
            needed *= int(size)
        return needed * int(facts.get("ElementNumberOfChannels", "1"))
    except (KeyError, ValueError):
        return None


def _check_raw(path: Path, kind: str) -> None:
    """Check a format with uncompressed voxels after a header."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return  # the image reader reports the error
    needed = reader.GetNumberOfComponents() * sitk.Image(1, 1, reader.GetPixelID()).GetSizeOfPixelComponent()
    for size in reader.GetSize():
        needed *= int(size)
    content, _ = read_whole(path)
    header = 0
    if kind == "VTKImageIO":
        header = _vtk_header(content)
        if content[:header].split(b"\n")[2].strip().upper() == b"ASCII":
            needed = 2 * needed // sitk.Image(1, 1, reader.GetPixelID()).GetSizeOfPixelComponent() - 1
    elif kind == "GiplImageIO":
        header = _GIPL_HEADER
    elif kind == "MRCImageIO":
        header = _MRC_HEADER + int.from_bytes(content[_MRC_EXTENSION : _MRC_EXTENSION + 4], "little")
    _compare(path, needed, len(content) - header)


def _vtk_header(content: bytes) -> int:
    """Return where the values of a VTK file begin: behind the line of its lookup table, or of its values."""
    head = content[:_HEAD]
    for word in (b"LOOKUP_TABLE", b"SCALARS", b"VECTORS", b"COLOR_SCALARS"):
        place = head.find(b"\n" + word)
        if place >= 0:
            end = head.find(b"\n", place + 1)
            return len(content) if end < 0 else end + 1
    return 0


def _check_tiff(path: Path) -> None:
    """Follow the chain of pages: each page, and the strips it points to, must lie within the file."""
    size = path.stat().st_size
    try:
        ends = list(_tiff_ends(path))
    except struct.error as error:
        raise FileError(f"{path.name} is cut off within its list of pages.", hint=AGAIN) from error
    if max(ends, default=0) > size:
        raise FileError(f"{path.name} is cut off: its pages reach to byte {max(ends)}, it has {size}.", hint=AGAIN)


def _tiff_ends(path: Path) -> Iterator[int]:
    """Yield where the pages and their strips end; `struct.error` when the file ends within a page."""
    with path.open("rb") as file:
        order, big = {b"II": "<", b"MM": ">"}[file.read(2)], file.read(2).strip(b"\0") == b"+"
        count_of, entry_of, offset_of = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")

        def take(kind: str) -> tuple[int, ...]:
            return struct.unpack(order + kind, file.read(struct.calcsize(order + kind)))

        file.seek(8 if big else 4)
        (place,) = take(offset_of)
        seen = set()
        while place and place not in seen:
            seen.add(place)
            file.seek(place)
            entries = [struct.unpack(order + entry_of, file.read(20 if big else 12)) for _ in range(take(count_of)[0])]
            (place,) = take(offset_of)
            found = {}
            for tag, kind, count, value in entries:
                if kind not in _TIFF_BYTES:
                    continue
                length = _TIFF_BYTES[kind] * count
                if length > len(value):
                    (there,) = struct.unpack(order + offset_of, value)
                    yield there + length
                    file.seek(there)
                    value = file.read(length)
                if tag in (*_STRIP_OFFSETS, *_STRIP_LENGTHS) and kind in _TIFF_LETTERS:
                    found[tag] = struct.unpack(f"{order}{count}{_TIFF_LETTERS[kind]}", value[:length])
            for offsets, lengths in zip(_STRIP_OFFSETS, _STRIP_LENGTHS, strict=True):
                yield from (o + n for o, n in zip(found.get(offsets, ()), found.get(lengths, ()), strict=False))
