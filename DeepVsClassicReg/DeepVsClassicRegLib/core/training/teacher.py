"""Teachers: fields of training pairs by an engine or a method, computed once and stored on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..images.grid import Grid
from ..images.volume import Volume
from ..networks.base import MethodTeacher
from ..pair import Pair
from ..transforms.transform import Transform
from ..transforms.units import mm_to_channels
from .preprocessing import write_array

Array = npt.NDArray[Any]


class Teacher:
    """Fields of pairs on the training grid.

    Parameters
    ----------
    name : str
        Name of the teacher with its settings.
    find : callable
        Returns the field of a pair of volumes, (3, Z, Y, X) in voxels of the training grid.
    folder : Path
        Contains a file per pair.
    fills : str
        Entry of the batch for the fields, 'displacement' or 'momentum'.
    """

    def __init__(
        self, name: str, find: Callable[[Volume, Volume], Array], folder: Path, *, fills: str = "displacement"
    ) -> None:
        self.name, self.folder, self.fills = name, folder, fills
        self._find = find

    def field(self, fixed: Volume, moving: Volume) -> Array:
        """Return the field of a pair, (3, Z, Y, X), from disk if it was computed before."""
        path = self.folder / f"{self._key(fixed, moving)}.npy"
        if not path.is_file():
            write_array(path, self._find(fixed, moving).astype(np.float16))
        return np.load(path, mmap_mode="r")

    def _key(self, fixed: Volume, moving: Volume) -> str:
        digest = hashlib.sha256(self.name.encode())
        for volume in (fixed, moving):
            digest.update(volume.array.tobytes())
        return digest.hexdigest()[:16]


def teacher_of_engine(name: str, register: Callable[[Pair], Transform], grid: Grid, folder: Path) -> Teacher:
    """Return an engine (or engine:preset) as a teacher of displacements on the training grid."""

    return Teacher(name, displacement_of_engine(register, grid), folder)


def displacement_of_engine(register: Callable[[Pair], Transform], grid: Grid) -> Callable[[Volume, Volume], Array]:
    """Return the function that registers two volumes: (3, Z, Y, X) voxels of the training grid."""

    def find(fixed: Volume, moving: Volume) -> Array:
        transform = register(Pair(fixed, moving, initial=Transform()))
        return mm_to_channels(transform.displacement_on(grid).array_mm, grid)

    return find


def teacher_of_method(teacher: MethodTeacher, folder: Path) -> Teacher:
    """Return the teacher that belongs to a method."""

    def find(fixed: Volume, moving: Volume) -> Array:
        images = [torch.from_numpy(np.array(volume.array, np.float32))[None, None] for volume in (fixed, moving)]
        return np.asarray(teacher.find(images[0], images[1])[0])

    return Teacher(teacher.name, find, folder, fills="momentum")
