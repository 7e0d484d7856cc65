"""NIfTI-1, NIfTI-2 and Analyze 7.5 files, read by their raw header.

ITK's reader fills missing voxels of truncated files with zeros, converts NaN to 0 and does not report which of the two
orientations of a header it uses. The rules of orientation are those of NIfTI as implemented by nibabel.

Reference
---------
https://nifti.nimh.nih.gov/nifti-1 and https://nifti.nimh.nih.gov/nifti-2
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import FileError, GeometryError, RegistrationError
from .channels import scalar_of, wanted_channel
from .grid import Grid, grid_from_ras
from .raw import NIFTI_ENDINGS, RawImage, read_beginning, read_whole
from .volume import Note

Size = tuple[int, int, int]
_FORMS = {0: "unknown", 1: "scanner", 2: "aligned to another image", 3: "Talairach", 4: "MNI 152", 5: "template"}
# An sform with these codes intentionally differs from the qform: it maps to a template space.
_TEMPLATES = (3, 4, 5)
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_S_PER_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}
_UNITS = {0: "not stated", 1: "meters", 2: "millimeters", 3: "micrometers"}
_GUESSED = (
    ": left and right are unknown. It is taken as x toward left, y toward anterior, z toward superior, centered at "
    "the origin, as nibabel does; check it in a viewer."
)
# Two orientations of one header disagree when a corner differs by more than this number of voxels.
_DISAGREE_VOX = 0.1


def nifti_grid(header: Any, size: Size, name: str, notes: list[str]) -> Grid:
    """Return the grid of the voxels; the notes report irregular headers."""
    scale = _mm_per_unit(header, notes)
    forms = _forms(header, size, notes)
    names = list(forms)
    for number, used in enumerate(names):
        matrix = forms[used].copy()
        matrix[:3] *= scale
        try:
            grid = grid_from_ras(matrix, size, name, notes)
        except GeometryError:
            if number + 1 == len(names):
                raise
            text = f"The header's {used} is sheared or not usable; the {names[number + 1]} is used instead."
            notes.append(Note(text, unsound=True))
            continue
        for other in names[number + 1 :]:
            _compare(header, forms, used, other, size, notes)
        return grid
    raise GeometryError(f"{name} has no usable orientation.", hint="Repair the file's header.")


def about_orientation(header: Any) -> dict[str, Any]:
    """Return what `dvcreg info` shows of the header."""
    if is_analyze(header):
        return {"orientation_from": "nothing (Analyze 7.5 has none)"}
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    used = "sform" if sform > 0 else "qform" if qform > 0 else "nothing (both form codes are 0)"
    native, other = ("little", "big") if sys.byteorder == "little" else ("big", "little")
    return {
        "orientation_from": used,
        "sform_code": f"{sform} ({_FORMS.get(sform, 'not defined')})",
        "qform_code": f"{qform} ({_FORMS.get(qform, 'not defined')})",
        "units": _UNITS.get(int(header["xyzt_units"]) & 7, "not defined"),
        "byte_order": native if header.dtype.isnative else other,
        "slope_and_intercept": [float(header["scl_slope"]), float(header["scl_inter"])],
    }


def _mm_per_unit(header: Any, notes: list[str]) -> float:
    if is_analyze(header):
        return 1.0
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        notes.append(f"The header's unit of length {unit} is not defined; millimeters are assumed.")
        return 1.0
    if _MM_PER_UNIT[unit] != 1:
        notes.append(f"The header gives lengths in {_UNITS[unit]}; they were converted to millimeters.")
    return _MM_PER_UNIT[unit]


def _forms(header: Any, size: Size, notes: list[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the (4, 4) matrices from indices to RAS, the one to be used first."""
    zooms = np.abs(header["pixdim"][1:4].astype(float))
    if (header["pixdim"][1:4] < 0).any():
        notes.append("The header has negative voxel sizes; their sign is ignored.")
    forms = {}
    nifti = not is_analyze(header)
    if nifti and header["sform_code"] > 0:
        forms["sform"] = np.vstack([header["srow"].astype(float), [0, 0, 0, 1]])
    if nifti and header["qform_code"] > 0:
        forms["qform"] = _qform(header, zooms)
    if not forms:
        why = "The file states no orientation (both codes are 0)" if nifti else "Analyze 7.5 has no orientation"
        notes.append(Note(why + _GUESSED, unsound=True))
        matrix = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
        matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(size) - 1) / 2)
        forms["voxel sizes"] = matrix
    return forms


def _qform(header: Any, zooms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    b, c, d = (float(value) for value in header["quatern"])
    rest = 1 - (b * b + c * c + d * d)
    a = np.sqrt(max(rest, 0.0))
    norm = np.sqrt(a * a + b * b + c * c + d * d)
    if rest < -1e-3:
        zooms = zooms * np.nan  # no rotation; the caller refuses it or takes another form
    a, b, c, d = (value / norm for value in (a, b, c, d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    hand = -1.0 if header["pixdim"][0] < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * zooms * [1, 1, hand]
    matrix[:3, 3] = header["qoffset"].astype(float)
    return matrix


def _compare(
    header: Any, forms: dict[str, Any], used: str, other: str, size: tuple[int, ...], notes: list[str]
) -> None:
    corners = np.array([[i, j, k, 1] for i in (0, size[0] - 1) for j in (0, size[1] - 1) for k in (0, size[2] - 1)])
    apart = np.linalg.norm((corners @ forms[used].T - corners @ forms[other].T)[:, :3], axis=1).max()
    voxel = np.linalg.norm(forms[used][:3, :3], axis=0).min()
    if not apart <= _DISAGREE_VOX * voxel:
        text = (
            f"The header's two orientations disagree by up to {apart / voxel:.3g} voxels: the {used} is used, as "
            f"nibabel does; the {other} is ignored."
            if np.isfinite(apart)
            else f"The header's {other} holds numbers that are not finite; the {used} is used."
        )
        notes.append(Note(text, unsound=int(header["sform_code"]) not in _TEMPLATES))


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
_OTHER_FORMATS = {b"NRRD": "NRRD", b"ObjectType": "MetaImage", b"# vtk": "VTK", b"\x89HDF": "HDF5", b"\x89PNG": "PNG"}
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
    other = next((name for mark, name in _OTHER_FORMATS.items() if content.startswith(mark)), None)
    if other is not None:
        raise FileError(
            f"{path.name} is no NIfTI file but one of {other}.", hint="Rename it with the usual ending of its format."
        )
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
_COLORS = {128: 3, 2304: 4}  # bytes of a voxel of RGB and RGBA color
_COMPLEX = {32: "complex (2 x 32 bit)", 1792: "complex (2 x 64 bit)", 2048: "complex (2 x 128 bit)"}
_OTHERS = {0: "of unknown type", 1: "single bits", 1536: "128-bit float"}


def read_nifti(path: Path, frame: str | None = None) -> RawImage:
    """Read a 3D NIfTI or Analyze image, or a 2D one as one slice.

    Parameters
    ----------
    path : Path
        The file.
    frame : str, optional
        Number of a frame of a 4D file, counted from 0; or 'channel=1' of a color or vector image.

    Raises
    ------
    FileError
        When the file is not a NIfTI, is shorter than its header says, or has a voxel type that cannot be used.
    GeometryError
        When it is not 3D or its axes are sheared.
    RegistrationError
        When it is a complex image, or a vector image without a chosen channel.
    """
    file = _File.open(path)
    if file.channel_count > 1:
        return file.colored(wanted_channel(frame))
    return file.image(None if frame is None else file.frame_number(frame))


def read_nifti_frames(path: Path) -> Iterator[RawImage]:
    """Yield all frames of a 4D NIfTI file, which is read once; errors as for `read_nifti`."""
    file = _File.open(path)
    lengths = file.dimensions()
    for number in range(lengths[3] if len(lengths) > 3 else 1):
        yield file.image(number)


def nifti_frame_step(path: Path) -> float | None:
    """Return the time between the frames of a 4D NIfTI in seconds, from the header alone; None when not stated."""
    header_path, _ = pair_of(path)
    header = parse_header(read_beginning(header_path, HEADER_BYTES), header_path)
    scale = _S_PER_UNIT.get(int(header["xyzt_units"]) & 0x38) if not is_analyze(header) else None
    step = float(header["pixdim"][4])
    return step * scale if scale is not None and np.isfinite(step) and step > 0 else None


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
        if not path.name.lower().endswith(NIFTI_ENDINGS):
            notes.append("The file is NIfTI by its content, whatever its name says.")
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

    def image(self, number: int | None) -> RawImage:
        """Return a frame, counted from 0, or the only one."""
        size = self.size_3d(framed=number is not None)
        stored = self.voxel_type()
        notes = [*self.notes]
        grid = nifti_grid(self._with_thickness(), size, self.path.name, notes)
        if len(self.dimensions()) == 2:
            notes.append("A 2D image, read as one slice.")
        count = int(np.prod(size))
        first = (number or 0) * count * stored.itemsize
        array = np.frombuffer(self.voxels(), stored, count=count, offset=first).reshape(grid.shape)
        array = self.scaled(array.astype(stored.newbyteorder("="), copy=False), notes)
        kind = f"{self.name}, {stored.newbyteorder('=').name}"
        return RawImage(array, grid, kind, tuple(notes), about_orientation(self.header))

    @property
    def channel_count(self) -> int:
        """Number of values per voxel."""
        lengths = self.dimensions()
        vectors = lengths[4] if len(lengths) == 5 and lengths[3] == 1 else 1
        return _COLORS.get(int(self.header["datatype"]), vectors)

    def colored(self, channel: str | None) -> RawImage:
        """Return a color or vector image: the luminance or one channel, and all of them."""
        name, notes = self.path.name, [*self.notes]
        size = self.size_3d(colored=True)
        grid = nifti_grid(self._with_thickness(), size, name, notes)
        code = int(self.header["datatype"])
        if code in _COLORS:  # interleaved, unlike vectors
            array = np.frombuffer(self.voxels(), "u1").reshape(*grid.shape, _COLORS[code])
        else:
            stored = self.voxel_type()
            values = np.frombuffer(self.voxels(), stored).astype(stored.newbyteorder("="), copy=False)
            array = np.moveaxis(self.scaled(values, notes).reshape(self.channel_count, *grid.shape), 0, -1)
        values, note = scalar_of(array, channel, name)
        kind = f"{self.name}, {self.channel_count} channels of {array.dtype.name}"
        return RawImage(values, grid, kind, (*notes, note), about_orientation(self.header), channels=array)

    def _with_thickness(self) -> Any:
        """Return the header; of a 2D image without a thickness with that of its pixels."""
        if len(self.dimensions()) > 2:
            return self.header
        header = self.header.copy()
        edge = np.abs(header["pixdim"][1:3].astype(float)).min()
        if not header["pixdim"][3] > 0:
            header["pixdim"][3] = edge
        if not is_analyze(header) and header["sform_code"] > 0 and not np.linalg.norm(header["srow"][:, 2]):
            across = np.cross(*(header["srow"][:, axis].astype(float) for axis in (0, 1)))
            header["srow"][:, 2] = across / max(float(np.linalg.norm(across)), 1e-12) * edge
        return header

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
        while len(lengths) > 3 and lengths[-1] == 0:  # some programs count axes that they leave empty
            lengths.pop()
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

    def size_3d(self, *, framed: bool = False, colored: bool = False) -> tuple[int, int, int]:
        """Return the size (i, j, k) of a 2D or 3D image; `framed`: of a frame of a 4D one; `colored`: of vectors."""
        lengths = self.dimensions()
        if (framed and len(lengths) == 4) or (colored and len(lengths) == 5):
            lengths = lengths[:3]
        if len(lengths) == 2:
            lengths = [*lengths, 1]
        if len(lengths) != 3:
            raise GeometryError(
                f"{self.path.name} has {len(lengths)} dimensions {tuple(lengths)}, expected 3.",
                hint=f"Name a frame, counted from 0: {self.path.name}#0." if len(lengths) > 3 else "Give a 3D volume.",
            )
        return lengths[0], lengths[1], lengths[2]

    def voxel_type(self) -> np.dtype[Any]:
        """Return the type of a scalar voxel in the file's byte order, refusing the others by name."""
        code = int(self.header["datatype"])
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
        known = np.dtype(_TYPES[code]).itemsize if code in _TYPES else _COLORS.get(code)
        bits = int(self.header["bitpix"]) if known is None else 8 * known
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
