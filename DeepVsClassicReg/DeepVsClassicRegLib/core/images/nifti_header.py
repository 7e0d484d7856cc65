"""The headers of NIfTI-1, NIfTI-2 and Analyze 7.5 files, and which files hold header and voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import FileError

_NIFTI_1 = np.dtype(
    [
        ("sizeof_hdr", "i4"),
        ("unused_1", "S36"),
        ("dim", "i2", 8),
        ("intent_p", "f4", 3),
        ("intent_code", "i2"),
        ("datatype", "i2"),
        ("bitpix", "i2"),
        ("slice_start", "i2"),
        ("pixdim", "f4", 8),
        ("vox_offset", "f4"),
        ("scl_slope", "f4"),
        ("scl_inter", "f4"),
        ("slice_end", "i2"),
        ("slice_code", "u1"),
        ("xyzt_units", "u1"),
        ("unused_2", "S128"),
        ("qform_code", "i2"),
        ("sform_code", "i2"),
        ("quatern", "f4", 3),
        ("qoffset", "f4", 3),
        ("srow", "f4", (3, 4)),
        ("intent_name", "S16"),
        ("magic", "S4"),
    ]
)
_NIFTI_2 = np.dtype(
    [
        ("sizeof_hdr", "i4"),
        ("magic", "S8"),
        ("datatype", "i2"),
        ("bitpix", "i2"),
        ("dim", "i8", 8),
        ("intent_p", "f8", 3),
        ("pixdim", "f8", 8),
        ("vox_offset", "i8"),
        ("scl_slope", "f8"),
        ("scl_inter", "f8"),
        ("unused_1", "S152"),
        ("qform_code", "i4"),
        ("sform_code", "i4"),
        ("quatern", "f8", 3),
        ("qoffset", "f8", 3),
        ("srow", "f8", (3, 4)),
        ("slice_code", "i4"),
        ("xyzt_units", "i4"),
        ("intent_code", "i4"),
        ("intent_name", "S16"),
        ("unused_2", "S16"),
    ]
)
_LAYOUTS = {348: _NIFTI_1, 540: _NIFTI_2}
_SMALLEST_OFFSET = {348: 352, 540: 544}
COMPLETE = "Is it complete, and a NIfTI file at all?"


def pair_of(path: Path) -> tuple[Path, Path]:
    """Return the files of header and voxels; the same twice for a single file."""
    lower = path.name.lower()
    packed = lower.endswith(".gz")
    bare = path.with_name(path.name[:-3]) if packed else path
    other = {".hdr": ".img", ".img": ".hdr"}.get(bare.suffix.lower())
    if other is None:
        return path, path
    upper = bare.suffix.isupper()
    for candidate in (other, other + ".gz"):
        partner = bare.with_suffix(candidate.upper() if upper else candidate)
        if partner.is_file():
            return (path, partner) if other == ".img" else (partner, path)
    raise FileError(
        f"{path.name} is one half of a pair: {bare.with_suffix(other).name} is missing.",
        hint="Put both files into one folder.",
    )


def parse_header(content: bytes, path: Path) -> Any:
    """Return the header at the beginning of a file, as a record of the layout and byte order that it has."""
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        length = int(np.frombuffer(content, order + "i4", count=1)[0]) if len(content) >= 4 else 0
        layout = _LAYOUTS.get(length)
        if layout is None:
            continue
        if len(content) < length:
            raise FileError(
                f"{path.name} is cut off inside its header ({len(content)} of {length} bytes).",
                hint="Copy or download the file again.",
            )
        header = np.frombuffer(content, layout.newbyteorder(order), count=1)[0]
        if length == 540 and not bytes(header["magic"]).startswith((b"n+2", b"ni2")):
            break
        return header
    raise FileError(f"Could not read {path.name}: it has no NIfTI header.", hint=COMPLETE)


def voxels_start(header: Any, path: Path) -> tuple[int, list[str]]:
    """Return where the voxels begin in a single file, and what was odd about it."""
    smallest = _SMALLEST_OFFSET[int(header["sizeof_hdr"])]
    offset = float(header["vox_offset"])
    if offset == 0:
        return smallest, [f"The header does not say where the voxels begin; byte {smallest} is assumed."]
    if not np.isfinite(offset) or offset < smallest or offset != int(offset):
        raise FileError(
            f"{path.name}: the header says that the voxels begin at byte {offset:g}, expected {smallest} or more.",
            hint="The header is damaged; export or convert the image again.",
        )
    return int(offset), []


def is_analyze(header: Any) -> bool:
    """Return whether a header is one of Analyze 7.5, which has neither orientation nor units nor slope."""
    return not bytes(header["magic"]).startswith((b"n+", b"ni"))
