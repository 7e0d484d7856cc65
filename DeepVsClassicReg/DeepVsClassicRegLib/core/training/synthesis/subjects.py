"""Label maps of subjects, read once and aligned by the centers of their structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ...errors import FileError
from ...images.io import read_labels, stem
from ...images.volume import LabelMap
from .brain import CORTEX, LANDMARKS, SIDES

Array = npt.NDArray[np.floating]
_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
_ROUNDS = 5
_FINE_MM = 1.5
_FEWEST = 4


@dataclass(frozen=True, eq=False)
class LabelMapSubject:
    """A label map at its own resolution, and its map from the common frame.

    Attributes
    ----------
    codes : uint8 tensor, 3 axes
        Index of every voxel's label in the list of all labels.
    index_of_frame : (3, 4) float64 tensor
        Maps a point of the common frame, mm (z, y, x) with x to the left, y to posterior, z to superior, to indices
        of `codes`. The frame is centered on the brain and symmetric about x = 0.
    name : str
        The file's name.
    """

    codes: torch.Tensor
    index_of_frame: torch.Tensor
    name: str


def read_subjects(folder: Path) -> tuple[tuple[LabelMapSubject, ...], tuple[int, ...]]:
    """Read every label map of a folder and align them affinely.

    Parameters
    ----------
    folder : Path
        Whole-head or brain label maps with FreeSurfer's numbers.

    Returns
    -------
    subjects : tuple of LabelMapSubject
        In the order of the file names.
    labels : tuple of int
        The labels that occur, ascending, 0 first; codes are positions in it.

    Raises
    ------
    FileError
        When there are fewer than two label maps, or a structure that alignment needs is missing.
    """
    paths = sorted(path for path in Path(folder).glob("*") if path.name.endswith(_ENDINGS))
    if len(paths) < 2:
        raise FileError(
            f"{folder} contains {len(paths)} label maps, at least 2 are needed.",
            hint="Use the folder that contains the label maps (.nii.gz, .nii, .nrrd, .mha).",
        )
    maps = [read_labels(path, name=stem(path)) for path in paths]
    labels = (0, *sorted({label for labelmap in maps for label in labelmap.labels} - {0}))
    if len(labels) > 256:
        raise FileError(f"{folder} has {len(labels)} different labels, at most 256 are possible.")
    marks = [_landmarks(labelmap) for labelmap in maps]
    frame = common_frame(marks)
    numbers = np.array(labels)
    subjects = []
    for labelmap, points in zip(maps, marks, strict=True):
        codes = np.searchsorted(numbers, labelmap.array).astype(np.uint8)
        subjects.append(
            LabelMapSubject(torch.from_numpy(codes), _index_of_frame(labelmap, frame, points), labelmap.name)
        )
    return tuple(subjects), labels


def common_frame(marks: Sequence[Array]) -> Array:
    """Return the mean landmarks after rigid alignment, centered and made symmetric.

    Parameters
    ----------
    marks : sequence of (P, 3) arrays
        Landmarks of every subject in the order of `_landmarks`, mm (z, y, x).

    Returns
    -------
    (P, 3) array
    """
    centered = [points - points.mean(axis=0) for points in marks]
    mean = _symmetric(np.mean(centered, axis=0))
    for _ in range(_ROUNDS):
        mean = _symmetric(np.mean([points @ _rotation(points, mean) for points in centered], axis=0))
    return mean


def fitted_affine(origins: Array, targets: Array) -> Array:
    """Return the (3, 4) affine map that brings points nearest to their targets, least squares."""
    homogeneous = np.hstack([origins, np.ones((len(origins), 1))])
    solution, *_ = np.linalg.lstsq(homogeneous, targets, rcond=None)
    return np.asarray(solution.T)


def _landmarks(labelmap: LabelMap) -> Array:
    """Return centers of structures, and of the eight parts of the cortex of each side, mm (z, y, x)."""
    # Every other voxel of a fine map suffices for a center.
    step = 2 if max(labelmap.grid.spacing_mm) < _FINE_MM else 1
    array = labelmap.array[::step, ::step, ::step]
    marks = []
    for label in LANDMARKS:
        index = np.argwhere(array == label)
        if len(index) < _FEWEST:
            raise FileError(
                f"'{labelmap.name}' has no label {label}, which is needed to align the subjects.",
                hint="Brain label maps need FreeSurfer's numbers.",
            )
        points = labelmap.grid.index_to_point(step * index[:, ::-1])[:, ::-1]
        marks.append(points.mean(axis=0))
        if label in CORTEX:
            marks.extend(_parts(points, left=label == CORTEX[0]))
    return np.array(marks)


def _parts(points: Array, *, left: bool) -> list[Array]:
    """Return the centers of eight parts of a structure, the parts of both sides in mirrored order."""
    above = points > points.mean(axis=0)
    if not left:
        above[:, 2] = ~above[:, 2]
    octant = above @ np.array([4, 2, 1])
    return [points[octant == part].mean(axis=0) for part in range(8)]


def _symmetric(points: Array) -> Array:
    """Return the mean of the landmarks and their mirror image."""
    mirrored = points[_partners()] * np.array([1.0, 1.0, -1.0])
    mean: Array = (points + mirrored) / 2
    return mean - mean.mean(axis=0)


def _partners() -> list[int]:
    """Return for each landmark the position of the same one on the other side."""
    other = {**dict(SIDES), **{right: left for left, right in SIDES}}
    keys = [(label, part) for label in LANDMARKS for part in ([-1, *range(8)] if label in CORTEX else [-1])]
    return [keys.index((other.get(label, label), part)) for label, part in keys]


def _rotation(points: Array, targets: Array) -> Array:
    """Return R such that points @ R is nearest to the targets (Kabsch)."""
    u, _, vt = np.linalg.svd(points.T @ targets)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return np.asarray(u @ sign @ vt)


def _index_of_frame(labelmap: LabelMap, frame: Array, marks: Array) -> torch.Tensor:
    index = labelmap.grid.point_to_index(marks[:, ::-1])[:, ::-1]
    return torch.from_numpy(fitted_affine(frame, index))
