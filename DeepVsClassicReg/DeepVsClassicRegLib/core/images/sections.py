"""Serial sections: a folder of 2D images, or the slices of a volume, as one volume whose slices are the sections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import GeometryError, RegistrationError, SettingsError
from .channels import PICTURES, luminance
from .grid import Grid
from .io import read_channels, read_image, read_volume
from .raw import Pathlike, check_content
from .volume import Volume

MEDICAL = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
FEWEST = 2
AXES = "ijk"
SAME_SPACING = 1e-3


@dataclass(frozen=True, eq=False)
class Sections:
    """Serial sections in their order.

    Attributes
    ----------
    volume : Volume
        Slice k of the array (Z, Y, X) is section k; of color sections what is registered, such as the luminance.
    names : tuple of str
        Name of each section.
    channels : (Z, Y, X, C) array or None
        All values of color sections, in their type.
    """

    volume: Volume
    names: tuple[str, ...]
    channels: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        count = self.volume.grid.size[2]
        if count < FEWEST or min(self.volume.grid.size[:2]) == 1:
            raise GeometryError(
                f"'{self.volume.name}' has the size {self.volume.grid.size}; at least {FEWEST} sections are needed.",
                hint="Give a folder of images, or a volume with several slices.",
            )
        if len(self.names) != count:
            raise RegistrationError(f"{count} sections need {count} names, got {len(self.names)}.")
        if self.channels is not None and self.channels.shape[:3] != self.volume.array.shape:
            raise RegistrationError(f"Channels {self.channels.shape} do not fit sections {self.volume.array.shape}.")


def read_sections(
    path: Pathlike, *, axis: str = "k", spacing_mm: float | None = None, thickness_mm: float | None = None
) -> Sections:
    """Read serial sections.

    Parameters
    ----------
    path : path
        A folder of 2D images (PNG, TIFF, JPEG, BMP, or 2D NIfTI, NRRD, MetaImage), which are sorted by the numbers in
        their names, or a volume. The luminance of color is registered, or a channel of a volume that is chosen as
        `volume.nrrd#channel=1`. Smaller images are centered in the largest one.
    axis : {'i', 'j', 'k'}
        Axis of a volume that is perpendicular to the sections.
    spacing_mm : float, optional
        Pixel size of 2D images, when their files do not contain it.
    thickness_mm : float, optional
        Distance of the sections; for 2D images the pixel size when not given, for volumes that of the header.

    Raises
    ------
    FileError
        When a file is missing or unreadable.
    GeometryError
        When there are fewer than two sections.
    SettingsError
        When the axis does not exist or the pixel sizes of the images differ.
    """
    source = Path(path)
    if axis not in AXES:
        raise SettingsError(f"There is no axis '{axis}'.", hint=f"Use one of {', '.join(AXES)}.")
    files = _images_of(source) if source.is_dir() else []
    if files:
        return _from_images(files, source.name, spacing_mm, thickness_mm)
    volume = sliced_along(read_volume(source), axis)
    if thickness_mm is not None:
        volume = Volume(volume.array, _with_thickness(volume.grid, thickness_mm), volume.name, volume.valid)
    found = read_channels(source)
    channels = None if found is None else np.ascontiguousarray(found.array.transpose(*_along(axis), 3))
    return Sections(volume, tuple(f"{volume.name} {number}" for number in range(volume.grid.size[2])), channels)


def sliced_along(volume: Volume, axis: str) -> Volume:
    """Return the same volume with its index axes reordered, so that `axis` ('i', 'j' or 'k') is the last one."""
    along = _along(axis)
    if along == [0, 1, 2]:
        return volume
    grid, order = volume.grid, [2 - number for number in reversed(along)]
    turned = Grid(
        tuple(grid.size[number] for number in order),  # type: ignore[arg-type]
        tuple(grid.spacing_mm[number] for number in order),  # type: ignore[arg-type]
        grid.origin_mm,
        tuple(grid.axes[:, order].ravel().tolist()),
    )
    valid = None if volume.valid is None else np.ascontiguousarray(volume.valid.transpose(along))
    return Volume(np.ascontiguousarray(volume.array.transpose(along)), turned, volume.name, valid, volume.notes)


def _along(axis: str) -> list[int]:
    """Return the order of the axes of an array (Z, Y, X) in which `axis` ('i', 'j' or 'k') is the first one."""
    across = 2 - AXES.index(axis)
    return [across, *(number for number in range(3) if number != across)]


def _with_thickness(grid: Grid, thickness_mm: float) -> Grid:
    x, y, _z = grid.spacing_mm
    return Grid(grid.size, (x, y, thickness_mm), grid.origin_mm, grid.direction)


def _images_of(folder: Path) -> list[Path]:
    """Return the 2D images of a folder in their natural order; none when it holds DICOM slices."""
    known = (*PICTURES, *MEDICAL)
    files = [
        entry
        for entry in folder.iterdir()
        if entry.is_file() and entry.name.lower().endswith(known) and not entry.name.startswith(".")
    ]
    return sorted(files, key=_natural)


def _natural(path: Path) -> list[Any]:
    """Return a key that sorts section 9 before section 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", path.name)]


def _from_images(files: Sequence[Path], name: str, spacing_mm: float | None, thickness_mm: float | None) -> Sections:
    images = [_read_plane(file) for file in files]
    spacing = spacing_mm or _common_spacing([spacing for _array, spacing in images], files)
    arrays = [array for array, _spacing in images]
    largest = tuple(max(array.shape[axis] for array in arrays) for axis in (0, 1))
    notes: tuple[str, ...] = ()
    if any(array.shape[:2] != largest for array in arrays):
        notes = (f"The sections have different sizes; all are centered in {largest[1]} x {largest[0]} pixels.",)
    centered = [_centered(array, largest) for array in arrays]
    stack = np.stack([array if array.ndim == 2 else luminance(array) for array in centered]).astype(np.float32)
    alike = centered[0].ndim == 3 and len({(array.shape, array.dtype) for array in centered}) == 1
    z, y, x = stack.shape
    grid = Grid((x, y, z), (spacing, spacing, thickness_mm or spacing))
    names = tuple(file.name for file in files)
    return Sections(Volume.filled(stack, grid, name, notes=notes), names, np.stack(centered) if alike else None)


def _read_plane(file: Path) -> tuple[npt.NDArray[Any], float | None]:
    """Return the values (Y, X) or (Y, X, C) of a 2D image, and its pixel size where the file has one."""
    check_content(file)
    image = read_image(file)
    if image.GetDimension() == 3 and image.GetSize()[2] == 1:
        image = image[:, :, 0]
    if image.GetDimension() != 2:
        raise GeometryError(
            f"{file.name} has {image.GetDimension()} dimensions {image.GetSize()}, expected 2.",
            hint="Give the volume itself, or a folder that contains 2D images only.",
        )
    array = sitk.GetArrayFromImage(image)
    x, y = image.GetSpacing()
    if abs(x - y) > SAME_SPACING * max(x, y):
        raise GeometryError(
            f"The pixels of {file.name} are not square ({x:g} x {y:g} mm).", hint="Resample the images."
        )
    return array, None if x == 1.0 and file.suffix.lower() in PICTURES else float(x)


def _common_spacing(found: Sequence[float | None], files: Sequence[Path]) -> float:
    known = [spacing for spacing in found if spacing is not None]
    if not known:
        return 1.0
    if len(known) < len(found) or max(known) - min(known) > SAME_SPACING * max(known):
        raise SettingsError(
            f"The pixel sizes of the {len(files)} images differ, {min(known):g} to {max(known):g} mm, or are missing.",
            hint="Give the pixel size (--spacing).",
        )
    return known[0]


def _centered(array: npt.NDArray[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    """Return the image (Y, X) or (Y, X, C) centered in a larger one, filled with the median of its border."""
    if array.shape[:2] == tuple(shape):
        return array
    border = np.concatenate([array[0], array[-1], array[:, 0], array[:, -1]])
    whole = np.empty((*shape, *array.shape[2:]), array.dtype)
    whole[:] = np.median(border, axis=0).astype(array.dtype)
    y, x = ((outer - inner) // 2 for outer, inner in zip(shape, array.shape[:2], strict=True))
    whole[y : y + array.shape[0], x : x + array.shape[1]] = array
    return whole
