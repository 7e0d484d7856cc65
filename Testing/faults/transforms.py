"""Transform files of ITK and ANTs are applied exactly or refused by their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.transforms.files import read_transform
from scipy.spatial.transform import Rotation
from transform_samples import (
    HEAD,
    POINT,
    SHEAR,
    SHEARED,
    X,
    Y,
    Z,
    about,
    binary,
    composite,
    gives,
    itk,
    mapped,
    sheared,
    spline,
    text,
    versor,
    written,
)

from . import Call, Case, Gives, Refused

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
    ("affine with 3 parameters", "AffineTransform_double_3_3", "1 0 0", "0 0 0", "takes 12 parameters"),
    ("affine with 13 parameters", "AffineTransform_double_3_3", SHEAR + " 7", "0 0 0", "13"),
    ("decimal commas", "AffineTransform_double_3_3", SHEAR.replace(".", ","), "0 0 0", "line 4"),
    ("affine with NaN", "AffineTransform_double_3_3", SHEAR.replace("10", "nan"), "0 0 0", "not finite"),
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
    Case("D", "any text", text("t.txt", "see attached file"), Refused(FileError, "not a transform file", "elastix")),
    Case("D", "any bytes as .h5", binary("t.h5", b"\x00\x01" * 300), Refused(FileError, "not a transform file")),
    Case(
        "D",
        "an HDF5 file without a transform",
        binary("t.h5", b"\x89HDF\r\n\x1a\n" + bytes(500)),
        Refused(FileError, "contains no ITK transform"),
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


CUT_CASES = [
    Case("D", f".h5 cut at {n} tenths", _cut_h5(n), Refused(FileError, "cut.h5", "cut off")) for n in range(1, 10)
]

AFFINE = itk(("AffineTransform_double_3_3", SHEAR, "3 4 5"))
TWO = itk(
    ("AffineTransform_double_3_3", SHEAR, "3 4 5"), ("TranslationTransform_double_3_3", "1 2 3", ""), composite=True
)


def _cut_text(content: str) -> Callable[[Path], Call]:
    """Cut a text before every byte up to its last line; return where that was not refused, but for ends of parts."""

    def build(folder: Path) -> Call:
        return lambda: _unnoticed(folder / "cut.tfm", content)

    return build


def _unnoticed(path: Path, content: str) -> list[int]:
    found = []
    ends = {content.find("\n#Transform 2") + line for line in (0, 1)}  # a composite of one part is whole
    for length in range(content.rstrip().rindex("\n") + len("\nFixedParameters")):
        path.write_text(content[:length], encoding="utf-8")
        try:
            read_transform(path)
            found += [length] if length not in ends else []
        except FileError:
            pass
    return found


def _swapped(content: str) -> str:
    """The fixed parameters above the others."""
    lines = content.splitlines()
    return "\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n"


TEXT_CASES = [
    Case("D", "ITK text cut at every byte", _cut_text(AFFINE), Gives([])),
    Case("D", "composite text cut at every byte", _cut_text(TWO), Gives([])),
    Case(
        "D",
        "ITK text without fixed parameters",
        text("t.tfm", AFFINE[: AFFINE.index("Fixed")]),
        Refused(FileError, "fixed parameters"),
    ),
    Case(
        "D",
        "fixed parameters before the others",
        text("t.tfm", _swapped(AFFINE)),
        gives(about(SHEARED, (10, -5, 2), (3, 4, 5))),
    ),
    *(
        Case("D", f"ITK text with {what}", binary("t.tfm", content), gives(about(SHEARED, (10, -5, 2), (3, 4, 5))))
        for what, content in (
            ("line ends of Windows", AFFINE.replace("\n", "\r\n").encode()),
            ("a byte order mark", AFFINE.encode("utf-8-sig")),
            ("a comment", AFFINE.replace("#Transform 0", "# from the scanner\n#Transform 0").encode()),
        )
    ),
    *(
        Case(
            "D", f"ITK text with {what}", text("t.tfm", AFFINE.replace("10 -5 2", numbers)), Refused(FileError, "t.tfm")
        )
        for what, numbers in (
            ("decimal commas", "10,0 -5,0 2,0"),
            ("a number too few", "10 -5"),
            ("a number too many", "10 -5 2 1"),
            ("NaN", "nan -5 2"),
            ("a number beyond all", "1e400 -5 2"),
        )
    ),
    Case("D", "ITK text of UTF-16", binary("t.tfm", AFFINE.encode("utf-16")), Refused(FileError, "t.tfm")),
]

CASES = [*ITK_CASES, *CUT_CASES, *TEXT_CASES]
