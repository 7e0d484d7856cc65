"""FreeSurfer: volumes in .mgz files, names and colors of brain structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import FileError, GeometryError
from .grid import grid_from_ras
from .raw import RawImage, read_whole
from .volume import Note

STRUCTURES: dict[int, tuple[str, tuple[int, int, int]]] = {
    2: ("Left-Cerebral-White-Matter", (245, 245, 245)),
    3: ("Left-Cerebral-Cortex", (205, 62, 78)),
    4: ("Left-Lateral-Ventricle", (120, 18, 134)),
    5: ("Left-Inf-Lat-Vent", (196, 58, 250)),
    7: ("Left-Cerebellum-White-Matter", (220, 248, 164)),
    8: ("Left-Cerebellum-Cortex", (230, 148, 34)),
    10: ("Left-Thalamus", (0, 118, 14)),
    11: ("Left-Caudate", (122, 186, 220)),
    12: ("Left-Putamen", (236, 13, 176)),
    13: ("Left-Pallidum", (12, 48, 255)),
    14: ("3rd-Ventricle", (204, 182, 142)),
    15: ("4th-Ventricle", (42, 204, 164)),
    16: ("Brain-Stem", (119, 159, 176)),
    17: ("Left-Hippocampus", (220, 216, 20)),
    18: ("Left-Amygdala", (103, 255, 255)),
    24: ("CSF", (60, 60, 60)),
    26: ("Left-Accumbens-area", (255, 165, 0)),
    28: ("Left-VentralDC", (165, 42, 42)),
    41: ("Right-Cerebral-White-Matter", (245, 245, 245)),
    42: ("Right-Cerebral-Cortex", (205, 62, 78)),
    43: ("Right-Lateral-Ventricle", (120, 18, 134)),
    44: ("Right-Inf-Lat-Vent", (196, 58, 250)),
    46: ("Right-Cerebellum-White-Matter", (220, 248, 164)),
    47: ("Right-Cerebellum-Cortex", (230, 148, 34)),
    49: ("Right-Thalamus", (0, 118, 14)),
    50: ("Right-Caudate", (122, 186, 220)),
    51: ("Right-Putamen", (236, 13, 176)),
    52: ("Right-Pallidum", (13, 48, 255)),
    53: ("Right-Hippocampus", (220, 216, 20)),
    54: ("Right-Amygdala", (103, 255, 255)),
    58: ("Right-Accumbens-area", (255, 165, 0)),
    60: ("Right-VentralDC", (165, 42, 42)),
}
"""Label -> name and color (red, green, blue, 0 to 255) in FreeSurferColorLUT.txt."""


_HEADER = np.dtype(
    [
        ("version", ">i4"),
        ("size", ">i4", 3),
        ("frames", ">i4"),
        ("type", ">i4"),
        ("dof", ">i4"),
        ("good_ras", ">i2"),
        ("spacing", ">f4", 3),
        ("axes", ">f4", (3, 3)),
        ("center", ">f4", 3),
    ]
)
_DATA_START = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
# What FreeSurfer assumes without an orientation: a coronal image, x toward left, y toward inferior, z toward anterior.
_CORONAL = np.array([[-1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])


def read_mgh(path: Path) -> RawImage:
    """Read a scalar 3D FreeSurfer volume.

    Raises
    ------
    FileError
        When the file is no such volume or is shorter than its header says.
    GeometryError
        When it has several frames or its axes are sheared.
    """
    content, notes = read_whole(path)
    if len(content) < _DATA_START:
        raise FileError(f"{path.name} is cut off inside its header ({len(content)} of {_DATA_START} bytes).")
    header = np.frombuffer(content, _HEADER, count=1)[0]
    size = tuple(int(n) for n in header["size"])
    if header["version"] != 1 or min(size) < 1 or int(header["type"]) not in _TYPES:
        raise FileError(
            f"Could not read {path.name}: it has no FreeSurfer header (version {header['version']}, size {size}, "
            f"voxel type {header['type']}).",
            hint="Convert it with mri_convert first if FreeSurfer itself can read it.",
        )
    if header["frames"] != 1:
        raise GeometryError(
            f"{path.name} has 4 dimensions ({header['frames']} frames), expected 3.",
            hint="Extract one frame first (mri_convert --frame 0).",
        )
    stored = np.dtype(_TYPES[int(header["type"])])
    count = int(np.prod(size, dtype=object))
    there, needed = len(content) - _DATA_START, count * stored.itemsize
    if there < needed:
        raise FileError(
            f"{path.name} is cut off: its header gives {needed} bytes of voxels, the file contains {there} "
            f"({100 * there / needed:.0f} %).",
            hint="Copy or download the file again.",
        )
    spacing, axes, center = (header[name].astype(float) for name in ("spacing", "axes", "center"))
    if header["good_ras"] <= 0:
        spacing, axes, center = np.ones(3), _CORONAL, np.zeros(3)
        notes.append(
            Note("The file states no orientation; it is taken as coronal, 1 mm, as FreeSurfer does.", unsound=True)
        )
    matrix = np.eye(4)
    matrix[:3, :3] = axes.T * spacing
    matrix[:3, 3] = center - matrix[:3, :3] @ (np.array(size) / 2)
    grid = grid_from_ras(matrix, (size[0], size[1], size[2]), path.name, notes)
    array = np.frombuffer(content, stored, count=count, offset=_DATA_START).reshape(grid.shape)
    native = stored.newbyteorder("=")
    return RawImage(array.astype(native), grid, f"FreeSurfer volume, {native.name}", tuple(notes))
