"""Selects the reader of a file: all images are read by `read_raw`, ITK images are written by `write_image`."""

from __future__ import annotations

import re
from pathlib import Path

import SimpleITK as sitk

from ..errors import FileError, GeometryError, RegistrationError
from ..files import settle, split_series
from .completeness import check_complete
from .mgh import is_mgh, read_mgh
from .nifti import is_nifti, read_nifti
from .raw import Pathlike, RawImage
from .simple import grid_of
from .stream import looks_like_dicom

FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha, .mhd), FreeSurfer (.mgz) or a DICOM folder"
FRAME = re.compile(r"(.+)\.nii(?:\.gz)?#(\d+)", re.IGNORECASE)
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img")


def read_raw(path: Pathlike, *, series: str | None = None) -> RawImage:
    """Read a scalar 3D image with its stored values.

    Parameters
    ----------
    path : path
        File or DICOM folder; `folder#4` is series 4 of a DICOM folder, `scan.nii.gz#4` frame 4 (from 0) of a 4D NIfTI.
    series : str, optional
        The series of a DICOM folder with several, see `read_dicom`; the frame of a 4D NIfTI.

    Raises
    ------
    FileError
        When the file is missing or unreadable.
    GeometryError
        When the image is not 3D or its axes are sheared.
    RegistrationError
        When it is a color image.
    """
    source, named = split_series(Path(path))
    series = series or named
    if not source.exists():
        raise FileError(f"No such file: {source}.", hint="Check the path.")
    if source.is_dir() or looks_like_dicom(source):
        from .dicom import read_dicom

        return read_dicom(source, series)
    if source.is_file():
        if is_nifti(source):
            return read_nifti(source, series)
        if is_mgh(source):
            return read_mgh(source)
    image, notes = _three_dimensional(read_image(source), source.name)
    return RawImage(sitk.GetArrayFromImage(image), grid_of(image), image.GetPixelIDTypeAsString(), notes)


def write_image(image: sitk.Image, path: Pathlike) -> Path:
    """Write a SimpleITK image, compressed; `FileError` when that fails."""
    target = Path(path)
    if not target.name.lower().endswith(WRITABLE):
        raise FileError(f"{target.name}: unknown ending for an image.", hint=f"Use one of {', '.join(WRITABLE)}.")
    try:
        sitk.WriteImage(image, str(target), useCompression=True)
    except RuntimeError as error:
        raise FileError(
            f"Could not write {target}: {_last_line(error)}.", hint="Check the folder, the ending and the free space."
        ) from error
    return settle(target)


def stem(path: Pathlike) -> str:
    """Return the file's name without folder and (double) ending."""
    name = Path(path).name
    if framed := FRAME.fullmatch(name):
        return f"{framed[1]}_{framed[2]}"
    for ending in (".nii.gz", ".mrk.json", ".seg.nrrd", ".mgh.gz"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return Path(name).stem


def read_image(path: Path) -> sitk.Image:
    """Return an image of any dimension and type as ITK reads it, after a check that the file is complete."""
    check_complete(path)
    if path.is_file() and not sitk.ImageFileReader.GetImageIOFromFileName(str(path)):
        raise FileError(
            f"Could not read {path}: its format is not known, or it is damaged.", hint=f"Readable are {FORMATS}."
        )
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise GeometryError(
                f"{path.name} has sheared axes (no orthonormal direction).",
                hint="Resample it to an ordinary grid first (in Slicer: Harden transform, Resample).",
            ) from error
        raise FileError(f"Could not read {path}: {_last_line(error)}.", hint=f"Readable are {FORMATS}.") from error


def _three_dimensional(image: sitk.Image, name: str) -> tuple[sitk.Image, tuple[str, ...]]:
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise RegistrationError(
            f"{name} has {image.GetNumberOfComponentsPerPixel()} components per voxel (color or vector image).",
            hint="Only scalar volumes can be registered; extract one component first.",
        )
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        return image[:, :, :, 0], ("A 4D file with one frame, read as 3D.",)
    if image.GetDimension() != 3:
        raise GeometryError(
            f"{name} has {image.GetDimension()} dimensions {image.GetSize()}, expected 3.",
            hint="Extract one 3D frame first." if image.GetDimension() == 4 else "Give a 3D volume.",
        )
    return image, ()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("sitk::ERROR: ").rstrip(".") if lines else type(error).__name__
