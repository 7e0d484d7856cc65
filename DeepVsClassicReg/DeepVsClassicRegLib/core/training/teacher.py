"""A classical engine as a teacher: displacements of training pairs, computed once and stored on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.volume import Volume
from ..pair import Pair
from ..transforms.transform import Transform
from ..transforms.units import mm_to_channels
from .preprocessing import write_array

Array = npt.NDArray[Any]


class Teacher:
    """Fields of an engine for pairs on the training grid.

    Parameters
    ----------
    name : str
        Engine, or engine:preset.
    register : callable
        Returns the transform of the engine for a pair.
    grid : Grid
        The training grid.
    folder : Path
        Contains a file per pair.
    """

    def __init__(self, name: str, register: Callable[[Pair], Transform], grid: Grid, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._register, self._grid = register, grid

    def displacement(self, fixed: Volume, moving: Volume) -> Array:
        """Return the displacement of a pair, (3, Z, Y, X) voxels, from disk if it was computed before."""
        path = self.folder / f"{self._key(fixed, moving)}.npy"
        if not path.is_file():
            transform = self._register(Pair(fixed, moving, initial=Transform()))
            field = transform.displacement_on(self._grid).array_mm
            write_array(path, mm_to_channels(field, self._grid).astype(np.float16))
        return np.load(path, mmap_mode="r")

    def _key(self, fixed: Volume, moving: Volume) -> str:
        digest = hashlib.sha256(self.name.encode())
        for volume in (fixed, moving):
            digest.update(volume.array.tobytes())
        return digest.hexdigest()[:16]
