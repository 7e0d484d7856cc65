"""Voxel types, scales and broken files of NIfTI and FreeSurfer: every value is true, or the file is refused by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
from DeepVsClassicRegLib.core.errors import FileError, GeometryError, RegistrationError
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume
from DeepVsClassicRegLib.core.transforms.files import read_transform
from nifti_samples import AFFINE, INDEX, SIZE, first, image, packed, put, reads, stored, true, two_forms

from . import Case, Gives, Refused
from .headers import shape_of


def _typed(kind: str) -> Callable[[], Any]:
    return lambda: nib.Nifti1Image(np.round(stored()).astype(kind), AFFINE, dtype=kind)


def _scaled(slope: float, intercept: float) -> Callable[[bytearray], None]:
    return put(112, "<f4", slope, intercept)


def _volume_of(array: np.ndarray) -> Callable[[], Any]:
    return lambda: nib.Nifti1Image(array, AFFINE)


VALUE_CASES = [
    *(
        Case("B", f"true places, type {kind}", reads(_typed(kind)), true(tolerance=0.51))
        for kind in ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    ),
    Case("B", "true places, type float64", reads(_typed("float64")), true(tolerance=0.51)),
    Case(
        "B",
        "big endian, true places",
        reads(lambda: nib.Nifti1Image(stored().astype(">f4"), AFFINE, nib.Nifti1Header(endianness=">"))),
        true(),
    ),
    Case(
        "B",
        "complex numbers",
        reads(_volume_of(np.zeros((5, 5, 5), np.complex64))),
        Refused(RegistrationError, "complex", "magnitude"),
    ),
    Case(
        "B",
        "RGB",
        reads(_volume_of(np.zeros((5, 5, 5), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])))),
        Gives([5, 5, 5], read=shape_of, notes=["luminance"]),
    ),
    Case("B", "128-bit float", reads(image, patch=put(70, "<i2", 1536)), Refused(FileError, "128-bit", "Convert")),
    Case("B", "type that does not exist", reads(image, patch=put(70, "<i2", 99)), Refused(FileError, "type 99")),
    Case("B", "single bits", reads(image, patch=put(70, "<i2", 1, 1)), Refused(FileError, "single bits")),
    Case("B", "slope 0", reads(_typed("int16"), patch=_scaled(0, 7)), true(tolerance=0.51)),
    Case("B", "slope NaN", reads(_typed("int16"), patch=_scaled(np.nan, np.nan)), true(tolerance=0.51)),
    Case(
        "B",
        "slope and intercept, by hand",
        reads(_volume_of(np.full(SIZE, 40, np.int16)), patch=_scaled(0.5, -3)),
        first(17),
    ),
    Case(
        "B",
        "slope with intercept NaN",
        reads(_volume_of(np.full(SIZE, 40, np.int16)), patch=_scaled(0.5, np.nan)),
        first(20, "intercept"),
    ),
    Case(
        "B",
        "labels as scaled integers",
        lambda folder: (
            reads(_volume_of(np.full(SIZE, 3, np.int16)), patch=_scaled(1, 2))(folder),
            lambda: read_labels(folder / "a.nii.gz"),
        )[1],
        Gives((5,), read=lambda run: run.value.labels),
    ),
    Case(
        "B",
        "NaN and Inf",
        reads(_volume_of(np.where(INDEX[..., 0] < 3, np.nan, np.where(INDEX[..., 0] < 6, np.inf, 7)).astype("f4"))),
        Gives(0.5, read=lambda run: float(run.value.valid.mean()), notes=["480 voxels (50 %)", "not measured"]),
    ),
    Case(
        "B",
        "nothing but NaN",
        reads(_volume_of(np.full(SIZE, np.nan, np.float32))),
        Refused(RegistrationError, "no finite value"),
    ),
    Case("B", "4D with one frame, true places", reads(_volume_of(stored().astype(np.float32)[..., None])), true()),
    Case(
        "B",
        "4D with two frames",
        reads(_volume_of(np.zeros((5, 5, 5, 2), np.float32))),
        Refused(GeometryError, "4 dimensions", "frame"),
    ),
    Case(
        "B",
        "vectors",
        reads(_volume_of(np.zeros((5, 5, 5, 1, 3), np.float32))),
        Refused(RegistrationError, "3 components"),
    ),
    Case(
        "B",
        "2D, by hand",
        reads(_volume_of(np.zeros((5, 5), np.float32))),
        Gives([1, 5, 5], read=shape_of, notes=["2D"]),
    ),
]


def _two_members(content: bytes) -> bytes:
    whole = gzip.decompress(content)
    return gzip.compress(whole[:999]) + gzip.compress(whole[999:])


FILE_CASES = [
    *(
        Case(
            "B",
            f"{name} cut at {tenth} tenths",
            packed(lambda content, tenth=tenth: content[: len(content) * tenth // 10], name),
            Refused(FileError, "cut off"),
        )
        for tenth in range(1, 10)
        for name in ("a.nii", "a.nii.gz")
    ),
    *(
        Case(
            "B",
            f".mgz cut at {tenth} tenths",
            lambda folder, tenth=tenth: (
                nib.save(image(kind=nib.MGHImage), folder / "a.mgh"),
                (folder / "a.mgh").write_bytes((folder / "a.mgh").read_bytes()[: 4124 * tenth // 10]),
                lambda: read_volume(folder / "a.mgh"),
            )[2],
            Refused(FileError, "cut off"),
        )
        for tenth in (0, 3, 6, 9)
    ),
    Case("B", "empty file", packed(lambda content: b"", "a.nii"), Refused(FileError, "no NIfTI header")),
    Case("B", "checksum cut off", packed(lambda content: content[:-4]), Refused(FileError, "cut off")),
    Case(
        "B",
        "damaged in the middle",
        packed(lambda content: content[:900] + bytes(200) + content[1100:]),
        Refused(FileError, "a.nii.gz"),
    ),
    Case("B", "bytes behind the gzip stream", packed(lambda content: content + b"garbage"), true("7 bytes")),
    Case("B", "zeros behind the gzip stream", packed(lambda content: content + bytes(512)), true()),
    Case("B", "gzip of two members", packed(_two_members), true()),
    Case("B", ".nii.gz that is not compressed", packed(gzip.decompress), true("not compressed")),
    Case("B", ".nii that is compressed", packed(gzip.compress, "a.nii"), true("compressed")),
    Case("B", "text called .nii", packed(lambda content: b"hello " * 99, "a.nii"), Refused(FileError, "NIfTI header")),
    Case("B", "mark missing", reads(image, patch=put(344, "u1", 0, 0, 0, 0)), Refused(FileError, "NIfTI mark")),
    Case("B", "sizes too large", reads(image, patch=put(42, "<i2", 3000, 3000, 3000)), Refused(FileError, "cut off")),
    Case("B", "a negative size", reads(image, patch=put(42, "<i2", -5)), Refused(FileError, "are not valid")),
    Case("B", "no dimensions", reads(image, patch=put(40, "<i2", 0)), Refused(FileError, "are not valid")),
    Case("B", "nine dimensions", reads(image, patch=put(40, "<i2", 9)), Refused(FileError, "are not valid")),
    Case("B", "voxels begin at 0", reads(image, patch=put(108, "<f4", 0)), true("byte 352")),
    Case("B", "voxels begin in the header", reads(image, patch=put(108, "<f4", 100)), Refused(FileError, "byte 100")),
    Case("B", "voxels begin at NaN", reads(image, patch=put(108, "<f4", np.nan)), Refused(FileError, "begin at byte")),
    Case(
        "B",
        "a cut file of vectors",
        lambda folder: (
            nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 1, 3), np.float32), AFFINE), folder / "a.nii"),
            (folder / "a.nii").write_bytes((folder / "a.nii").read_bytes()[:5000]),
            lambda: read_transform(folder / "a.nii"),
        )[2],
        Refused(FileError, "cut off"),
    ),
    Case(
        "B",
        "info shows forms, codes and units",
        lambda folder: (nib.save(two_forms(4), folder / "a.nii.gz"), ["info", "a.nii.gz"])[1],
        Gives(True, read=lambda run: run.code == 0, notes=["sform", "4 (MNI", "1 (scanner", "disagree"]),
    ),
    Case(
        "B",
        "info of a FreeSurfer volume",
        lambda folder: (nib.save(image(kind=nib.MGHImage), folder / "a.mgz"), ["info", "a.mgz"])[1],
        Gives(True, read=lambda run: run.code == 0, notes=["FreeSurfer", "12, 10, 8"]),
    ),
]

CASES = [*VALUE_CASES, *FILE_CASES]
