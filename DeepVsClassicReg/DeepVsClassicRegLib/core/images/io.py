"""Reading and writing volumes in the formats of the field."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import RegistrationError
from .formats import read_raw, stem, write_image
from .padding import marked
from .raw import Pathlike, RawImage
from .segmentations import write_labels
from .simple import to_sitk
from .volume import LabelMap, Volume


def read_volume(path: Pathlike, *, repair: bool = True, name: str | None = None, series: str | None = None) -> Volume:
    """Read a scalar 3D volume.

    Parameters
    ----------
    path : path
        A NIfTI or FreeSurfer file, a file of any other format SimpleITK reads, or a folder with DICOM slices.
    repair : bool, default True
        Mark NaN and Inf as not measured (`Volume.valid`) and fill them with the lowest finite value; padding is
        marked in any case.
    name : str, optional
        Name of the volume; the file's name when not given.
    series : str, optional
        Which series of a DICOM folder with several: number as the error lists it, UID or description.

    Returns
    -------
    Volume
        Its `notes` say what was odd in the file and how it was read.

    Raises
    ------
    FileError
        When the file is missing or unreadable.
    GeometryError
        When the volume is not 3D or its axes are sheared.
    RegistrationError
        When it is a color image, contains no finite value, or contains NaN or Inf and `repair` is False.
    """
    return volume_of(read_raw(path, series=series), name or stem(path), repair=repair)


def volume_of(raw: RawImage, name: str, *, repair: bool = True) -> Volume:
    """Return the stored image as a volume; see `read_volume`."""
    with np.errstate(over="ignore"):  # what single precision cannot hold becomes Inf, and is said to be
        array = raw.array.astype(np.float32)
    if not repair and not np.isfinite(array).all():
        raise RegistrationError(f"'{name}' has values that are not finite (NaN or Inf).")
    return marked(Volume.filled(array, raw.grid, name, notes=raw.notes, valid=raw.valid))


def write_volume(volume: Volume | LabelMap, path: Pathlike) -> Path:
    """Write a volume (float32) or a label map (smallest integer type), compressed.

    Raises
    ------
    FileError
        When the file cannot be written (folder missing, disk full, unknown format).
    """
    if isinstance(volume, LabelMap):
        return write_labels(volume, path)
    return write_image(to_sitk(volume), path)
