"""Formats that only ITK reads: whole they give their voxels, cut off anywhere they are refused in our words alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.transforms.files import read_transform

from . import Call, Case, Gives, Refused

SIZE = (14, 12, 10)
VALUES = np.random.default_rng(3).integers(0, 4000, SIZE[::-1]).astype(np.float32)
# Format -> whether ITK packs it, and the file that holds the voxels.
FORMATS = {
    "image.mha": (False, "image.mha"),
    "packed.mha": (True, "packed.mha"),
    "image.mhd": (False, "image.raw"),
    "packed.mhd": (True, "packed.zraw"),
    "image.vtk": (False, "image.vtk"),
    "image.gipl": (False, "image.gipl"),
    "image.gipl.gz": (False, "image.gipl.gz"),
    "image.mrc": (False, "image.mrc"),
    "image.tif": (False, "image.tif"),
    "packed.tif": (True, "packed.tif"),
    "image.hdf5": (False, "image.hdf5"),
}


def written(name: str, share: float = 1.0) -> Callable[[Path], Call]:
    """Return a `build` that writes a volume, keeps a share of the bytes of its voxels' file, and reads it."""

    def build(folder: Path) -> Call:
        packed, data = FORMATS[name]
        sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(folder / name), useCompression=packed)
        content = (folder / data).read_bytes()
        (folder / data).write_bytes(content[: int(len(content) * share)])
        return lambda: read_volume(folder / name)

    return build


def by_hand(name: str, content: bytes) -> Callable[[Path], Call]:
    def build(folder: Path) -> Call:
        (folder / name).write_bytes(content)
        return lambda: read_volume(folder / name)

    return build


def vtk(kind: str, body: bytes) -> bytes:
    head = f"# vtk DataFile Version 3.0\nmade by hand\n{kind}\nDATASET STRUCTURED_POINTS\nDIMENSIONS 3 2 2\n"
    head += "SPACING 1 1 1\nORIGIN 0 0 0\nPOINT_DATA 12\nSCALARS scalars float 1\nLOOKUP_TABLE default\n"
    return head.encode() + body


def field(name: str, share: float) -> Callable[[Path], Call]:
    """Return a `build` of a displacement field in an image file of which a share of the bytes is left."""

    def build(folder: Path) -> Call:
        image = sitk.GetImageFromArray(np.ones((*SIZE[::-1], 3)), isVector=True)
        sitk.WriteImage(image, str(folder / name))
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])
        return lambda: read_transform(folder / name)

    return build


def meta(*, kind: str = "MET_USHORT", channels: int = 1, more: str = "", data: bytes = b"") -> bytes:
    head = f"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = {kind}\n{more}"
    head += f"ElementNumberOfChannels = {channels}\nElementDataFile = LOCAL\n"
    return head.encode() + data


def _array(run: Any) -> Any:
    return run.value.array


ASCII = b"".join(b"%d " % number for number in range(12))
CASES = [
    *(Case("B", f"{name} as ITK writes it", written(name), Gives(VALUES, read=_array)) for name in FORMATS),
    *(
        Case("B", f"{name} cut at {100 * share:g} %", written(name, share), Refused(FileError, FORMATS[name][1]))
        for name in FORMATS
        for share in (0.0, 0.02, 0.1, 0.4, 0.7, 0.9, 0.99, 0.999)
    ),
    Case(
        "B",
        "a VTK file of text",
        by_hand("a.vtk", vtk("ASCII", ASCII)),
        Gives(np.arange(12).reshape(2, 2, 3), read=_array),
    ),
    Case("B", "a VTK file of text, cut", by_hand("a.vtk", vtk("ASCII", ASCII[:10])), Refused(FileError, "a.vtk")),
    Case("B", "a VTK file cut behind its header", by_hand("a.vtk", vtk("BINARY", b"")), Refused(FileError, "cut off")),
    Case(
        "B",
        "MetaImage of 16-bit numbers, one voxel short",
        by_hand("m.mha", meta(data=b"\1\0" * 63)),
        Refused(FileError, "m.mha", "128 bytes", "126"),
    ),
    Case(
        "B",
        "MetaImage of 16-bit numbers",
        by_hand("m.mha", meta(data=b"\1\0" * 64)),
        Gives(np.ones((4, 4, 4)), read=_array),
    ),
    Case(
        "B",
        "MetaImage without an end of its header",
        by_hand("m.mha", meta()[:-20]),
        Refused(FileError, "m.mha", "cut off"),
    ),
    Case(
        "B",
        "MetaImage whose packed length is wrong",
        by_hand("m.mha", meta(more="CompressedData = True\nCompressedDataSize = 999\n", data=b"x" * 50)),
        Refused(FileError, "m.mha", "999"),
    ),
    Case(
        "B",
        "MetaImage packed with garbage",
        by_hand("m.mha", meta(more="CompressedData = True\nCompressedDataSize = 50\n", data=b"x" * 50)),
        Refused(FileError, "m.mha"),
    ),
    Case(
        "B",
        "MetaImage packed, cut, without its length",
        by_hand("m.mha", meta(more="CompressedData = True\n", data=b"\x78\x9c" + b"x" * 20)),
        Refused(FileError, "m.mha"),
    ),
    *(
        Case("D", f"field in {name} cut at {100 * share:g} %", field(name, share), Refused(FileError, name, "cut off"))
        for name in ("field.mha", "field.nrrd")
        for share in (0.1, 0.5, 0.99)
    ),
    *(
        Case("B", f"{what}, named as NIfTI", by_hand(name, content), Refused(FileError, name))
        for name, what, content in (
            ("page.nii.gz", "an error page of a web server", b"<html>404</html>" * 50),
            ("pointer.nii.gz", "a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\nsize 12\n"),
            ("empty.nii.gz", "an empty file", b""),
            ("zeros.nii", "zeros alone", bytes(1000)),
        )
    ),
    Case(
        "B",
        "a text named as MetaImage",
        by_hand("text.mha", b"ObjectType is not here\n"),
        Refused(FileError, "text.mha"),
    ),
    Case(
        "B",
        "numbers beyond single precision",
        by_hand("huge.mha", meta(kind="MET_DOUBLE", data=np.r_[1e300, np.ones(63)].tobytes())),
        Gives(1, read=lambda run: int((~run.value.valid).sum()), notes=["NaN or Inf"], silent=["overflow"]),
    ),
]
