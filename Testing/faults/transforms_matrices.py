"""Matrices of c3d, ITK-SNAP, NiftyReg, FSL, AFNI, FreeSurfer and MNI."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from transform_samples import (
    FLIP,
    POINT,
    SHEARED,
    about,
    binary,
    gives,
    itk,
    mapped,
    text,
)

from . import Call, Case, Refused

RAS_ROWS = "1 0 0 10\n0 1 0 -5\n0 0 1 2\n0 0 0 1\n"
MATRIX = np.array([[0.99, -0.1, 0.05, 4], [0.1, 0.98, 0.02, -6], [-0.05, 0.03, 1.01, 8], [0, 0, 0, 1]])
PLAIN = "\n".join(" ".join(f"{v:.9f}" for v in row) for row in MATRIX) + "\n"
FLIRT = "\n".join("".join(f"{v:.9f}  " for v in row) for row in MATRIX) + "\n"
FIXED_RAS = np.array([[-2.0, 0, 0, 60], [0, 2.5, 0, -70], [0, 0, 3, -80], [0, 0, 0, 1]])
MOVING_RAS = np.array([[1.5, 0.1, 0, -40], [-0.1, 1.5, 0, -50], [0, 0, 2, -60], [0, 0, 0, 1]])


def lps(ras: np.ndarray) -> np.ndarray:
    """Return where a RAS matrix brings the LPS point."""
    return (FLIP @ ras @ FLIP @ [*POINT, 1])[:3]


def fsl_voxels(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return FSL's map from voxels to its scaled voxels: x runs to the left."""
    scale = np.diag([*nib.affines.voxel_sizes(affine), 1.0])
    if np.linalg.det(affine) > 0:
        mirror = np.eye(4)
        mirror[0, 0], mirror[0, 3] = -1, shape[0] - 1
        scale = scale @ mirror
    return scale


FIXED_SHAPE, MOVING_SHAPE = (20, 22, 24), (30, 28, 26)
FSL_RAS = (
    MOVING_RAS
    @ np.linalg.inv(fsl_voxels(MOVING_RAS, MOVING_SHAPE))
    @ np.linalg.inv(MATRIX)
    @ fsl_voxels(FIXED_RAS, FIXED_SHAPE)
    @ np.linalg.inv(FIXED_RAS)
)


def _flirt(content: str, *, images: str = "nii.gz", form: str = "auto") -> Callable[[Path], Call]:
    def build(folder: Path) -> Call:
        (folder / "flirt.mat").write_text(content)
        options = {"form": form}
        for side, affine, shape in (("fixed", FIXED_RAS, FIXED_SHAPE), ("moving", MOVING_RAS, MOVING_SHAPE)):
            if images == "nii.gz":
                nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), folder / f"{side}.nii.gz")
            elif images:
                sitk.WriteImage(sitk.Image(shape, sitk.sitkUInt8), str(folder / f"{side}.{images}"))
            if images:
                options[side] = folder / f"{side}.{images}"
        return mapped(folder / "flirt.mat", **options)

    return build


AFNI = "# 3dAllineate matrices (DICOM-to-DICOM, row-by-row):\n 1 0.1 0 10 0 1 0 -5 0 0 1.2 2\n"
MATRIX_CASES = [
    Case(
        "D",
        "plain 4x4 without saying which",
        text("affine.txt", PLAIN),
        Refused(FileError, "does not say", "--transform-form"),
    ),
    Case(
        "D",
        "plain 4x4 said to be RAS (c3d, ITK-SNAP, NiftyReg)",
        text("affine.txt", PLAIN, form="ras"),
        gives(lps(MATRIX)),
    ),
    Case("D", "plain 4x4 said to be LPS", text("affine.txt", PLAIN, form="lps"), gives((MATRIX @ [*POINT, 1])[:3])),
    Case("D", "RAS shift", text("affine.mat", RAS_ROWS, form="ras"), gives((0, 25, 32))),
    Case(
        "D", "3x4 rows said to be RAS", text("a.txt", "\n".join(PLAIN.splitlines()[:3]), form="ras"), gives(lps(MATRIX))
    ),
    Case("D", "FSL flirt, both axes' hands", _flirt(FLIRT), gives(lps(FSL_RAS), notes=["FSL flirt", "inverted"])),
    Case("D", "plain 4x4 said to be FSL", _flirt(PLAIN, form="fsl"), gives(lps(FSL_RAS), notes=["FSL flirt"])),
    Case("D", "FSL flirt without images", _flirt(FLIRT, images=""), Refused(FileError, "FSL flirt", "--fixed")),
    Case("D", "FSL flirt with NRRD images", _flirt(FLIRT, images="nrrd"), Refused(FileError, "FSL flirt", "NIfTI")),
    Case("D", "AFNI .aff12.1D", text("t.aff12.1D", AFNI), gives(about(SHEARED, (10, -5, 2)))),
    Case(
        "D",
        "AFNI with two rows",
        text("t.aff12.1D", AFNI + AFNI.splitlines()[1]),
        Refused(FileError, "24 of them", "AFNI"),
    ),
    Case(
        "D",
        "transposed 4x4",
        text("a.txt", "1 0 0 0\n0 1 0 0\n0 0 1 0\n10 -5 2 1\n", form="ras"),
        Refused(FileError, "last row", "transpose"),
    ),
    Case("D", "5x5 matrix", text("a.txt", "1 0 0 0 0\n" * 5, form="ras"), Refused(FileError, "a.txt")),
    Case(
        "D", "4x4 with NaN", text("a.txt", RAS_ROWS.replace("10", "nan"), form="ras"), Refused(FileError, "not finite")
    ),
    Case(
        "D",
        "4x4 of zeros",
        text("a.txt", "0 0 0 0\n" * 3 + "0 0 0 1\n", form="ras"),
        Refused(FileError, "not invertible"),
    ),
    Case(
        "D",
        "an ITK transform said to be RAS",
        text("t.tfm", itk(("TranslationTransform_double_3_3", "1 2 3", "")), form="ras"),
        Refused(FileError, "not a plain matrix", "leave the form out"),
    ),
    Case("D", "unknown form", text("a.txt", RAS_ROWS, form="spm"), Refused(SettingsError, "no form of matrix 'spm'")),
]


def volume_info(side: str, affine: np.ndarray, shape: Sequence[int], valid: int = 1) -> str:
    """Return how FreeSurfer describes an image."""
    sizes = nib.affines.voxel_sizes(affine)
    axes = affine[:3, :3] / sizes
    center = affine[:3, :3] @ (np.array(shape) / 2) + affine[:3, 3]
    rows = [
        f"{side} volume info",
        f"valid = {valid}  # volume info valid",
        f"filename = {side}.mgz",
        f"volume = {shape[0]} {shape[1]} {shape[2]}",
        "voxelsize = " + " ".join(f"{v:.15e}" for v in sizes),
    ]
    rows += [
        f"{name} = " + " ".join(f"{v:.15e}" for v in axis)
        for name, axis in zip(("xras  ", "yras  ", "zras  "), axes.T, strict=True)
    ]
    return "\n".join([*rows, "cras   = " + " ".join(f"{v:.15e}" for v in center)]) + "\n"


def lta(kind: int, matrix: np.ndarray, *, count: int = 1, valid: int = 1) -> str:
    """Return a FreeSurfer transform."""
    rows = "\n".join(" ".join(f"{v:.15e}" for v in row) for row in matrix)
    head = f"# transform file x.lta\n# created by root\n\ntype      = {kind} # LINEAR\nnxforms   = {count}\n"
    head += "mean      = 0.0 0.0 0.0\nsigma     = 10000.0\n"
    return (
        head
        + f"1 4 4\n{rows}\n"
        + volume_info("src", MOVING_RAS, MOVING_SHAPE, valid)
        + volume_info("dst", FIXED_RAS, FIXED_SHAPE)
        + "subject fsaverage\nfscale 0.15\n"
    )


MNI = (
    "MNI Transform File\n%minctracc history\n\nTransform_Type = Linear;\n{invert}Linear_Transform =\n"
    " 0.99 -0.1 0.05 4\n 0.1 0.98 0.02 -6\n -0.05 0.03 1.01 8;\n"
)
VOXELS = np.linalg.inv(FIXED_RAS) @ MATRIX @ MOVING_RAS
OTHER_CASES = [
    Case(
        "D",
        "FreeSurfer .lta, RAS to RAS",
        text("t.lta", lta(1, MATRIX)),
        gives(lps(np.linalg.inv(MATRIX)), notes=["FreeSurfer", "inverted"]),
    ),
    Case(
        "D",
        "FreeSurfer .lta, voxel to voxel",
        text("t.lta", lta(0, VOXELS)),
        gives(lps(np.linalg.inv(MATRIX)), notes=["FreeSurfer"]),
    ),
    Case(
        "D",
        "FreeSurfer .lta, voxels without source image",
        text("t.lta", lta(0, VOXELS, valid=0)),
        Refused(FileError, "source image", "lta_convert"),
    ),
    Case("D", "FreeSurfer .lta, tkregister", text("t.lta", lta(14, MATRIX)), Refused(FileError, "type 14")),
    Case(
        "D",
        "FreeSurfer .lta of two transforms",
        text("t.lta", lta(1, MATRIX, count=2)),
        Refused(FileError, "2 transforms"),
    ),
    Case("D", "FreeSurfer .lta cut", text("t.lta", lta(1, MATRIX)[:150]), Refused(FileError, "t.lta")),
    Case(
        "D",
        "FreeSurfer .m3z",
        binary("talairach.m3z", gzip.compress(b"x" * 99)),
        Refused(FileError, "FreeSurfer", "mri_warp_convert"),
    ),
    Case(
        "D",
        "FreeSurfer register.dat",
        text("register.dat", "subj\n1\n1\n0.15\n" + RAS_ROWS + "round\n"),
        Refused(FileError, "register.dat", "lta_convert"),
    ),
    Case(
        "D",
        "MNI .xfm of FreeSurfer or MINC",
        text("talairach.xfm", MNI.format(invert="")),
        gives(lps(np.linalg.inv(MATRIX)), notes=["MINC", "inverted"]),
    ),
    Case(
        "D",
        "MNI .xfm, inverted",
        text("t.xfm", MNI.format(invert="Invert_Flag = True;\n")),
        gives(lps(MATRIX), notes=["MINC"]),
    ),
    Case(
        "D",
        "MNI .xfm of two matrices",
        text("t.xfm", MNI.format(invert="") + MNI.format(invert="").partition("\n\n")[2]),
        gives(lps(np.linalg.inv(MATRIX @ MATRIX))),
    ),
    Case(
        "D",
        "MNI .xfm with a grid",
        text("t.xfm", "MNI Transform File\n\nTransform_Type = Grid_Transform;\nDisplacement_Volume = g.mnc;\n"),
        Refused(FileError, "Grid_Transform"),
    ),
    Case("D", "MNI .xfm cut", text("t.xfm", MNI.format(invert="")[:90]), Refused(FileError, "t.xfm")),
]

CASES = [*MATRIX_CASES, *OTHER_CASES]
