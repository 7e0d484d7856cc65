"""Resamples real volumes on the training grid once and stores the arrays on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError, RegistrationError, SettingsError
from ..files import NO_SPACE, atomic, json_digest
from ..images.grid import Grid
from ..images.intensity import background_value, foreground, normalized
from ..images.io import read_labels, read_volume
from ..images.resample import sampled_on, warp_labels
from ..images.volume import LabelMap, Volume
from ..transforms.transform import Transform
from .manifest import Manifest, TrainingCase

Align = Callable[[Volume, Volume], Transform]
Array = npt.NDArray[Any]
LEAST_SHOWN = 0.5  # minimum fraction of the foreground inside the training grid
VERSION = 2
SAME_SPACING, STRAIGHT = 1e-3, 1e-4
MOST_VOXELS = 1.2e6  # of an automatic training grid: 112 x 112 x 96


@dataclass(frozen=True)
class Frame:
    """The grid and alignment of the training volumes.

    Attributes
    ----------
    grid : Grid
        The training grid.
    template : Volume or None
        Volume to which they are aligned first; None to use their headers.
    align : callable or None
        `align(template, volume)` returns the linear map from template to volume points.
    """

    grid: Grid
    template: Volume | None = None
    align: Align | None = None


def training_frame(
    reference: Volume, size: tuple[int, int, int], spacing_mm: float, align: Align | None = None
) -> Frame:
    """Return the frame around the foreground of a volume, with axes along the patient axes (LPS).

    Parameters
    ----------
    reference : Volume
        The grid is centered on its foreground.
    size : (x, y, z)
        Voxels of the grid.
    spacing_mm : float
        Edge of its cubic voxels.
    align : callable, optional
        Aligns every volume to the reference.
    """
    center = reference.grid.index_to_point(_middle(foreground(reference)))
    origin = center - (np.array(size) - 1) / 2 * spacing_mm
    grid = Grid(size, (spacing_mm,) * 3, (float(origin[0]), float(origin[1]), float(origin[2])))
    return Frame(grid, reference if align else None, align)


def snapped(grid: Grid, own: Grid) -> Grid:
    """Return a grid shifted by less than a voxel so that its voxels are voxels of a volume, without interpolation.

    Parameters
    ----------
    grid : Grid
        The training grid.
    own : Grid
        Grid of the volume; if its axes or spacing differ from those of the training grid, the latter is returned.
    """
    turned = np.abs(grid.axes.T @ own.axes)
    if not np.allclose(turned.max(axis=0), 1, atol=STRAIGHT):
        return grid
    spacing = turned.round() @ np.array(own.spacing_mm)
    if not np.allclose(spacing, grid.spacing_mm, rtol=SAME_SPACING):
        return grid
    origin = own.index_to_point(np.rint(own.point_to_index(grid.origin_mm)))
    return Grid(grid.size, tuple(spacing.tolist()), tuple(origin.tolist()), grid.direction)


def own_grid(manifest: Manifest, *, multiple: int = 16) -> tuple[tuple[int, int, int], float]:
    """Return size and spacing of a training grid that contains every volume of a dataset voxel by voxel.

    Parameters
    ----------
    manifest : Manifest
        Cases whose volumes all have the same isotropic voxel size.
    multiple : int
        Sizes are rounded up to multiples of it.

    Raises
    ------
    SettingsError
        When the voxel sizes differ between volumes or axes.
    """
    sizes, spacings = _sizes_and_spacings(manifest)
    low, high = float(spacings.min()), float(spacings.max())
    if high - low > SAME_SPACING * high:
        raise SettingsError(
            f"The voxel sizes of the dataset differ, {low:g} to {high:g} mm.",
            hint="Give --size and --spacing in numbers to resample the volumes.",
        )
    return _rounded_up(sizes.max(axis=0), multiple), round(low, 3)


def auto_grid(
    manifest: Manifest, *, multiple: int = 16, most_voxels: float = MOST_VOXELS
) -> tuple[tuple[int, int, int], float]:
    """Return size and spacing of a training grid that contains every volume of a dataset.

    Parameters
    ----------
    manifest : Manifest
        Cases with any voxel sizes.
    multiple : int
        Sizes are rounded up to multiples of it.
    most_voxels : float
        Where the volumes have more voxels, the grid is coarser than they are.

    Returns
    -------
    size : tuple of 3 int
        (X, Y, Z).
    spacing_mm : float
        The median of the finest voxel sizes of the volumes, or the finest one that `most_voxels` allows.
    """
    sizes, spacings = _sizes_and_spacings(manifest)
    extent_mm = (sizes * spacings).max(axis=0)
    spacing = float(np.median(spacings.min(axis=1)))
    while np.prod(_rounded_up(extent_mm / spacing, multiple)) > most_voxels:
        spacing *= 1.02
    return _rounded_up(extent_mm / spacing, multiple), round(spacing, 3)


def _sizes_and_spacings(manifest: Manifest) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Return voxels and voxel sizes in mm of every case along the patient axes, (N, 3) each."""
    sizes, spacings = [], []
    for case in manifest.cases:
        grid = read_volume(case.image).grid
        order = np.abs(grid.axes).argmax(axis=1)
        sizes.append(np.array(grid.size, float)[order])
        spacings.append(np.array(grid.spacing_mm)[order])
    return np.array(sizes), np.array(spacings)


def _rounded_up(sizes: npt.NDArray[np.floating], multiple: int) -> tuple[int, int, int]:
    whole = np.ceil(np.round(sizes, 6) / multiple).astype(int) * multiple
    return int(whole[0]), int(whole[1]), int(whole[2])


def preprocessed(case: TrainingCase, frame: Frame, cache: Path) -> tuple[Array, Array | None]:
    """Return a case on the training grid, from the cache if available.

    Returns
    -------
    image : (Z, Y, X) float16 array
        Intensities 0 to 1, mapped from the disk.
    labels : (Z, Y, X) int32 array or None
        Its label numbers.

    Raises
    ------
    RegistrationError
        When most of its foreground is outside the grid.
    """
    image, labels = (cache / f"{case.name}-{_key(case, frame)}-{part}.npy" for part in ("image", "labels"))
    if not image.is_file() or (case.labels is not None and not labels.is_file()):
        _prepare(case, frame, image, labels)
    return np.load(image, mmap_mode="r"), np.load(labels, mmap_mode="r") if case.labels is not None else None


def _prepare(case: TrainingCase, frame: Frame, image: Path, labels: Path) -> None:
    volume = read_case(case)
    transform = None
    if frame.template is not None and frame.align is not None:
        transform = frame.align(frame.template, volume)
    grid = frame.grid if transform is not None else snapped(frame.grid, volume.grid)
    sampled = sampled_on(volume, grid, transform)
    _check_view(volume, sampled, transform)
    if case.labels is not None:
        write_array(labels, warp_labels(read_labels(case.labels), grid, transform).array)
    write_array(image, normalized(sampled).astype(np.float16))


def read_case(case: TrainingCase) -> Volume:
    """Return the volume of a case on its own grid, background outside of its mask."""
    volume = read_volume(case.image)
    return volume if case.mask is None else _masked(volume, read_labels(case.mask))


def _masked(volume: Volume, mask: LabelMap) -> Volume:
    inside = warp_labels(mask, volume.grid).mask()
    return Volume(np.where(inside, volume.array, background_value(volume)), volume.grid, volume.name)


def _check_view(volume: Volume, sampled: Volume, transform: Transform | None) -> None:
    lower, upper = np.percentile(volume.array, [0.5, 99.5])
    cut = lower + 0.1 * (upper - lower)
    scale = 1.0
    if transform is not None and transform.affine is not None:
        scale = abs(float(np.linalg.det(transform.affine.matrix)))
    whole = float((volume.array > cut).sum()) * volume.grid.voxel_volume_mm3
    shown = float((sampled.array > cut).sum()) * sampled.grid.voxel_volume_mm3 * scale
    if whole == 0 or shown < LEAST_SHOWN * whole:
        raise RegistrationError(
            f"Only {100 * shown / max(whole, 1e-9):.0f} % of '{volume.name}' is inside the training grid.",
            hint="Use --linear first to align the images, or a larger --size or --spacing.",
        )


def _middle(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating]:
    """Return the center (i, j, k) of the box that contains all but the outermost hundredth along each axis."""
    ends = []
    for axis in (2, 1, 0):
        share = np.cumsum(mask.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.float64))
        ends.append(np.searchsorted(share, np.array([0.01, 0.99]) * share[-1]).mean())
    return np.array(ends)


def _key(case: TrainingCase, frame: Frame) -> str:
    files = [file for file in (case.image, case.labels, case.mask) if file is not None]
    states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    template = "" if frame.template is None else hashlib.sha256(frame.template.array.tobytes()).hexdigest()
    grid = frame.grid
    return json_digest([VERSION, states, template, grid.size, grid.spacing_mm, grid.origin_mm, grid.direction])[:12]


def write_array(path: Path, array: Array) -> None:
    """Write an array as .npy atomically, creating its folder when needed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"Could not create {path.parent}: {error.strerror or error}.", hint=NO_SPACE) from error
    with atomic(path) as draft, draft.open("wb") as file:
        np.save(file, array)
