"""Transform files: those of every program of the field are applied exactly or refused by their name.

Every expected point is made by hand, by SimpleITK's own classes or by nibabel, never by the reader.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from DeepVsClassicRegLib.core.transforms.files import read_transform
from scipy.spatial.transform import Rotation
from slicer_transform_files import GRID_FROM_PARENT_H5, GRID_TO_PARENT_H5, THIN_PLATE_SPLINE_H5, unpacked

from . import Call, Case, Gives, Refused

POINT = (10.0, 20.0, 30.0)
HEAD = "#Insight Transform File V1.0\n"
SHEAR = "1 0.1 0 0 1 0 0 0 1.2 10 -5 2"
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Mapped:
    """Where a transform brings the point, and what its reader says."""

    point: np.ndarray
    notes: tuple[str, ...]


def mapped(path: Path, **options: Any) -> Callable[[], Mapped]:
    """Return a call that reads the transform and maps the point."""

    def call() -> Mapped:
        transform = read_transform(path, **options)
        return Mapped(transform.apply([POINT])[0], transform.notes)

    return call


def gives(truth: Sequence[float], *, tolerance: float = 1e-4, notes: Sequence[str] = ()) -> Gives:
    """Expect this point."""
    return Gives(np.asarray(truth), tolerance, lambda run: run.value.point, notes)


def text(name: str, content: str, **options: Any) -> Callable[[Path], Call]:
    """Return a build function that writes a text file."""

    def build(folder: Path) -> Call:
        (folder / name).write_text(content, encoding="utf-8")
        return mapped(folder / name, **options)

    return build


def binary(name: str, content: bytes) -> Callable[[Path], Call]:
    """Return a build function that writes bytes."""

    def build(folder: Path) -> Call:
        (folder / name).write_bytes(content)
        return mapped(folder / name)

    return build


def written(name: str, make: Callable[[], sitk.Transform]) -> Callable[[Path], Call]:
    """Return a build function that lets SimpleITK write a transform."""

    def build(folder: Path) -> Call:
        sitk.WriteTransform(make(), str(folder / name))
        return mapped(folder / name)

    return build


def itk(*items: tuple[str, str, str], composite: bool = False) -> str:
    """Return an ITK text file of (kind, parameters, fixed parameters)."""
    listed = [("CompositeTransform_double_3_3", None, None)] if composite else []
    lines = [HEAD]
    for number, (kind, parameters, fixed) in enumerate([*listed, *items]):
        lines.append(f"#Transform {number}\nTransform: {kind}\n")
        if parameters is not None:
            lines.append(f"Parameters: {parameters}\nFixedParameters: {fixed}\n")
    return "".join(lines)


def about(matrix: Any, translation: Sequence[float], center: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    """Return matrix (point - center) + center + translation, by hand."""
    middle = np.asarray(center, dtype=float)
    return np.asarray(matrix) @ (np.array(POINT) - middle) + middle + np.asarray(translation)


def versor(x: float, y: float, z: float) -> np.ndarray:
    """Return the rotation of a unit quaternion given by its vector part."""
    return Rotation.from_quat([x, y, z, np.sqrt(1 - x * x - y * y - z * z)]).as_matrix()


# --- ITK, ANTs -------------------------------------------------------------------------------------------------------

SHEARED = np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1.2]])
X, Y, Z = (Rotation.from_euler(axis, angle).as_matrix() for axis, angle in zip("xyz", (0.1, 0.2, 0.3), strict=True))


def sheared() -> sitk.AffineTransform:
    """Return an affine transform with a center."""
    return sitk.AffineTransform(SHEARED.ravel().tolist(), (10, -5, 2), (3, 4, 5))


def field_image(vector: Sequence[float] = (3, 4, 5), kind: int = sitk.sitkVectorFloat64) -> sitk.Image:
    """Return a constant field around the point."""
    values = np.tile(np.asarray(vector, dtype=np.float64), (6, 6, 6, 1))
    image = sitk.Cast(sitk.GetImageFromArray(values, isVector=True), kind)
    image.SetSpacing((20, 20, 20))
    image.SetOrigin((-40, -40, -40))
    return image


def composite() -> sitk.CompositeTransform:
    """Return a shear applied after a field (ITK applies the last one first)."""
    return sitk.CompositeTransform([sheared(), sitk.DisplacementFieldTransform(field_image())])


def spline() -> sitk.BSplineTransform:
    """Return a B-spline with coefficients that differ from node to node."""
    transform = sitk.BSplineTransformInitializer(sitk.Image([10, 10, 10], sitk.sitkUInt8), [2, 3, 4], 3)
    transform.SetTransformDomainOrigin((-40, -40, -40))
    transform.SetTransformDomainPhysicalDimensions((120, 120, 120))
    transform.SetParameters(np.random.default_rng(1).normal(0, 4, len(transform.GetParameters())).tolist())
    return transform


# The field moves by (3, 4, 5), which is the center of the shear.
AFTER_FIELD = SHEARED @ POINT + [3, 4, 5] + [10, -5, 2]
ITK = [
    (
        "c3d_affine_tool -oitk (MatrixOffsetTransformBase)",
        "MatrixOffsetTransformBase_double_3_3",
        SHEAR,
        "3 4 5",
        about(SHEARED, (10, -5, 2), (3, 4, 5)),
    ),
    ("affine in float", "AffineTransform_float_3_3", SHEAR, "0 0 0", about(SHEARED, (10, -5, 2))),
    ("affine with a center", "AffineTransform_double_3_3", SHEAR, "3 4 5", about(SHEARED, (10, -5, 2), (3, 4, 5))),
    (
        "ScalableAffine of BRAINS",
        "ScalableAffineTransform_double_3_3",
        SHEAR,
        "3 4 5",
        about(SHEARED, (10, -5, 2), (3, 4, 5)),
    ),
    (
        "FixedCenterOfRotationAffine",
        "FixedCenterOfRotationAffineTransform_double_3_3",
        SHEAR,
        "3 4 5",
        about(SHEARED, (10, -5, 2), (3, 4, 5)),
    ),
    (
        "Euler3D, ZXY",
        "Euler3DTransform_double_3_3",
        "0.1 0.2 0.3 1 2 3",
        "5 6 7",
        about(Z @ X @ Y, (1, 2, 3), (5, 6, 7)),
    ),
    (
        "Euler3D, ZYX",
        "Euler3DTransform_double_3_3",
        "0.1 0.2 0.3 1 2 3",
        "5 6 7 1",
        about(Z @ Y @ X, (1, 2, 3), (5, 6, 7)),
    ),
    (
        "VersorRigid3D",
        "VersorRigid3DTransform_double_3_3",
        "0.1 0.2 0 1 2 3",
        "5 6 7",
        about(versor(0.1, 0.2, 0), (1, 2, 3), (5, 6, 7)),
    ),
    (
        "Versor (rotation only)",
        "VersorTransform_double_3_3",
        "0.1 0 0.2",
        "5 6 7",
        about(versor(0.1, 0, 0.2), (0, 0, 0), (5, 6, 7)),
    ),
    (
        "QuaternionRigid",
        "QuaternionRigidTransform_double_3_3",
        "0 0 0.6 0.8 1 2 3",
        "0 0 0",
        about(Rotation.from_quat([0, 0, 0.6, 0.8]).as_matrix(), (1, 2, 3)),
    ),
    (
        "Similarity3D",
        "Similarity3DTransform_double_3_3",
        "0.1 0 0 1 2 3 1.1",
        "5 6 7",
        about(1.1 * versor(0.1, 0, 0), (1, 2, 3), (5, 6, 7)),
    ),
    ("Translation", "TranslationTransform_double_3_3", "1 2 3", "", about(np.eye(3), (1, 2, 3))),
    ("Identity", "IdentityTransform_double_3_3", "", "", POINT),
    ("Scale", "ScaleTransform_double_3_3", "2 3 4", "1 1 1", about(np.diag([2, 3, 4]), (0, 0, 0), (1, 1, 1))),
    (
        "ScaleLogarithmic",
        "ScaleLogarithmicTransform_double_3_3",
        "0.1 0.2 0.3",
        "0 0 0",
        about(np.diag(np.exp([0.1, 0.2, 0.3])), (0, 0, 0)),
    ),
]
UNREADABLE = [
    (
        "thin-plate spline, text",
        "ThinPlateSplineKernelTransform_double_3_3",
        "0 0 0 9 0 0",
        "0 0 0 9 0 1",
        "thin-plate",
    ),
    ("Slicer to parent, text", "InverseDisplacementFieldTransform_double_3_3", "1 2 3", "1 1 1", "to parent"),
    ("2D affine", "AffineTransform_double_2_2", "1 0 0 1 3 4", "0 0", "2D AffineTransform"),
    ("old B-spline (BSplineDeformable)", "BSplineDeformableTransform_double_3_3", "0 0 0", "0", "BSplineDeformable"),
    ("unknown class", "NonsenseTransform_double_3_3", "1", "", "NonsenseTransform"),
    ("affine with 3 parameters", "AffineTransform_double_3_3", "1 0 0", "0 0 0", "damaged"),
    ("affine with 13 parameters", "AffineTransform_double_3_3", SHEAR + " 7", "0 0 0", "13"),
    ("decimal commas", "AffineTransform_double_3_3", SHEAR.replace(".", ","), "0 0 0", "line 4"),
    ("affine with NaN", "AffineTransform_double_3_3", SHEAR.replace("10", "nan"), "0 0 0", "transform"),
    ("singular affine", "AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 0 1 2 3", "0 0 0", "not invertible"),
]
ITK_CASES = [
    *(
        Case("D", f"ITK text: {name}", text("t.tfm", itk((kind, p, f))), gives(truth))
        for name, kind, p, f, truth in ITK
    ),
    *(
        Case("D", f"ITK text: {name}", text("t.tfm", itk((kind, p, f))), Refused(FileError, "t.tfm", word))
        for name, kind, p, f, word in UNREADABLE
    ),
    *(
        Case(
            "D",
            f"affine with a center as {ending}",
            written(f"t{ending}", sheared),
            gives(sheared().TransformPoint(POINT)),
        )
        for ending in (".tfm", ".txt", ".mat", ".h5", ".hdf5", ".xfm")
    ),
    *(
        Case("D", f"composite of affine and field as {ending}", written(f"t{ending}", composite), gives(AFTER_FIELD))
        for ending in (".tfm", ".h5")
    ),
    *(
        Case("D", f"B-spline as {ending}", written(f"t{ending}", spline), gives(spline().TransformPoint(POINT)))
        for ending in (".tfm", ".mat", ".h5")
    ),
    Case(
        "D",
        "composite text with a part of c3d, applied last first",
        text(
            "t.txt",
            itk(
                ("MatrixOffsetTransformBase_double_3_3", "2 0 0 0 2 0 0 0 2 0 0 0", "0 0 0"),
                ("TranslationTransform_double_3_3", "1 2 3", ""),
                composite=True,
            ),
        ),
        gives((22, 44, 66)),
    ),
    Case(
        "D",
        "two transforms in one text file",
        text(
            "t.tfm",
            itk(("TranslationTransform_double_3_3", "1 2 3", ""), ("TranslationTransform_double_3_3", "1 2 3", "")),
        ),
        Refused(FileError, "2 transforms", "composite"),
    ),
    Case(
        "D",
        "composite inside a composite, text",
        text(
            "t.tfm",
            itk(
                ("CompositeTransform_double_3_3", "", ""),
                ("TranslationTransform_double_3_3", "1 2 3", ""),
                composite=True,
            ),
        ),
        Refused(FileError, "composite", "inside another"),
    ),
    Case("D", "composite without parts", text("t.tfm", itk(composite=True)), Refused(FileError, "without any part")),
    Case("D", "ITK text without a transform", text("t.tfm", HEAD), Refused(FileError, "without any transform")),
    Case("D", "empty file", text("t.tfm", ""), Refused(FileError, "empty")),
    Case("D", "any text", text("t.txt", "see attached file"), Refused(FileError, "no transform file", "elastix")),
    Case("D", "any bytes as .h5", binary("t.h5", b"\x00\x01" * 300), Refused(FileError, "no transform file")),
    Case(
        "D",
        "an HDF5 file without a transform",
        binary("t.h5", b"\x89HDF\r\n\x1a\n" + bytes(500)),
        Refused(FileError, "holds no ITK transform"),
    ),
    Case(
        "D",
        "MATLAB 5 file of SPM",
        binary("x_sn.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(400, b"\x00")),
        Refused(FileError, "MATLAB 5", "SPM"),
    ),
]


def _cut_h5(tenth: int) -> Callable[[Path], Call]:
    def build(folder: Path) -> Call:
        sitk.WriteTransform(composite(), str(folder / "whole.h5"))
        whole = (folder / "whole.h5").read_bytes()
        (folder / "cut.h5").write_bytes(whole[: len(whole) * tenth // 10])
        return mapped(folder / "cut.h5")

    return build


CUT_CASES = [Case("D", f".h5 cut at {n} tenths", _cut_h5(n), Refused(FileError, "cut.h5")) for n in range(1, 10)]

# --- Slicer ----------------------------------------------------------------------------------------------------------


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

# --- fields ----------------------------------------------------------------------------------------------------------

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
) -> Callable[[Path], Call]:
    """Return a build function that lets nibabel write a field."""

    def build(folder: Path) -> Call:
        array = np.zeros(shape, dtype)
        array[...] = values(affine, shape) if callable(values) else np.resize(values, shape[-1])
        image = nib.Nifti1Image(array, affine)
        image.header["intent_code"], image.header["intent_name"] = intent, intent_name
        image.header["intent_p1"] = kind
        image.header.set_xyzt_units(units)
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
        Refused(FileError, "no displacement field"),
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
    Case("D", "field with NaN", nifti(values=(np.nan, 0, 0)), Refused(FileError, "not finite")),
    Case("D", "field in micrometers", nifti(units="micron"), Refused(FileError, "micrometers")),
    Case("D", "field of integers", nifti(dtype=np.int16), Refused(FileError, "no displacement field")),
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

# --- matrices --------------------------------------------------------------------------------------------------------

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
    Case("D", "AFNI with two rows", text("t.aff12.1D", AFNI + AFNI.splitlines()[1]), Refused(FileError, "t.aff12.1d")),
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
        Refused(FileError, "no plain matrix", "leave the form out"),
    ),
    Case("D", "unknown form", text("a.txt", RAS_ROWS, form="spm"), Refused(SettingsError, "no form of matrix 'spm'")),
]

# --- FreeSurfer and MNI ----------------------------------------------------------------------------------------------


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

# --- elastix ---------------------------------------------------------------------------------------------------------


def elastix(kind: str, parameters: Sequence[float], initial: str = "NoInitialTransform", **more: str) -> str:
    """Return a TransformParameters file."""
    lines = {
        "Transform": f'"{kind}"',
        "NumberOfParameters": str(len(parameters)),
        "TransformParameters": " ".join(repr(float(v)) for v in parameters),
        "InitialTransformParameterFileName": f'"{initial}"',
        "HowToCombineTransforms": '"Compose"',
        "FixedImageDimension": "3",
        "MovingImageDimension": "3",
        "Direction": "1 0 0 0 1 0 0 0 1",
        "UseDirectionCosines": '"true"',
        **more,
    }
    return "\n".join(f"({name} {value})" for name, value in lines.items()) + "\n"


EULER = elastix("EulerTransform", [0.1, 0.2, 0.3, 1, 2, 3], CenterOfRotationPoint="5 6 7", ComputeZYX='"false"')
TURN = about(Z @ X @ Y, (1, 2, 3), (5, 6, 7))


def elastix_spline(initial: str = "NoInitialTransform", **more: str) -> str:
    """Return the B-spline above as elastix writes it, parameters axis after axis."""
    images = spline().GetCoefficientImages()
    numbers = np.concatenate([sitk.GetArrayFromImage(image).ravel() for image in images])
    first = images[0]
    grid = {
        "GridSize": first.GetSize(),
        "GridSpacing": first.GetSpacing(),
        "GridOrigin": first.GetOrigin(),
        "GridIndex": (0, 0, 0),
        "GridDirection": first.GetDirection(),
    }
    return elastix(
        "BSplineTransform",
        numbers,
        initial,
        BSplineTransformSplineOrder="3",
        UseCyclicTransform='"false"',
        **{name: " ".join(str(v) for v in values) for name, values in grid.items()},
        **more,
    )


def chain(
    *files: tuple[str, str], first: str = "TransformParameters.1.txt", folder_of_others: str = "."
) -> Callable[[Path], Call]:
    """Return a build function that writes several files and reads one."""

    def build(folder: Path) -> Call:
        for name, content in files:
            target = folder / name
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text(content)
        return mapped(folder / first)

    return build


def _binary_parameters(folder: Path) -> Call:
    content = elastix(
        "EulerTransform", [0, 0, 0], CenterOfRotationPoint="5 6 7", UseBinaryFormatForTransformationParameters='"true"'
    )
    content = content.replace("(NumberOfParameters 3)", "(NumberOfParameters 6)").replace("0.0 0.0 0.0", '"t.txt.dat"')
    (folder / "t.txt").write_text(content)
    np.array([0.1, 0.2, 0.3, 1, 2, 3], "<f8").tofile(folder / "t.txt.dat")
    return mapped(folder / "t.txt")


T0, T1 = "TransformParameters.0.txt", "TransformParameters.1.txt"
ADD = {"HowToCombineTransforms": '"Add"'}
AFFINE = [*SHEARED.ravel(), 10, -5, 2]
ELASTIX_CASES = [
    Case("D", "elastix Euler", text(T0, EULER), gives(TURN)),
    Case(
        "D",
        "elastix Euler, ZYX",
        text(T0, EULER.replace('ComputeZYX "false"', 'ComputeZYX "true"')),
        gives(about(Z @ Y @ X, (1, 2, 3), (5, 6, 7))),
    ),
    Case(
        "D",
        "elastix affine with a center",
        text(T0, elastix("AffineTransform", AFFINE, CenterOfRotationPoint="3 4 5")),
        gives(about(SHEARED, (10, -5, 2), (3, 4, 5))),
    ),
    Case(
        "D",
        "elastix similarity",
        text(T0, elastix("SimilarityTransform", [0.1, 0, 0, 1, 2, 3, 1.1], CenterOfRotationPoint="5 6 7")),
        gives(about(1.1 * versor(0.1, 0, 0), (1, 2, 3), (5, 6, 7))),
    ),
    Case("D", "elastix translation", text(T0, elastix("TranslationTransform", [1, 2, 3])), gives((11, 22, 33))),
    Case("D", "elastix B-spline", text(T0, elastix_spline()), gives(spline().TransformPoint(POINT))),
    Case(
        "D",
        "elastix rigid, then B-spline",
        chain((T0, EULER), (T1, elastix_spline(T0))),
        gives(spline().TransformPoint(TURN.tolist())),
    ),
    Case(
        "D",
        "elastix chain with the old name of the entry",
        chain(
            (T0, EULER), (T1, elastix_spline(T0).replace("TransformParameterFileName", "TransformParametersFileName"))
        ),
        gives(spline().TransformPoint(TURN.tolist())),
    ),
    Case(
        "D",
        "elastix chain that was moved",
        chain((T0, EULER), (T1, elastix_spline("/home/anna/out/" + T0))),
        gives(spline().TransformPoint(TURN.tolist()), notes=["was not found", "beside"]),
    ),
    Case(
        "D",
        "elastix chain moved from Windows",
        chain((T0, EULER), (T1, elastix_spline("C:\\out\\" + T0))),
        gives(spline().TransformPoint(TURN.tolist()), notes=["beside"]),
    ),
    Case("D", "elastix chain with a missing file", chain((T1, elastix_spline(T0))), Refused(FileError, "missing", T0)),
    Case(
        "D",
        "elastix that starts from itself",
        chain((T1, elastix_spline(T1))),
        Refused(FileError, "starts from itself"),
    ),
    Case(
        "D",
        "elastix chain in a circle",
        chain((T0, elastix("TranslationTransform", [1, 2, 3], T1)), (T1, elastix_spline(T0))),
        Refused(FileError, "starts from itself"),
    ),
    Case(
        "D",
        "elastix Add of two linear ones",
        chain((T0, EULER), (T1, elastix("AffineTransform", AFFINE, T0, **ADD))),
        gives(TURN + about(SHEARED, (10, -5, 2)) - POINT),
    ),
    Case(
        "D",
        "elastix Add of a B-spline",
        chain((T0, EULER), (T1, elastix_spline(T0, **ADD))),
        Refused(FileError, "added", "transformix"),
    ),
    Case("D", "elastix parameters in a binary file", _binary_parameters, gives(TURN)),
    Case(
        "D",
        "elastix B-spline of order 2",
        text(T0, elastix_spline().replace("SplineOrder 3", "SplineOrder 2")),
        Refused(FileError, "order 2", "transformix"),
    ),
    Case(
        "D",
        "elastix cyclic B-spline",
        text(T0, elastix_spline().replace("Cyclic" + 'Transform "false"', 'CyclicTransform "true"')),
        Refused(FileError, "cyclic"),
    ),
    Case(
        "D",
        "elastix thin-plate spline",
        text(T0, elastix("SplineKernelTransform", [1, 2, 3])),
        Refused(FileError, "SplineKernelTransform", "transformix"),
    ),
    Case(
        "D",
        "elastix weighted combination",
        text(T0, elastix("WeightedCombinationTransform", [1, 2, 3])),
        Refused(FileError, "WeightedCombinationTransform"),
    ),
    Case(
        "D",
        "elastix 2D",
        text(T0, elastix("EulerTransform", [0.1, 1, 2], FixedImageDimension="2")),
        Refused(FileError, "2D"),
    ),
    Case(
        "D",
        "elastix without direction cosines",
        text(
            T0,
            EULER.replace('Cosines "true"', 'Cosines "false"').replace(
                "(Direction 1 0 0 0 1 0 0 0 1)", "(Direction 0 1 0 1 0 0 0 0 1)"
            ),
        ),
        Refused(FileError, "UseDirectionCosines"),
    ),
    Case(
        "D",
        "elastix with too few parameters",
        text(T0, EULER.replace(" 3.0)", ")")),
        Refused(FileError, "6 parameters"),
    ),
    Case("D", "elastix file cut in the parameters", text(T0, elastix_spline()[:400]), Refused(FileError, T0)),
    Case(
        "D",
        "an elastix parameter file of a registration",
        text(
            "Parameters.txt",
            '(Registration "MultiResolutionRegistration")\n(Metric "AdvancedMattesMutualInformation")\n',
        ),
        Refused(FileError, "no line (Transform"),
    ),
    Case(
        "D",
        "elastix TOML",
        text("TransformParameters.0.toml", 'Transform = "EulerTransform"\nNumberOfParameters = 6\n'),
        Refused(FileError, "TOML"),
    ),
]

CASES = [*ITK_CASES, *CUT_CASES, *SLICER_CASES, *FIELD_CASES, *MATRIX_CASES, *OTHER_CASES, *ELASTIX_CASES]
