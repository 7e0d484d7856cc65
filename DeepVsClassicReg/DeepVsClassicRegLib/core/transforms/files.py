"""Transform files: reading those of every program of the field, writing what SimpleITK, ANTs and Slicer read."""

from __future__ import annotations

import os
import re
from pathlib import Path

import SimpleITK as sitk

from ..errors import FileError, RegistrationError, SettingsError, did_you_mean
from ..files import settle
from ..images.completeness import HDF5_MARK
from ..images.grid import Grid
from .dicom_files import read_dicom_registration
from .elastix_files import parameters_of, read_elastix
from .field_files import ENDINGS as FIELD_ENDINGS
from .field_files import read_field
from .hdf5_files import can_compress, write_hdf5
from .itk_files import TEXT_MARK, XFM_MARK, read_itk_binary, read_itk_text, read_itk_xfm
from .matrix_files import AFNI_MARK, Images, looks_like_matrix, read_lta, read_matrix, read_mni
from .text import read_text, unknown
from .transform import Affine, Transform, VelocityField

Pathlike = str | os.PathLike[str]
HDF5_ENDINGS = (".h5", ".hdf5")
WRITABLE = (*HDF5_ENDINGS, ".tfm", ".txt", ".mat")
TRANSFORM_ENDINGS = (*WRITABLE, ".xfm", ".lta", ".m3z", ".aff12.1d", ".1d", ".dat")
UNUSABLE_HINT = "The registration that made it failed, or the file is damaged; repeat it, or start without it."
FORMS = ("auto", "ras", "lps", "fsl")
BINARY_KINDS = {
    ".m3z": (
        "a nonlinear morph of FreeSurfer",
        "Convert it first: mri_warp_convert --inm3z this.m3z --outitk field.nii.gz.",
    ),
    ".dat": (
        "a register.dat of FreeSurfer",
        "Convert it first: lta_convert --inreg register.dat --outlta this.lta --src moving --trg fixed.",
    ),
}


def write_transform(transform: Transform, path: Pathlike, *, grid: Grid | None = None, compress: bool = True) -> Path:
    """Write the complete fixed-to-moving map.

    Parameters
    ----------
    transform : Transform
        What is written; velocity fields are written as the displacement they make.
    path : path
        `.h5` (ITK composite; exact, compressed where h5py is installed), `.tfm`/`.txt`/`.mat` (linear maps), or an
        image ending (`.nii.gz`, `.nrrd`, `.mha`): one displacement field in LPS mm on `grid`.
    grid : Grid, optional
        Needed for image endings: where the field is sampled, usually the fixed volume's grid.
    compress : bool
        Whether an `.h5` is compressed, which takes much longer than to write it.

    Raises
    ------
    FileError
        When the ending is unknown, the grid is missing, or the file cannot be written.
    """
    target = Path(path)
    try:
        if _ends(target, FIELD_ENDINGS):
            if grid is None:
                raise FileError(f"{target.name}: a displacement image needs a grid to be sampled on.")
            sitk.WriteImage(_float_image(transform, grid), str(target), useCompression=True)
        elif _ends(target, HDF5_ENDINGS) and can_compress():
            write_hdf5(_integrated(transform), target, compress=compress)
        elif _ends(target, WRITABLE):
            sitk.WriteTransform(_writable(transform, target), str(target))
        else:
            raise FileError(
                f"{target.name}: unknown ending for a transform.",
                hint=f"Use one of {', '.join(WRITABLE + FIELD_ENDINGS)}.",
            )
    except (RuntimeError, OSError) as error:
        raise FileError(f"Could not write {target}: {error}", hint="Check the folder and the free space.") from error
    return settle(target)


def read_transform(
    path: Pathlike, *, form: str = "auto", fixed: Pathlike | None = None, moving: Pathlike | None = None
) -> Transform:
    """Read a fixed-to-moving map.

    Read exactly: ITK (.h5, .tfm, .txt, .mat, .xfm), ANTs, Slicer, displacement images (.nii.gz, .nrrd, .mha), elastix
    (TransformParameters.txt with its chain), c3d, ITK-SNAP, greedy, NiftyReg, AFNI and FSL flirt (matrices), MNI
    (.xfm), FreeSurfer (.lta) and DICOM registration objects. What is known but cannot be applied is refused by its
    name. The content decides, not the ending.

    Parameters
    ----------
    path : path
        The file.
    form : {'auto', 'ras', 'lps', 'fsl'}
        What a plain matrix means, when its file does not say: RAS or LPS mm (fixed to moving), or FSL flirt's.
    fixed, moving : path, optional
        The NIfTI images that flirt was given; its matrices need them.

    Returns
    -------
    Transform
        Its `notes` say how the file was understood, where that is not plain.

    Raises
    ------
    FileError
        When the file is missing, damaged, or of a kind that cannot be applied.
    """
    source = Path(path)
    if form not in FORMS:
        raise SettingsError(f"There is no form of matrix '{form}'.", hint=did_you_mean(form, FORMS))
    if not source.is_file():
        raise FileError(f"No such transform file: {source}.", hint="Check the path.")
    try:
        transform = _read(source, form, Images(_path(fixed), _path(moving)))
    except FileError:
        raise
    except RegistrationError as error:
        raise FileError(f"{source.name}: {error.message}", hint=error.hint or UNUSABLE_HINT) from error
    return transform


def _read(path: Path, form: str, images: Images) -> Transform:
    with path.open("rb") as file:
        head = file.read(200)
    if not head:
        raise FileError(f"{path.name} is empty.", hint="Write or copy it again.")
    if form != "auto":
        return read_matrix(path, _matrix_text(path, form), form, images)
    if _ends(path, FIELD_ENDINGS):
        return read_field(path)
    for ending, what in BINARY_KINDS.items():
        if _ends(path, (ending,)):
            raise FileError(f"{path.name} is {what[0]}, which cannot be applied.", hint=what[1])
    if head[128:132] == b"DICM":
        return read_dicom_registration(path)
    if head.startswith(HDF5_MARK):
        return read_itk_binary(path)
    if head.startswith(b"MATLAB 5.0"):
        raise FileError(
            f"{path.name} is a MATLAB 5 file (SPM's, for instance), which cannot be applied.",
            hint="Give an ITK transform, or the deformation field y_*.nii of SPM.",
        )
    if _ends(path, (".mat",)) and b"\0" in head:
        return read_itk_binary(path)
    return _read_text(path, form, images)


def _read_text(path: Path, form: str, images: Images) -> Transform:
    text = read_text(path)
    if text.lstrip().startswith(TEXT_MARK):
        return read_itk_text(path, text)
    if text.lstrip().startswith("MNI Transform File"):
        return read_itk_xfm(path) if XFM_MARK in text else read_mni(path, text)
    if re.search(r"^\s*type\s*=", text, re.MULTILINE) and "nxforms" in text:
        return read_lta(path, text)
    if parameters_of(text):
        return read_elastix(path, text)
    if re.match(r"\s*(?:#.*\n)*\s*\[*Transform\b.*=|\s*Transform\s*=", text):
        raise FileError(
            f"{path.name} is an elastix transform in the TOML form, which cannot be applied.",
            hint="Write it as text: the parameter OutputTransformParameterFileFormat, or use transformix -def all.",
        )
    if looks_like_matrix(text) or AFNI_MARK in text:
        return read_matrix(path, text, form, images)
    raise unknown(path)


def _matrix_text(path: Path, form: str) -> str:
    raw = path.read_bytes()
    text = "" if b"\0" in raw else raw.decode("utf-8-sig", "replace")
    if not looks_like_matrix(text):
        raise FileError(
            f"{path.name} is not a plain matrix of 3 or 4 rows of 4 numbers, so it has no form '{form}'.",
            hint="Leave the form out; files of other kinds say themselves what they are.",
        )
    return text


def _path(path: Pathlike | None) -> Path | None:
    return None if path is None else Path(path)


def _float_image(transform: Transform, grid: Grid) -> sitk.Image:
    image = transform.displacement_on(grid).image()
    return sitk.Cast(image, sitk.sitkVectorFloat32)


def _writable(transform: Transform, target: Path) -> sitk.Transform:
    linear = transform.affine
    if _ends(target, (".tfm", ".txt", ".mat")):
        if linear is None:
            raise FileError(f"{target.name}: only linear transforms fit this format.", hint="Use .h5.")
        return linear.to_sitk()
    return _integrated(transform).to_sitk()


def _integrated(transform: Transform) -> Transform:
    """Return the transform with the displacements of its velocity fields."""
    parts = [part.exponential() if isinstance(part, VelocityField) else part for part in transform.parts]
    return Transform(tuple(parts) or (Affine.identity(),))


def _ends(path: Path, endings: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(endings)
