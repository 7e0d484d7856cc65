"""NIfTI-1, NIfTI-2 and Analyze 7.5 files, read by their raw header.

ITK's reader fills missing voxels of truncated files with zeros, converts NaN to 0 and does not report which of the two
orientations of a header it uses. The rules of orientation are those of NIfTI as implemented by nibabel.

Reference
---------
https://nifti.nimh.nih.gov/nifti-1 and https://nifti.nimh.nih.gov/nifti-2
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError, GeometryError, RegistrationError
from .nifti_header import COMPLETE, is_analyze, pair_of, parse_header, voxels_start
from .nifti_orientation import about_orientation, nifti_grid
from .raw import RawImage
from .stream import read_beginning, read_whole

ENDINGS = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
HEADER_BYTES = 1024
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_COLORS = {128: "RGB color", 2304: "RGBA color"}
_COMPLEX = {32: "complex (2 x 32 bit)", 1792: "complex (2 x 64 bit)", 2048: "complex (2 x 128 bit)"}
_OTHERS = {0: "of unknown type", 1: "single bits", 1536: "128-bit float"}


def is_nifti(path: Path) -> bool:
    """Return whether the file's name is one of NIfTI or Analyze."""
    return path.name.lower().endswith(ENDINGS)


def read_nifti(path: Path, frame: str | None = None) -> RawImage:
    """Read a scalar 3D NIfTI or Analyze image.

    Parameters
    ----------
    path : Path
        The file.
    frame : str, optional
        Number of a frame of a 4D file, counted from 0.

    Raises
    ------
    FileError
        When the file is not a NIfTI, is shorter than its header says, or has a voxel type that cannot be used.
    GeometryError
        When it is not 3D or its axes are sheared.
    RegistrationError
        When it is a color, vector or complex image.
    """
    file = _File.open(path)
    number = None if frame is None else file.frame_number(frame)
    size = file.size_3d(framed=number is not None)
    stored = file.voxel_type()
    notes = [*file.notes]
    grid = nifti_grid(file.header, size, path.name, notes)
    count = int(np.prod(size))
    first = (number or 0) * count * stored.itemsize
    array = np.frombuffer(file.voxels(), stored, count=count, offset=first).reshape(grid.shape)
    array = file.scaled(array.astype(stored.newbyteorder("="), copy=False), notes)
    return RawImage(
        array, grid, f"{file.name}, {stored.newbyteorder('=').name}", tuple(notes), about_orientation(file.header)
    )


def check_nifti(path: Path) -> tuple[str, ...]:
    """Check that a NIfTI file of any dimension is as long as its header says, and return notes about it.

    Raises
    ------
    FileError
        When the file is not a NIfTI or is shorter than its header says.
    """
    file = _File.open(path)
    file.voxels()
    return file.notes


def nifti_dimensions(path: Path) -> tuple[int, ...]:
    """Return the lengths of all axes, read from the header alone; those of length 1 behind the third are left out.

    Raises
    ------
    FileError
        When the file is missing or has no valid NIfTI header.
    """
    header_path, _ = pair_of(path)
    content = read_beginning(header_path, HEADER_BYTES)
    file = _File(path, parse_header(content, header_path), b"", 0, ())
    file.voxel_type()
    return tuple(file.dimensions())


def stored_numbers(path: Path, kind: str) -> npt.NDArray[Any]:
    """Return all numbers of a NIfTI file of any dimension as they are stored, (N,), in the file's byte order.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        numpy's name of the stored type without byte order, such as 'f4'.

    Raises
    ------
    FileError
        When the file is not a NIfTI or is shorter than its header says.
    """
    file = _File.open(path)
    return np.frombuffer(file.voxels(), np.dtype(kind).newbyteorder(file.header.dtype["datatype"].byteorder))


def components(path: Path) -> int:
    """Return how many components a voxel of a NIfTI file has: 1 unless it is a vector image."""
    lengths = _File.open(path).dimensions()
    return lengths[4] if len(lengths) == 5 and lengths[3] == 1 else 1


@dataclass(frozen=True)
class _File:
    """The header and the bytes of a NIfTI file."""

    path: Path
    header: Any
    data: bytes
    offset: int
    notes: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> _File:
        """Read header and voxels, from two files where the format has them."""
        header_path, image_path = pair_of(path)
        content, notes = read_whole(header_path)
        header = parse_header(content, header_path)
        magic = bytes(header["magic"])
        if header_path == image_path and not magic.startswith((b"n+", b"ni")):
            raise FileError(f"Could not read {path.name}: its header has no NIfTI mark ({magic!r}).", hint=COMPLETE)
        single = magic.startswith(b"n+")
        if single or header_path == image_path:
            offset, odd = voxels_start(header, path)
            return cls(path, header, content, offset, (*notes, *odd))
        data, more = read_whole(image_path)
        return cls(path, header, data, int(max(0, header["vox_offset"])), (*notes, *more))

    @property
    def name(self) -> str:
        """What kind of file this is."""
        if is_analyze(self.header):
            return "Analyze 7.5"
        return "NIfTI-1" if self.header["sizeof_hdr"] == 348 else "NIfTI-2"

    def dimensions(self) -> list[int]:
        """Return the lengths of all axes, without those of length 1 behind the third."""
        count = int(self.header["dim"][0])
        lengths = [int(n) for n in self.header["dim"][1 : count + 1]]
        if not 1 <= count <= 7 or min(lengths) < 1:
            raise FileError(
                f"{self.path.name}: the header's dimensions {self.header['dim'].tolist()} are not valid.",
                hint="The header is damaged; export or convert the image again.",
            )
        while len(lengths) > 3 and lengths[-1] == 1:
            lengths.pop()
        return lengths

    def frame_number(self, frame: str) -> int:
        """Return the number of a frame of this file, checked."""
        lengths = self.dimensions()
        frames = lengths[3] if len(lengths) > 3 else 1
        if not frame.isdigit() or int(frame) >= frames:
            raise FileError(
                f"{self.path.name} has no frame '{frame}': it has {frames} frame{'s' if frames > 1 else ''}.",
                hint=f"Frames are counted from 0 to {frames - 1}.",
            )
        return int(frame)

    def size_3d(self, *, framed: bool = False) -> tuple[int, int, int]:
        """Return the size (i, j, k), refusing everything that is no scalar 3D image or, if `framed`, 4D."""
        lengths = self.dimensions()
        if framed and len(lengths) == 4:
            lengths = lengths[:3]
        if len(lengths) == 5 and lengths[3] == 1:
            raise RegistrationError(
                f"{self.path.name} has {lengths[4]} components per voxel (a vector image).",
                hint="Only scalar volumes can be registered; a displacement field is given as a transform.",
            )
        if len(lengths) != 3:
            raise GeometryError(
                f"{self.path.name} has {len(lengths)} dimensions {tuple(lengths)}, expected 3.",
                hint=f"Name a frame, counted from 0: {self.path.name}#0." if len(lengths) > 3 else "Give a 3D volume.",
            )
        return lengths[0], lengths[1], lengths[2]

    def voxel_type(self) -> np.dtype[Any]:
        """Return the type of a scalar voxel in the file's byte order, refusing the others by name."""
        code = int(self.header["datatype"])
        if code in _COLORS:
            raise RegistrationError(
                f"{self.path.name} is a {_COLORS[code]} image.",
                hint="Only scalar volumes can be registered; extract one component first.",
            )
        if code in _COMPLEX:
            raise RegistrationError(
                f"{self.path.name} contains {_COMPLEX[code]} numbers.",
                hint="Save its magnitude as a float image first (fslcomplex -realabs, or abs() with nibabel).",
            )
        if code not in _TYPES:
            raise FileError(
                f"{self.path.name} has voxels {_OTHERS.get(code, f'of unknown type {code}')}, which cannot be read.",
                hint="Convert it to a 16-bit integer or 32-bit float NIfTI first.",
            )
        return np.dtype(_TYPES[code]).newbyteorder(self.header.dtype["datatype"].byteorder)

    def voxels(self) -> memoryview:
        """Return the bytes of the voxels, all that the header announces."""
        code = int(self.header["datatype"])
        bits = 8 * np.dtype(_TYPES[code]).itemsize if code in _TYPES else int(self.header["bitpix"])
        needed = (int(np.prod(self.dimensions(), dtype=object)) * bits + 7) // 8
        there = max(0, len(self.data) - self.offset)
        if there < needed:
            raise FileError(
                f"{self.path.name} is cut off: its header gives {needed} bytes of voxels, the file has {there} "
                f"({100 * there / needed:.0f} %).",
                hint="Copy or download the file again.",
            )
        return memoryview(self.data)[self.offset : self.offset + needed]

    def scaled(self, array: npt.NDArray[Any], notes: list[str]) -> npt.NDArray[Any]:
        """Return the voxel values after the header's slope and intercept; integers stay integers where they can."""
        slope, intercept = float(self.header["scl_slope"]), float(self.header["scl_inter"])
        if is_analyze(self.header) or not np.isfinite(slope) or slope == 0:
            return array
        if not np.isfinite(intercept):
            notes.append(f"The header's intercept is {intercept}; it is taken as 0.")
            intercept = 0.0
        if (slope, intercept) == (1, 0):
            return array
        if array.dtype.kind != "f" and slope == 1 and intercept == int(intercept):
            return array.astype(np.int64) + int(intercept)
        kind = np.dtype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
        return np.asarray(array.astype(kind) * kind.type(slope) + kind.type(intercept))
