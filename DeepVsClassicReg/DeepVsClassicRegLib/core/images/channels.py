"""Channels of color and vector images: the one that is registered, and writing of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import FileError, RegistrationError
from .grid import Grid
from .raw import Pathlike
from .resample import image_from_array

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
MARK = "channel="
COLOR = "luminance"
PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Channels:
    """An image with several values per voxel.

    Attributes
    ----------
    array : (Z, Y, X, C) array
        Its values as stored.
    grid : Grid
        Grid of the voxels, LPS mm.
    name : str
        Name in messages.
    """

    array: Array
    grid: Grid
    name: str = "image"


def luminance(channels: Array) -> npt.NDArray[np.float32]:
    """Return the luminance of red, green and blue, (..., C) to (...); of fewer channels the first one (gray)."""
    if channels.shape[-1] < 3:
        return np.asarray(channels[..., 0], dtype=np.float32)
    return np.asarray(channels[..., :3].astype(np.float32) @ np.array(LUMINANCE, np.float32))


def is_color(channels: Array) -> bool:
    """Return whether values are those of a color image: gray and alpha, RGB or RGBA, unsigned and at most 16 bits."""
    return channels.dtype.kind == "u" and channels.dtype.itemsize <= 2 and channels.shape[-1] in (2, 3, 4)


def wanted_channel(part: str | None) -> str | None:
    """Return the channel of `image.png#channel=1`, None when the part after # does not name one."""
    return part.removeprefix(MARK) if part is not None and part.startswith(MARK) else None


def scalar_of(channels: Array, channel: str | None, name: str) -> tuple[Array, str]:
    """Return the values to register, (Z, Y, X), and a note about them.

    Parameters
    ----------
    channels : (Z, Y, X, C) array
        All channels.
    channel : str or None
        'luminance' or a number from 0; None for the luminance of a color image.
    name : str
        Name of the file.

    Raises
    ------
    RegistrationError
        When it is not a color image and no channel is chosen, or there is no such channel.
    """
    count = channels.shape[-1]
    if channel is None and not is_color(channels):
        raise RegistrationError(
            f"{name} has {count} components per voxel (a vector image).",
            hint=f"Choose one, from 0: {name}#{MARK}0. A displacement field is given as a transform.",
        )
    if channel in (None, COLOR):
        return luminance(channels), f"The image has {count} channels; their luminance is registered."
    if channel is None or not channel.isdigit() or int(channel) >= count:
        raise RegistrationError(
            f"{name} has no channel '{channel}': it has {count} channels.",
            hint=f"Give {COLOR}, or a number from 0 to {count - 1}.",
        )
    return channels[..., int(channel)], f"Channel {channel} of {count} is registered."


def channels_image(channels: Channels) -> sitk.Image:
    """Return the image as a SimpleITK image with vector voxels."""
    return image_from_array(channels.array, channels.grid, vector=True)


def write_picture(array: Array, grid: Grid, path: Pathlike) -> Path:
    """Write one slice, (1, Y, X) or (1, Y, X, C), as PNG, TIFF, JPEG or BMP.

    Unsigned values of 8 or 16 bits are kept; others are scaled: the lowest becomes 0, the highest 255.

    Raises
    ------
    FileError
        When there are several slices, or the file cannot be written.
    """
    target = Path(path)
    if array.shape[0] != 1:
        raise FileError(f"{target.name} holds one slice, not {array.shape[0]}.", hint="Use .nii.gz or .nrrd.")
    plane = array[0]
    if plane.dtype not in (np.uint8, np.uint16):
        low, high = float(plane.min()), float(plane.max())
        plane = np.rint((plane - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(plane), isVector=plane.ndim == 3)
    image.SetSpacing(grid.spacing_mm[:2])
    try:
        sitk.WriteImage(image, str(target))
    except RuntimeError as error:
        raise FileError(
            f"Could not write {target}.", hint="Check the folder, the ending and the free space."
        ) from error
    return target


def as_volume(image: sitk.Image, name: str) -> tuple[sitk.Image, tuple[str, ...]]:
    """Return a 2D image as a volume of one slice, as thick as its pixels, and notes."""
    x, y = image.GetSpacing()
    notes: tuple[str, ...] = ("A 2D image, read as one slice.",)
    if (x, y) == (1.0, 1.0) and name.lower().endswith(PICTURES):
        notes = ("A 2D image without a pixel size, read as one slice with pixels of 1 mm.",)
    volume = sitk.JoinSeries([image])
    volume.SetSpacing((x, y, min(x, y)))
    return volume, notes
