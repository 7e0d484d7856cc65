"""Follow-up scans of one head whose structures grow or shrink by known percentages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import SettingsError
from ..images.grid import Grid
from ..images.resample import image_from_array
from ..images.volume import LabelMap, Volume
from ..transforms.transform import Affine
from . import head
from .phantom import cube

Array = npt.NDArray[np.floating]
# Half-axes of the zone with the full change relative to those of the structure, and of its end relative to the zone.
ZONE, END = 1.15, 2.0
SEARCH_MM = 1.5
STEP_MM = 1e-3
ITERATIONS = 60
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Growth:
    """A smooth map that scales an ellipsoid uniformly and fades to the identity outside it.

    Parameters
    ----------
    center_mm, axes_mm : tuple of 3 float
        Ellipsoid; inside it the determinant is exactly 1 + `percent` / 100.
    percent : float
        Change of volume.
    """

    center_mm: tuple[float, float, float]
    axes_mm: tuple[float, float, float]
    percent: float

    def apply(self, points_mm: Array) -> Array:
        """Return where the tissue at these points is after the change."""
        offset = points_mm - np.array(self.center_mm)
        radius = np.linalg.norm(offset / np.array(self.axes_mm), axis=-1)
        return np.asarray(np.array(self.center_mm) + offset * self._factor(radius)[..., None])

    def inverse(self, points_mm: Array) -> Array:
        """Return where the tissue at these points was before the change."""
        offset = points_mm - np.array(self.center_mm)
        goal = np.linalg.norm(offset / np.array(self.axes_mm), axis=-1)
        radius = goal.copy()
        for _ in range(ITERATIONS):
            better = goal / self._factor(radius)
            done = float(np.abs(better - radius).max(initial=0)) < TOLERANCE
            radius = better
            if done:
                break
        return np.asarray(np.array(self.center_mm) + offset / self._factor(radius)[..., None])

    def _factor(self, radius: Array) -> Array:
        share = np.clip((END - radius) / (END - 1), 0, 1)
        return np.asarray(1 + ((1 + self.percent / 100) ** (1 / 3) - 1) * share**2 * (3 - 2 * share))


def growths_of(changes: Mapping[int, float]) -> tuple[Growth, ...]:
    """Return the maps that change the structures of the head by these percentages, label -> percent.

    Raises
    ------
    SettingsError
        When the head has no such label.
    """
    for label in changes:
        if label not in head.NAMES:
            raise SettingsError(f"The head has no label {label}.", hint=f"Labels: {', '.join(map(str, head.NAMES))}.")
    grid = cube(round(head.SIZE_MM / SEARCH_MM), head.SIZE_MM)
    labels, _ = head.label_at(grid.points())
    found = []
    for label, percent in changes.items():
        inside = grid.index_to_point(np.argwhere(labels == label)[:, ::-1])
        center = (inside.min(axis=0) + inside.max(axis=0)) / 2
        axes = (inside.max(axis=0) - inside.min(axis=0) + SEARCH_MM) / 2 * ZONE
        found.append(Growth(_three(center), _three(axes), percent))
    return tuple(found)


def make_time_point(
    changes: Mapping[int, float],
    *,
    size: int = 96,
    grid: Grid | None = None,
    pose: Affine | None = None,
    contrast: str = "t1",
    noise: float = 0.02,
    seed: int = 0,
    name: str = "",
    supersampling: int = 2,
) -> tuple[Volume, LabelMap]:
    """Return a scan of the head with changed structures, and its segmentation.

    Parameters
    ----------
    changes : mapping of int to float
        Label -> change of volume in percent against the unchanged head; empty for the first scan.
    size : int
        Voxels along each axis of the default grid, 192 mm.
    grid : Grid, optional
        Any grid.
    pose : Affine, optional
        Maps points of the scan to points of the head, for another position of the patient.
    contrast : {'t1', 't2'}
        Contrast.
    noise : float
        Standard deviation relative to the brightest tissue.
    seed : int
        Seed of the noise.
    name : str
        Name of the volume.
    supersampling : int
        Points per voxel and axis, so that borders between voxels are represented.

    Examples
    --------
    >>> scan, labels = make_time_point({17: -5.0}, size=16)
    >>> scan.grid.size
    (16, 16, 16)
    """
    target = grid or cube(size, head.SIZE_MM)
    fine = target.with_spacing([spacing / supersampling for spacing in target.spacing_mm])
    growths = growths_of(changes)
    labels = np.zeros(target.shape, np.int32)
    clean = np.zeros(target.shape, np.float32)
    for k in range(target.shape[0]):  # slice by slice, because the fine points are many
        part = fine.cropped((0, 0, k * supersampling), (fine.size[0], fine.size[1], supersampling))
        points = _before(part.points(), pose, growths)
        values = head.intensity_at(points, contrast=contrast).reshape(
            supersampling, target.shape[1], supersampling, target.shape[2], supersampling
        )
        clean[k] = values.mean(axis=(0, 2, 4))
        labels[k] = head.label_at(_before(target.cropped((0, 0, k), (*target.size[:2], 1)).points(), pose, growths))[0]
    blurred = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(image_from_array(clean, target), [0.4 * s for s in target.spacing_mm])
    )
    rng = np.random.default_rng(seed)
    inside = blurred > 0.02
    noisy = np.clip(blurred + noise * float(clean.max()) * rng.normal(size=target.shape), 0, None)
    image = 1000 * np.where(inside, noisy, 0)
    title = name or f"time point {seed}"
    return Volume(image.astype(np.float32), target, title), LabelMap(
        labels, target, head.NAMES, f"{title} segmentation"
    )


def true_changes(changes: Mapping[int, float], *, spacing_mm: float = 1.5) -> dict[int, float]:
    """Return the change of volume of every structure in percent: neighbors change as well.

    It is the mean determinant of the map over the points of the structure before the change, so that it does not
    contain the error of counting points at borders twice.

    Parameters
    ----------
    changes : mapping of int to float
        As for `make_time_point`.
    spacing_mm : float
        Distance of the points.
    """
    grid = cube(round(head.SIZE_MM / spacing_mm), head.SIZE_MM)
    labels, _ = head.label_at(grid.points())
    inside = labels > 0
    points, own = grid.points()[inside], labels[inside]
    determinant = _determinant(points, growths_of(changes))
    counts = np.bincount(own)
    sums = np.bincount(own, determinant - 1)
    return {label: float(100 * sums[label] / counts[label]) for label in sorted(head.NAMES) if counts[label]}


def _determinant(points: Array, growths: Sequence[Growth]) -> Array:
    """Return the determinant of the whole map at points (N, 3), by central differences."""

    def moved(offset: Array) -> Array:
        found: Array = points + offset
        for growth in growths:
            found = growth.apply(found)
        return found

    columns = [(moved(step) - moved(-step)) / (2 * STEP_MM) for step in STEP_MM * np.eye(3)]
    return np.asarray(np.linalg.det(np.stack(columns, axis=-1)))


def _before(points: Array, pose: Affine | None, growths: Sequence[Growth]) -> Array:
    """Return the points of the unchanged head that are seen at these points of a scan."""
    found = points if pose is None else pose.apply(points)
    for growth in reversed(growths):
        found = growth.inverse(found)
    return found


def _three(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
