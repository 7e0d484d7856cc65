"""The halfway space of the time points of a subject: every scan is moved and resampled once, none is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from ..engines.registration import LINEAR
from ..images.grid import Grid
from ..images.intensity import foreground
from ..images.io import read_volume, write_volume
from ..images.resample import image_from_array, to_sitk
from ..images.resample import resampled as on_grid
from ..images.volume import Volume
from ..progress import Progress
from ..transforms.mean import mean_affine
from ..transforms.transform import Affine
from .atlas_average import HIGHEST, LEVEL, SubjectFacts, facts_of, grid_around
from .atlas_subjects import AtlasSubject
from .atlas_tasks import FileRegistration, register_all

# A simulated rescan: turned by this angle about an oblique axis and shifted by half a voxel.
RESCAN_DEGREES = 4.0
# Standard deviation of the smoothing of the brightness, for a head, and the largest local logarithm of a ratio in it.
BRIGHTNESS_MM, LARGEST_RATIO, LEAST_WEIGHT = 15.0, 0.3, 0.05
# Voxel size of the space relative to the finest of the scans, and standard deviation of the smoothing of the scans that
# are registered, in voxels of the space. The gradient of linear interpolation is too small at edges that are as sharp
# as voxels can show, and the change of a structure then appears too large; more smoothing has the same effect at curved
# surfaces.
FINER, COMPARED_VOX = 2 / 3, 0.5
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HalfwaySpace:
    """The common space of all time points.

    Attributes
    ----------
    grid : Grid
        Its grid.
    poses : tuple of Affine
        Map from points of the space to points of each scan; their mean is the identity.
    facts : tuple of SubjectFacts
        Intensities of the scans.
    files : tuple of Path
        The scans on the grid, intensities 0 to 1000.
    compared : tuple of Path
        The same, smoothed for registration.
    confidence : float
        Lowest confidence of the alignments.
    cpu_seconds : float
        CPU seconds of the alignments.
    """

    grid: Grid
    poses: tuple[Affine, ...]
    facts: tuple[SubjectFacts, ...]
    files: tuple[Path, ...]
    compared: tuple[Path, ...]
    confidence: float
    cpu_seconds: float


def make_space(
    scans: Sequence[AtlasSubject],
    folder: Path,
    *,
    spacing_mm: float = 0.0,
    workers: int = 1,
    threads: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> HalfwaySpace:
    """Align all scans rigidly, in both directions, and resample each once in the mean of all positions.

    Parameters
    ----------
    scans : sequence of AtlasSubject
        In an order that does not depend on the user.
    folder : Path
        Receives the alignments and the resampled scans.
    spacing_mm : float
        Voxel size; 0 for two thirds of the smallest of the scans.
    workers, threads, seed, progress
        As for `register_all`.

    References
    ----------
    Reuter et al., NeuroImage 61:1402-1418, 2012, doi 10.1016/j.neuroimage.2012.02.084 (within-subject space);
    Yushkevich et al., NeuroImage 50:434-445, 2010, doi 10.1016/j.neuroimage.2009.12.007 (asymmetric resampling).
    """
    first, *others = scans
    tasks = [
        FileRegistration(
            f"{fixed.name} and {moving.name}",
            fixed.image,
            moving.image,
            folder / f"{fixed.digest[:12]}_{moving.digest[:12]}_rigid.h5",
            LINEAR,
            {"kind": "rigid"},
            threads=threads,
            seed=seed,
        )
        for other in others
        for fixed, moving in ((first, other), (other, first))
    ]
    facts = register_all(tasks, workers=workers, progress=progress, title="Rigid alignment")
    found = [Affine.identity()]
    for there, back in zip(tasks[::2], tasks[1::2], strict=True):
        found.append(mean_affine([there.affine(), back.affine().inverse()]))
    away = mean_affine(found).inverse()
    poses = tuple(away.then(affine) for affine in found)
    volumes = [read_volume(scan.image) for scan in scans]
    about = tuple(facts_of(volume) for volume in volumes)
    corners = [pose.inverse().apply(one.corners_mm) for pose, one in zip(poses, about, strict=True)]
    grid = grid_around(corners, spacing_mm or FINER * min(one.spacing_mm for one in about))
    moved = [resampled(v, one, grid, pose) for v, one, pose in zip(volumes, about, poses, strict=True)]
    even = [brightened(shown, factor) for shown, factor in zip(moved, brightness_factors(moved), strict=True)]
    names = [scan.digest[:12] for scan in scans]
    files = [write_volume(one, folder / f"{name}_halfway.nii.gz") for name, one in zip(names, even, strict=True)]
    compared = [
        write_volume(smoothed(one), folder / f"{name}_compared.nii.gz") for name, one in zip(names, even, strict=True)
    ]
    confidences = [fact["confidence"] for fact in facts if fact["confidence"] is not None]
    return HalfwaySpace(
        grid,
        poses,
        about,
        tuple(files),
        tuple(compared),
        min(confidences, default=1.0),
        sum(fact["cpu_seconds"] for fact in facts),
    )


def resampled(volume: Volume, facts: SubjectFacts, grid: Grid, pose: Affine) -> Volume:
    """Return a scan on the grid by cubic B-splines, which blur less than linear interpolation, 0 to 1000."""
    image = on_grid(to_sitk(facts.scaled(volume)), grid, pose, sitk.sitkBSpline, 0.0)
    return Volume(np.clip(sitk.GetArrayFromImage(image), 0, HIGHEST * LEVEL), grid, volume.name)


def brightness_factors(volumes: Sequence[Volume]) -> list[Array]:
    """Return smooth factors that give aligned volumes the same brightness everywhere; their product is 1.

    The percentiles of a scan depend on its noise and blur, and its brightness varies slowly over the field of view; the
    ratio of aligned voxels shows both. It is smoothed so far that a changed structure has little effect.

    Parameters
    ----------
    volumes : sequence of Volume
        On one grid.

    Returns
    -------
    list of (Z, Y, X) arrays

    References
    ----------
    Lewis and Fox, NeuroImage 23:75-83, 2004, doi 10.1016/j.neuroimage.2004.04.030 (differential bias correction).
    """
    grid = volumes[0].grid
    mean = np.mean([volume.array for volume in volumes], axis=0).astype(np.float32)
    inside = foreground(Volume(mean, grid)) & (np.min([v.array for v in volumes], axis=0) > 0.1 * LEVEL)
    if not inside.any():
        return [np.ones(grid.shape, np.float32) for _ in volumes]
    # Far from the object the recursive filter leaves small values of either sign.
    weight = np.maximum(_smoothed(inside.astype(np.float32), grid), np.float32(LEAST_WEIGHT))
    logs = []
    for volume in volumes:
        ratio = np.zeros(grid.shape, np.float32)
        ratio[inside] = np.log(mean[inside] / volume.array[inside])
        middle = np.float32(np.median(ratio[inside]))
        ratio[inside] = np.clip(ratio[inside] - middle, -LARGEST_RATIO, LARGEST_RATIO)
        logs.append(middle + np.clip(_smoothed(ratio, grid) / weight, -LARGEST_RATIO, LARGEST_RATIO))
    common = np.mean(logs, axis=0)
    return [np.exp(one - common) for one in logs]


def brightened(volume: Volume, factor: Array) -> Volume:
    """Return the volume with its intensities multiplied by a factor for every voxel."""
    return Volume((volume.array * factor).astype(np.float32), volume.grid, volume.name)


def smoothed(volume: Volume) -> Volume:
    """Return the volume as it is registered: without detail that linear interpolation cannot represent."""
    return Volume(gaussian_filter(volume.array, COMPARED_VOX), volume.grid, volume.name)


def _smoothed(array: Array, grid: Grid) -> Array:
    image = sitk.SmoothingRecursiveGaussian(image_from_array(array, grid), [BRIGHTNESS_MM * grid.unit_mm] * 3)
    return np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32)


def simulated_rescan(volume: Volume, *, noise: float, seed: int) -> Volume:
    """Return the scan as if the patient, unchanged, was scanned again in another position with other noise.

    Parameters
    ----------
    volume : Volume
        The scan.
    noise : float
        Standard deviation of the added noise, in its intensities.
    seed : int
        Seed of the noise.
    """
    grid = volume.grid
    angle = np.deg2rad(RESCAN_DEGREES)
    x, y, z = np.array([1.0, 2.0, -1.5]) / np.linalg.norm([1.0, 2.0, -1.5])
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    shift = grid.axes @ (np.array(grid.spacing_mm) / 2)
    moved = Affine.about(turn, grid.center_mm, shift)
    axes = turn @ grid.axes
    other = Grid(grid.size, grid.spacing_mm, _three(moved.apply(grid.origin_mm)), tuple(axes.ravel().tolist()))
    image = on_grid(to_sitk(volume), other, None, sitk.sitkBSpline, float(volume.array.min()))
    array = sitk.GetArrayFromImage(image)
    inside = array > volume.array.min() + 0.02 * float(np.ptp(volume.array))
    array = array + np.where(inside, noise * np.random.default_rng(seed).normal(size=array.shape), 0)
    return Volume(array.astype(np.float32), other, f"{volume.name} rescan")


def _three(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c
