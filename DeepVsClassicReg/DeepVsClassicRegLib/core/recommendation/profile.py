"""The profile of a volume: a few dozen features of intensities, contrast, voxels, view, pose, anatomy and texture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.intensity import normalized
from ..images.volume import Volume

Vector = npt.NDArray[np.floating]
Array = npt.NDArray[np.float32]
FOREGROUND = 0.1
SHELLS = 6
QUANTILES = np.linspace(0.05, 0.95, 19)
GEOMETRY_VOXELS = 64


@dataclass(frozen=True)
class Part:
    """One aspect in which volumes are compared.

    Attributes
    ----------
    words : str
        Description of a difference.
    floor : float
        Lower limit of the usual spread, so that few or very similar training images do not put all volumes outside
        the domain.
    distance : callable
        (features of a volume, mean features of the domain) -> distance.
    """

    words: str
    floor: float
    distance: Callable[[Vector, Vector], float]


@dataclass(frozen=True)
class Profile:
    """The features of one volume.

    Attributes
    ----------
    spacing_mm : (3,) tuple
        Voxel size along the patient axes (left, posterior, superior).
    parts : mapping of str to array
        Part -> its features.
    """

    spacing_mm: tuple[float, float, float]
    parts: Mapping[str, Vector]


def _mean_apart(one: Vector, other: Vector) -> float:
    return float(np.abs(one - other).mean())


def _most_apart(one: Vector, other: Vector) -> float:
    return float(np.abs(one - other).max())


def _coarser(one: Vector, other: Vector) -> float:
    # Finer voxels can be averaged; details missing in a coarse volume cannot be restored.
    return float(np.maximum(one - other, 0).max())


PARTS: dict[str, Part] = {
    # The mean distance of two quantile functions is the Wasserstein-1 distance of their distributions.
    "intensity": Part("the distribution of the intensities differs", 0.03, _mean_apart),
    "contrast": Part("the contrast between inner and outer tissue differs", 0.04, _mean_apart),
    "spacing": Part("the voxels are larger", float(np.log(1.25)), _coarser),
    "view": Part(
        "the field of view covers a different part of the body or the background", float(np.log(1.25)), _most_apart
    ),
    "pose": Part("the body part has a different orientation", 0.15, _most_apart),
    "anatomy": Part("the body part has a different size or shape", float(np.log(1.15)), _most_apart),
    "texture": Part("the image is noisier or more blurred", float(np.log(1.5)), _most_apart),
}


def profile_of(volume: Volume, *, spacing_mm: Sequence[float] | None = None) -> Profile:
    """Return the profile of a volume.

    Parameters
    ----------
    volume : Volume
        Any volume.
    spacing_mm : 3 floats, optional
        Voxel size (left, posterior, superior) to which finer voxels are averaged, by integer factors.
    """
    spacing = _along_patient(volume.grid, np.array(volume.grid.spacing_mm))
    unit = normalized(volume)
    if spacing_mm is not None:
        factors = _along_index(volume.grid, np.maximum(1, np.floor(np.array(spacing_mm) / spacing + 0.25)))
        unit = _block_means(unit, factors.astype(int))
    inside = _foreground(unit)
    extent = _along_patient(volume.grid, volume.grid.extent_mm)
    points, values = _inside_points(unit, inside, volume.grid)
    deviations = points - points.mean(axis=0)
    spread = _spread(deviations, volume.grid)
    scaled = deviations / spread
    parts = {
        "intensity": np.quantile(unit[inside], QUANTILES),
        "contrast": _shells(deviations, values),
        "spacing": np.log(spacing),
        "view": np.append(np.log(extent), np.log(max(float(inside.mean()), 1e-3))),
        "pose": np.concatenate([(scaled**3).mean(axis=0), _correlations(scaled)]),
        "anatomy": np.log(spread),
        "texture": _texture(unit, inside),
    }
    x, y, z = (float(value) for value in spacing)
    return Profile((x, y, z), {name: np.asarray(values, dtype=np.float64) for name, values in parts.items()})


def anatomy_of(volume: Volume) -> Vector:
    """Return the part 'anatomy' of a volume's profile alone (logarithms of mm), in a fraction of the time."""
    unit = normalized(volume)
    points, _values = _inside_points(unit, _foreground(unit), volume.grid)
    return np.asarray(np.log(_spread(points - points.mean(axis=0), volume.grid)), dtype=np.float64)


def _foreground(unit: Array) -> npt.NDArray[np.bool_]:
    inside = unit > FOREGROUND
    return inside if inside.any() else np.ones_like(inside)


def _spread(deviations: Vector, grid: Grid) -> Vector:
    """Return the standard deviations of foreground positions along the patient axes, mm."""
    return np.asarray(np.maximum(deviations.std(axis=0), 1e-3 * grid.unit_mm))


def _patient_axis(grid: Grid) -> npt.NDArray[np.intp]:
    """Return the index axis along each patient axis (left, posterior, superior)."""
    strength = np.abs(grid.axes)
    taken = np.zeros(3, dtype=np.intp)
    for _ in range(3):
        patient, index = np.unravel_index(np.argmax(strength), strength.shape)
        taken[patient] = index
        strength[patient, :] = -1
        strength[:, index] = -1
    return taken


def _along_patient(grid: Grid, per_index: Vector) -> Vector:
    return np.asarray(per_index, dtype=np.float64)[_patient_axis(grid)]


def _along_index(grid: Grid, per_patient: Vector) -> Vector:
    result = np.empty(3)
    result[_patient_axis(grid)] = per_patient
    return result


def _block_means(array: Array, factors: npt.NDArray[np.int_]) -> Array:
    """Return means over blocks; `factors` belong to the index axes (i, j, k), the array is (k, j, i)."""
    fz, fy, fx = (int(max(1, min(f, n))) for f, n in zip(factors[::-1], array.shape, strict=True))
    if (fz, fy, fx) == (1, 1, 1):
        return array
    nz, ny, nx = array.shape[0] // fz, array.shape[1] // fy, array.shape[2] // fx
    cut = array[: nz * fz, : ny * fy, : nx * fx]
    return np.asarray(cut.reshape(nz, fz, ny, fy, nx, fx).mean(axis=(1, 3, 5)), dtype=np.float32)


def _inside_points(unit: Array, inside: npt.NDArray[np.bool_], grid: Grid) -> tuple[Vector, Vector]:
    """Return foreground positions in LPS mm (on a coarser grid) and their intensities."""
    steps = [max(1, n // GEOMETRY_VOXELS) for n in unit.shape]
    thin = tuple(slice(None, None, step) for step in steps)
    chosen = inside[thin]
    if not chosen.any():
        thin, steps, chosen = (slice(None),) * 3, [1, 1, 1], inside
    k, j, i = np.nonzero(chosen)
    scale = np.array(grid.shape, dtype=float) / np.array(unit.shape)
    index = np.stack([i * steps[2] * scale[2], j * steps[1] * scale[1], k * steps[0] * scale[0]], axis=-1)
    return grid.index_to_point(index), unit[thin][chosen].astype(np.float64)


def _shells(deviations: Vector, values: Vector) -> Vector:
    """Return the mean intensity in shells of equal volume from the middle of the foreground to its rim."""
    covariance = np.cov(deviations.T) + 1e-6 * np.eye(3) if len(deviations) > 3 else np.eye(3)
    depth = np.einsum("na,ab,nb->n", deviations, np.linalg.inv(covariance), deviations)
    shell = np.minimum((np.argsort(np.argsort(depth)) * SHELLS) // len(depth), SHELLS - 1)
    counts = np.bincount(shell, minlength=SHELLS)
    return np.bincount(shell, values, minlength=SHELLS) / np.maximum(counts, 1)


def _correlations(scaled: Vector) -> Vector:
    matrix = scaled.T @ scaled / len(scaled)
    return np.array([matrix[0, 1], matrix[0, 2], matrix[1, 2]])


def _texture(unit: Array, inside: npt.NDArray[np.bool_]) -> Vector:
    """Return the logarithms of the mean second differences over one and over two voxels in the foreground."""
    result = []
    for step in (1, 2):
        sizes = []
        for axis in range(3):
            if unit.shape[axis] <= 2 * step:
                continue
            ends = [slice(None)] * 3, [slice(None)] * 3, [slice(None)] * 3
            ends[0][axis], ends[1][axis] = slice(None, -2 * step), slice(step, -step)
            ends[2][axis] = slice(2 * step, None)
            left, middle, right = (tuple(end) for end in ends)
            both = inside[left] & inside[middle] & inside[right]
            if both.any():
                bend = np.abs(unit[left] - 2 * unit[middle] + unit[right])[both]
                sizes.append(float(bend.mean()))
        result.append(np.log(max(float(np.mean(sizes)) if sizes else 0.0, 1e-4)))
    return np.array(result)
