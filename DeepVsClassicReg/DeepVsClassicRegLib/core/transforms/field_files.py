"""Displacement fields kept as images: ITK, ANTs, greedy, Slicer, elastix, NiftyReg and SPM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import FileError
from ..images.completeness import check_complete
from ..images.nifti import stored_numbers
from ..images.resample import grid_of
from ..images.stated import nrrd_facts
from .itk_files import INVERSE_HINT
from .transform import DisplacementField, Transform

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
FLOATS = (sitk.sitkVectorFloat32, sitk.sitkVectorFloat64)
# NIfTI's intent codes.
DISPLACEMENTS, VECTORS = 1006, 1007
FSL_KINDS = {
    2006: "displacement field of FSL fnirt",
    2007: "set of cubic spline coefficients of FSL fnirt",
    2008: "set of DCT coefficients of FSL fnirt",
    2009: "set of quadratic spline coefficients of FSL fnirt",
    2016: "displacement field of FSL topup",
    2017: "set of cubic spline coefficients of FSL topup",
    2018: "set of DCT coefficients of FSL topup",
}
FSL_HINT = "Convert it to an ITK field first, such as with 'wb_command -convert-warpfield -from-fnirt ... -to-itk'."
# NiftyReg's kinds of transform, the intent's first parameter.
DEFORMATION, DISPLACEMENT = 0, 1
NIFTYREG = ("NREG_TRANS", "NREG_CPP_FILE", "NREG_VEL_STEP")
FILL_HINT = "Fill them (0 where nothing is known) with the program that wrote it."
# NIfTI: codes of its unit of length (0 says nothing) and of its types.
MILLIMETERS = (0, 2)
FLOAT_TYPES = {16: "f4", 64: "f8"}
EXPECTED = "A displacement field has 3 components (x, y, z in LPS mm) for each voxel of a 3D grid."


def read_field(path: Path) -> Transform:
    """Read a displacement field that maps fixed points to moving points.

    Fields of NiftyReg and SPM, which hold coordinates or displacements in RAS mm, become displacements in LPS mm.

    Raises
    ------
    FileError
        When the image is no such field, or is one whose meaning is known to be another.
    """
    header = _header(path)
    facts = {key: header.GetMetaData(key) for key in header.GetMetaDataKeys()}
    if "dim[0]" in facts:
        return _nifti(path, facts)
    if path.name.lower().endswith((".nrrd", ".nhdr")):
        _check_nrrd(path, nrrd_facts(path))
    return Transform((DisplacementField.from_sitk(_vectors(path, header)),))


def _check_nrrd(path: Path, facts: Mapping[str, str]) -> None:
    """ITK turns the grid of a file in RAS to LPS, but not its vectors, nor by a measurement frame."""
    if facts.get("displacement field type", "").lower() == "modeling":
        raise FileError(
            f"{path.name} is an inverse displacement field (Slicer's 'modeling' type, 'to parent': moving to fixed "
            "points), which cannot be applied.",
            hint=INVERSE_HINT,
        )
    space = facts.get("space", "left-posterior-superior").lower()
    if space not in ("left-posterior-superior", "lps"):
        raise FileError(
            f"{path.name} is a displacement field in the space '{space}', so the axes of its vectors are not certain.",
            hint="Write it in the space left-posterior-superior, as ITK and Slicer do.",
        )
    frame = _brackets(facts.get("measurement frame", ""))
    if len(frame) == 9 and not np.allclose(frame, np.eye(3).ravel(), atol=1e-6):
        raise FileError(
            f"{path.name} is a displacement field with a measurement frame that is not the identity.",
            hint="Write its vectors in LPS mm, as ITK and Slicer do.",
        )
    kinds = set(facts.get("kinds", "vector").lower().split()) - {"domain", "space"}
    if not kinds <= {"vector", "covariant-vector", "3-vector", "none", "???"}:
        raise FileError(
            f"{path.name} is not a displacement field: its values are of the kind '{', '.join(sorted(kinds))}'.",
            hint=EXPECTED,
        )


def _brackets(text: str) -> list[float]:
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    return [float(word) for word in words if word != "none"]


def _header(path: Path) -> sitk.ImageFileReader:
    check_complete(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileError(f"{path.name} is not an image that ITK can read, or it is cut off.", hint=EXPECTED) from error
    return reader


def _vectors(path: Path, header: sitk.ImageFileReader) -> sitk.Image:
    if header.GetDimension() != 3 or header.GetNumberOfComponents() != 3:
        raise FileError(
            f"{path.name} is not a displacement field: it is {header.GetDimension()}D {header.GetSize()} with "
            f"{header.GetNumberOfComponents()} component(s) for each voxel.",
            hint=EXPECTED,
        )
    if header.GetPixelID() not in FLOATS:
        kind = sitk.GetPixelIDValueAsString(header.GetPixelID())
        raise FileError(f"{path.name} is not a displacement field but a color image ({kind}).", hint=EXPECTED)
    try:
        image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    except RuntimeError as error:
        raise FileError(f"{path.name} is cut off or damaged.", hint="Write or copy it again.") from error
    if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
        raise FileError(f"{path.name} is a displacement field with values that are not finite.", hint=FILL_HINT)
    return image


def _nifti(path: Path, facts: Mapping[str, str]) -> Transform:
    intent, name = int(facts["intent_code"]), facts.get("intent_name", "").strip("\x00 ")
    shape = tuple(int(facts[f"dim[{axis}]"]) for axis in range(1, 1 + int(facts["dim[0]"])))
    if intent in FSL_KINDS:
        raise FileError(f"{path.name} is a {FSL_KINDS[intent]}, which cannot be applied.", hint=FSL_HINT)
    if len(shape) == 4 and shape[3] == 3:
        raise FileError(
            f"{path.name} is a 4D NIfTI image with 3 frames, such as FSL's warp fields, whose units and axes NIfTI "
            "does not define.",
            hint=FSL_HINT,
        )
    if len(shape) != 5 or shape[3:] != (1, 3):
        raise FileError(f"{path.name} is not a displacement field: its shape is {shape}.", hint=EXPECTED)
    _check_voxels(path, facts)
    _check_orientation(path, facts)
    if name in NIFTYREG:
        return _niftyreg(path, facts)
    if intent not in (DISPLACEMENTS, VECTORS):
        raise FileError(
            f"{path.name} does not say what its 3 components are (NIfTI intent code {intent}).",
            hint=f"Set the intent code {VECTORS} for displacements in LPS mm (as ITK and ANTs write them) or "
            f"{DISPLACEMENTS} for displacements in RAS mm.",
        )
    image = _vectors(path, _header(path))
    if name == "Mapping":  # SPM's y_*.nii
        return Transform((_from_ras(image, absolute=True),))
    # ITK itself turns vectors of intent 1006 from RAS to LPS.
    return Transform((DisplacementField.from_sitk(image),))


def _check_orientation(path: Path, facts: Mapping[str, str]) -> None:
    """Refuse what ITK and nibabel place differently."""
    qform, sform = int(facts["qform_code"]), int(facts["sform_code"])
    if qform <= 0 and sform <= 0:
        raise FileError(
            f"{path.name} is a displacement field without orientation (both NIfTI form codes are 0).",
            hint="Write it with the orientation of the fixed image.",
        )
    if sform > 0:
        rows = [[float(word) for word in facts[f"srow_{axis}"].split()] for axis in "xyz"]
        stated = np.diag([-1.0, -1.0, 1.0]) @ np.array(rows)
        header = _header(path)
        axes = np.array(header.GetDirection()).reshape(header.GetDimension(), -1)[:3, :3]
        used = np.column_stack([axes * header.GetSpacing()[:3], header.GetOrigin()[:3]])
        corner = np.array([*header.GetSize()[:3], 1.0])
        apart = max(np.abs(stated - used)[:, 3].max(), np.abs((stated - used) @ corner).max())
        if apart > 0.1 * min(header.GetSpacing()[:3]):
            raise FileError(
                f"{path.name} is a displacement field whose two orientations (qform, sform) differ by {apart:.3g} mm.",
                hint="Write it again with one orientation, that of the fixed image.",
            )


def _check_voxels(path: Path, facts: Mapping[str, str]) -> None:
    """Look at the stored voxels, because ITK fills up what a cut file lacks and turns NaN into 0."""
    if int(facts.get("xyzt_units", "2")) & 7 not in MILLIMETERS:
        raise FileError(
            f"{path.name} gives lengths in meters or micrometers, so the unit of its vectors is not certain.",
            hint="Write it in millimeters.",
        )
    stored = FLOAT_TYPES.get(int(facts["datatype"]))
    if stored is None:
        return  # refused by what ITK says of it
    if not np.isfinite(stored_numbers(path, stored)).all():
        raise FileError(f"{path.name} is a displacement field with values that are not finite.", hint=FILL_HINT)


def _niftyreg(path: Path, facts: Mapping[str, str]) -> Transform:
    kind = round(float(facts.get("intent_p1", "-1")))
    if facts["intent_name"].strip("\x00 ") != "NREG_TRANS" or kind not in (DEFORMATION, DISPLACEMENT):
        raise FileError(
            f"{path.name} is a control point grid or velocity field of NiftyReg, which cannot be applied.",
            hint="Make a field of it: reg_transform -ref fixed.nii -disp this.nii field.nii.",
        )
    return Transform((_from_ras(_vectors(path, _header(path)), absolute=kind == DEFORMATION),))


def _from_ras(image: sitk.Image, *, absolute: bool) -> DisplacementField:
    grid = grid_of(image)
    vectors = sitk.GetArrayFromImage(image) * np.array([-1.0, -1.0, 1.0])
    return DisplacementField(vectors - grid.points() if absolute else vectors, grid)
