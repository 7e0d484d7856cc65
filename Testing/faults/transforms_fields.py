"""Displacement fields of Slicer, ANTs, FSL, NiftyReg, SPM and elastix."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError
from scipy.spatial.transform import Rotation
from transform_samples import (
    GRID_FROM_PARENT_H5,
    GRID_TO_PARENT_H5,
    THIN_PLATE_SPLINE_H5,
    binary,
    field_image,
    gives,
    mapped,
    unpacked,
)

from . import Call, Case, Refused


def slicer_nrrd(
    *lines: str,
    sizes: str = "3 6 6 6",
    kinds: str = "vector domain domain domain",
    space: str = "left-posterior-superior",
    frame: str = "",
) -> bytes:
    """Return a field of (3, 4, 5) as Slicer writes it."""
    head = [
        "NRRD0005",
        "type: float",
        "dimension: 4",
        f"space: {space}",
        f"sizes: {sizes}",
        "space directions: none (20,0,0) (0,20,0) (0,0,20)",
        f"kinds: {kinds}",
        "endian: little",
        "encoding: raw",
        "space origin: (-40,-40,-40)",
        *([f"measurement frame: {frame}"] if frame else []),
        *lines,
        "",
        "",
    ]
    components = int(sizes.split()[0])
    return "\n".join(head).encode() + np.tile(np.arange(3, 3 + components, dtype="<f4"), 216).tobytes()


TYPE = "displacement field type:="
SLICER_CASES = [
    # Moving points are 10, 5, 1 mm to the right, front and top (RAS) of fixed ones: -10, -5, +1 in LPS.
    Case("D", "Slicer grid from parent .h5", binary("t.h5", unpacked(GRID_FROM_PARENT_H5)), gives((0, 15, 31))),
    Case(
        "D",
        "Slicer grid to parent .h5",
        binary("t.h5", unpacked(GRID_TO_PARENT_H5)),
        Refused(FileError, "to parent", "invert"),
    ),
    Case(
        "D",
        "Slicer thin-plate spline .h5",
        binary("t.h5", unpacked(THIN_PLATE_SPLINE_H5)),
        Refused(FileError, "thin-plate spline", "grid transform"),
    ),
    Case("D", "Slicer grid from parent .nrrd", binary("t.nrrd", slicer_nrrd(TYPE + "resampling")), gives((13, 24, 35))),
    Case(
        "D",
        "Slicer grid to parent .nrrd",
        binary("t.nrrd", slicer_nrrd(TYPE + "modeling")),
        Refused(FileError, "to parent", "invert"),
    ),
    Case(
        "D",
        "NRRD field in RAS space",
        binary("t.nrrd", slicer_nrrd(space="right-anterior-superior")),
        Refused(FileError, "space 'right-anterior-superior'"),
    ),
    Case(
        "D",
        "NRRD field with a flipped measurement frame",
        binary("t.nrrd", slicer_nrrd(frame="(-1,0,0) (0,-1,0) (0,0,1)")),
        Refused(FileError, "measurement frame"),
    ),
    Case(
        "D",
        "NRRD field with the identity as measurement frame",
        binary("t.nrrd", slicer_nrrd(frame="(1,0,0) (0,1,0) (0,0,1)")),
        gives((13, 24, 35)),
    ),
    Case(
        "D",
        "NRRD of three volumes (list)",
        binary("t.nrrd", slicer_nrrd(kinds="list domain domain domain")),
        Refused(FileError, "'list'"),
    ),
    Case(
        "D", "NRRD of two components", binary("t.nrrd", slicer_nrrd(sizes="2 6 6 6")), Refused(FileError, "2 component")
    ),
    Case("D", "NRRD field cut at half", binary("t.nrrd", slicer_nrrd()[:1500]), Refused(FileError, "cut off")),
]


RAS_GRID = np.array([[-20.0, 0, 0, 40], [0, -20, 0, 40], [0, 0, 20, -40], [0, 0, 0, 1]])


def nifti(
    name: str = "t.nii.gz",
    *,
    intent: int = 1007,
    intent_name: str = "",
    kind: float = 0,
    shape: Sequence[int] = (6, 6, 6, 1, 3),
    affine: np.ndarray = RAS_GRID,
    values: Any = (3, 4, 5),
    cut: float = 1.0,
    units: str = "mm",
    dtype: Any = np.float32,
    codes: tuple[int, int] | None = None,
) -> Callable[[Path], Call]:
    """Return a build function that lets nibabel write a field."""

    def build(folder: Path) -> Call:
        array = np.zeros(shape, dtype)
        array[...] = values(affine, shape) if callable(values) else np.resize(values, shape[-1])
        image = nib.Nifti1Image(array, affine)
        image.header["intent_code"], image.header["intent_name"] = intent, intent_name
        image.header["intent_p1"] = kind
        image.header.set_xyzt_units(units)
        if codes is not None:
            image.set_qform(affine, codes[0])
            image.set_sform(affine, codes[1])
        nib.save(image, folder / name)
        if cut < 1:
            raw = gzip.decompress((folder / name).read_bytes())
            (folder / name).write_bytes(gzip.compress(raw[: int(len(raw) * cut)]))
        return mapped(folder / name)

    return build


def coordinates(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return where each voxel goes, RAS mm: (-3, -4, 5) from where it is."""
    index = np.stack(np.meshgrid(*map(np.arange, shape[:3]), indexing="ij"), axis=-1)
    return (index @ affine[:3, :3].T + affine[:3, 3] + [-3, -4, 5])[:, :, :, None]


TURNED = np.eye(4)
TURNED[:3, :3] = Rotation.from_euler("xyz", (20, -30, 70), degrees=True).as_matrix() * [-15, 17, 19]
TURNED[:3, 3] = [-10, -20, 30] - TURNED[:3, :3] @ [2.4, 2.6, 2.5]
FIELD_CASES = [
    Case("D", "ANTs 1Warp.nii.gz (intent 1007: LPS)", nifti("1Warp.nii.gz"), gives((13, 24, 35))),
    Case("D", "ANTs 1InverseWarp.nii.gz", nifti("1InverseWarp.nii.gz"), gives((13, 24, 35))),
    Case("D", "NIfTI displacements (intent 1006: RAS)", nifti(intent=1006), gives((7, 16, 35))),
    Case("D", "field on an oblique grid, intent 1006", nifti(intent=1006, affine=TURNED), gives((7, 16, 35))),
    Case("D", "field on an oblique grid, intent 1007", nifti(affine=TURNED), gives((13, 24, 35))),
    Case("D", "NIfTI field without intent", nifti(intent=0), Refused(FileError, "intent code 0", "1007")),
    Case("D", "NIfTI field, intent 1005 (symmetric matrix)", nifti(intent=1005), Refused(FileError, "t.nii.gz")),
    Case("D", "4D NIfTI with 3 frames", nifti(intent=0, shape=(6, 6, 6, 3)), Refused(FileError, "4D NIfTI", "FSL")),
    Case(
        "D",
        "FSL fnirt field",
        nifti(intent=2006, shape=(6, 6, 6, 3)),
        Refused(FileError, "displacement field of FSL fnirt"),
    ),
    Case(
        "D",
        "FSL fnirt coefficients",
        nifti(intent=2007, shape=(6, 6, 6, 3)),
        Refused(FileError, "coefficients of FSL fnirt"),
    ),
    Case("D", "NIfTI field of two times", nifti(shape=(6, 6, 6, 2, 3)), Refused(FileError, "(6, 6, 6, 2, 3)")),
    Case("D", "NIfTI field of two components", nifti(shape=(6, 6, 6, 1, 2)), Refused(FileError, "(6, 6, 6, 1, 2)")),
    Case(
        "D",
        "a volume instead of a field",
        nifti(intent=0, shape=(6, 6, 6)),
        Refused(FileError, "not a displacement field"),
    ),
    Case("D", "NiftyReg displacement field (RAS)", nifti(intent_name="NREG_TRANS", kind=1), gives((7, 16, 35))),
    Case(
        "D",
        "NiftyReg deformation field (RAS coordinates)",
        nifti(intent_name="NREG_TRANS", values=coordinates),
        gives((13, 24, 35)),
    ),
    Case(
        "D",
        "NiftyReg control points (cpp)",
        nifti("cpp.nii.gz", intent_name="NREG_TRANS", kind=2),
        Refused(FileError, "NiftyReg", "reg_transform"),
    ),
    Case(
        "D",
        "old NiftyReg control points",
        nifti("cpp.nii", intent_name="NREG_CPP_FILE"),
        Refused(FileError, "NiftyReg", "reg_transform"),
    ),
    Case(
        "D",
        "SPM y_ field (RAS coordinates)",
        nifti("y_t1.nii", intent_name="Mapping", values=coordinates),
        gives((13, 24, 35)),
    ),
    Case("D", "field of integers", nifti(dtype=np.int16), Refused(FileError, "not a displacement field")),
]


# ITK hides these faults.
HIDDEN_CASES = [
    Case("D", "field with both form codes 0", nifti(codes=(0, 0)), Refused(FileError, "without orientation")),
    Case("D", "field with a qform only", nifti(codes=(1, 0)), gives((13, 24, 35))),
    Case("D", "field with NaN", nifti(values=(np.nan, 0, 0)), Refused(FileError, "not finite")),
    Case("D", "field in micrometers", nifti(units="micron"), Refused(FileError, "micrometers")),
    *(
        Case(
            "D", f"field cut at {n} tenths of its voxels", nifti(cut=n / 10), Refused(FileError, "t.nii.gz", "cut off")
        )
        for n in (1, 3, 5, 7, 9)
    ),
]


def _meta(name: str, kind: int) -> Callable[[Path], Call]:
    def build(folder: Path) -> Call:
        sitk.WriteImage(field_image(kind=kind), str(folder / name))
        return mapped(folder / name)

    return build


FIELD_CASES += [
    Case("D", "MetaImage field of elastix", _meta("deformationField.mhd", sitk.sitkVectorFloat32), gives((13, 24, 35))),
    Case("D", "color image .mha", _meta("t.mha", sitk.sitkVectorUInt8), Refused(FileError, "color image")),
]

CASES = [*SLICER_CASES, *FIELD_CASES, *HIDDEN_CASES]
