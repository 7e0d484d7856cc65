"""Transform files that SimpleITK, ANTs and Slicer read."""

from __future__ import annotations

import os
from pathlib import Path

import SimpleITK as sitk

from ..errors import FileError
from ..files import settle
from ..images.grid import Grid
from .affine import Affine
from .field import DisplacementField, VelocityField
from .transform import Transform

Pathlike = str | os.PathLike[str]
FIELD_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
TRANSFORM_ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")


def write_transform(transform: Transform, path: Pathlike, *, grid: Grid | None = None) -> Path:
    """Write the complete fixed-to-moving map.

    Parameters
    ----------
    transform : Transform
        What is written; velocity fields are written as the displacement they make.
    path : path
        `.h5` (ITK composite; exact), `.tfm`/`.txt`/`.mat` (linear maps), or an image ending
        (`.nii.gz`, `.nrrd`, `.mha`): one displacement field in LPS mm on `grid`.
    grid : Grid, optional
        Needed for image endings: where the field is sampled, usually the fixed volume's grid.

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
        elif _ends(target, TRANSFORM_ENDINGS):
            sitk.WriteTransform(_writable(transform, target), str(target))
        else:
            raise FileError(
                f"{target.name}: unknown ending for a transform.",
                hint=f"Use one of {', '.join(TRANSFORM_ENDINGS + FIELD_ENDINGS)}.",
            )
    except RuntimeError as error:
        raise FileError(f"Could not write {target}: {error}", hint="Check the folder and the free space.") from error
    return settle(target)


def read_transform(path: Pathlike) -> Transform:
    """Read a fixed-to-moving map from an ITK transform file or a displacement image (LPS mm).

    Raises
    ------
    FileError
        When the file is missing, unreadable, or no 3-vector image.
    """
    source = Path(path)
    if not source.is_file():
        raise FileError(f"No such transform file: {source}.", hint="Check the path.")
    try:
        if not _ends(source, FIELD_ENDINGS):
            return Transform.from_sitk(sitk.ReadTransform(str(source)))
        image = sitk.ReadImage(str(source), sitk.sitkVectorFloat64)
    except RuntimeError as error:
        raise FileError(
            f"Could not read the transform {source}: {error}",
            hint="Inverse fields written by Slicer must be converted to a grid transform first.",
        ) from error
    if image.GetNumberOfComponentsPerPixel() != 3 or image.GetDimension() != 3:
        raise FileError(f"{source.name} is no displacement field (3 components in 3D).")
    return Transform((DisplacementField.from_sitk(image),))


def _float_image(transform: Transform, grid: Grid) -> sitk.Image:
    image = transform.displacement_on(grid).image()
    return sitk.Cast(image, sitk.sitkVectorFloat32)


def _writable(transform: Transform, target: Path) -> sitk.Transform:
    linear = transform.affine
    if _ends(target, (".tfm", ".txt", ".mat")):
        if linear is None:
            raise FileError(f"{target.name}: only linear transforms fit this format.", hint="Use .h5.")
        return linear.to_sitk()
    parts = [part.exponential() if isinstance(part, VelocityField) else part for part in transform.parts]
    return Transform(tuple(parts) or (Affine.identity(),)).to_sitk()


def _ends(path: Path, endings: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(endings)
