"""RawImage: the content of an image file, before it becomes a volume or a segmentation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .grid import Grid

Pathlike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class RawImage:
    """A scalar 3D image as stored.

    Parameters
    ----------
    array : (Z, Y, X) array
        Voxel values in their stored type (integers stay integers), or float32/float64 where the file gives
        a scale; may hold NaN and Inf.
    grid : Grid
        Grid of the voxels, LPS mm.
    stored_as : str
        The file's format and voxel type, for `dvcreg info`.
    notes : tuple of str
        Notes for the user: what was odd in the file and how it was read.
    about : mapping of str to plain values
        Further entries of the header, for `dvcreg info`.
    valid : (Z, Y, X) bool array, optional
        False in padding according to the header. None means measured everywhere.
    """

    array: npt.NDArray[Any]
    grid: Grid
    stored_as: str = ""
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    valid: npt.NDArray[np.bool_] | None = None
