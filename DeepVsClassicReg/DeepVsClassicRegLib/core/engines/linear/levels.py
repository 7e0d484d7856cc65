"""The pair at several resolutions: coarse copies, sample points, and the shared state of one alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from ...images.volume import LabelMap, Volume
from ...pair import Pair
from ...progress import Progress
from ..base import Recorder
from .settings import LinearSettings

Array = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
FOREGROUND_FRACTION = 0.1
CLOSED_FACE = 0.97
MARGIN = 0.12
OVERLAP_SAMPLES = 5000
SEARCH_SAMPLES = 8000


@dataclass(frozen=True, eq=False)
class Coarse:
    """A coarse copy of a volume, its intensities in units of histogram bins.

    Attributes
    ----------
    array : (Z, Y, X) float32
        Intensities, 0 to bins - 1.
    grid : Grid
        Geometry of the copy.
    closed_low, closed_high : (3,) bool
        Along i, j, k: whether the first or last slice is background only, so that the region beyond is known to be
        background as well.
    foreground : (Z, Y, X) bool
        Voxels that are not background.
    """

    array: npt.NDArray[np.float32]
    grid: Grid
    closed_low: Bools
    closed_high: Bools
    foreground: Bools

    @property
    def closed(self) -> bool:
        """Whether the whole object is inside the field of view."""
        return bool(self.closed_low.all() and self.closed_high.all())


@dataclass(frozen=True, eq=False)
class SampledLevel:
    """The data to score a linear transform at one resolution.

    Attributes
    ----------
    points : (3, N) float32
        Sampled fixed points minus `center`, LPS mm.
    values : (N,) float32
        Fixed intensities at the points, in bin units.
    center : (3,) array
        Center of rotation, LPS mm.
    radius_mm : float
        Root mean square distance of the points from the center.
    moving : Coarse
        The moving volume to sample.
    moving_mask : LabelMap or None
        Region of the moving volume that may be sampled.
    bins : int
        Number of histogram bins.
    step_mm : float
        Voxel size of this level.
    objects : (3, M) float32
        The subset of `points` in the fixed foreground, used to measure the overlap.
    volume_ratio : float
        Volume of the fixed foreground divided by that of the smaller foreground, for the overlap.
    """

    points: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    center: Array
    radius_mm: float
    moving: Coarse
    moving_mask: LabelMap | None
    bins: int
    step_mm: float
    objects: npt.NDArray[np.float32]
    volume_ratio: float


def pair_size_mm(pair: Pair) -> float:
    """Return the edge length in mm of a cube with the volume of the smaller field of view."""
    return float(min(np.prod(v.grid.extent_mm) for v in (pair.fixed, pair.moving)) ** (1 / 3))


def make_level(pair: Pair, *, voxel_mm: float, samples: int, bins: int, seed: int, smooth: int = 0) -> SampledLevel:
    """Return the pair prepared for scoring at about this voxel size.

    Parameters
    ----------
    pair : Pair
        Volumes and masks.
    voxel_mm : float
        Target voxel size; coarser axes do not change.
    samples : int
        Number of sample points.
    bins : int
        Number of histogram bins of each volume.
    seed : int
        Seed of the sample points.
    smooth : int
        Number of passes of a (1 2 1)/4 filter over the coarse copies.
    """
    fixed = coarse_copy(pair.fixed, voxel_mm, bins=bins, smooth=smooth)
    moving = coarse_copy(pair.moving, voxel_mm, bins=bins, smooth=smooth)
    points = _sample_points(fixed, pair.fixed_mask, samples, np.random.default_rng(seed))
    values, _ = interpolate(fixed, fixed.grid.point_to_index(points).T.astype(np.float32))
    center = points.mean(axis=0)
    spread = points - center
    volumes = [c.foreground.sum() * c.grid.voxel_volume_mm3 for c in (fixed, moving)]
    placed = np.ascontiguousarray(spread.T, dtype=np.float32)
    bright = np.flatnonzero(inside(fixed.grid, fixed.foreground, points))
    if not bright.size:
        bright = np.arange(len(points))
    return SampledLevel(
        points=placed,
        values=values,
        center=center,
        radius_mm=float(np.sqrt((spread**2).sum(axis=1).mean())),
        moving=moving,
        moving_mask=pair.moving_mask,
        bins=bins,
        step_mm=float(np.cbrt(moving.grid.voxel_volume_mm3)),
        objects=placed[:, bright[:: max(1, len(bright) // OVERLAP_SAMPLES)]],
        volume_ratio=float(volumes[0] / min(volumes)) if min(volumes) > 0 else 1.0,
    )


def coarse_copy(volume: Volume, voxel_mm: float, *, bins: int, smooth: int = 0) -> Coarse:
    """Return a copy averaged over blocks of voxels, with intensities in units of histogram bins.

    Parameters
    ----------
    volume : Volume
        The volume.
    voxel_mm : float
        Approximate voxel edge of the copy; never finer than the volume.
    bins : int
        Intensities of the copy are 0 to `bins` - 1.
    smooth : int
        How often the copy is smoothed.
    """
    array, grid = shrink(volume, voxel_mm)
    for _ in range(smooth):
        array = _smoothed(array)
    lower, upper = _range(array)
    scaled = np.clip((array - lower) / max(upper - lower, 1e-12), 0, 1).astype(np.float32)
    inside = scaled > FOREGROUND_FRACTION
    low, high = _closed_faces(inside)
    return Coarse(_spread(scaled, inside) * np.float32(bins - 1), grid, low, high, inside)


def shrink(volume: Volume, voxel_mm: float) -> tuple[npt.NDArray[np.float32], Grid]:
    """Average blocks of voxels to a spacing of about `voxel_mm`, never finer than the original."""
    size, spacing = np.array(volume.grid.size), np.array(volume.grid.spacing_mm)
    factor = np.clip(np.round(voxel_mm / spacing), 1, np.maximum(1, size // 4)).astype(int)
    count = size // factor
    first = (size - count * factor) // 2
    array = volume.array
    for dimension, axis in enumerate((2, 1, 0)):
        if factor[axis] == 1:
            continue
        part = [slice(None)] * 3
        part[dimension] = slice(first[axis], first[axis] + count[axis] * factor[axis])
        shape = list(array.shape)
        shape[dimension : dimension + 1] = [count[axis], factor[axis]]
        array = array[tuple(part)].reshape(shape).mean(axis=dimension + 1, dtype=np.float32)
    origin = volume.grid.index_to_point(first + (factor - 1) / 2)
    wide = spacing * factor
    grid = Grid(
        (int(count[0]), int(count[1]), int(count[2])),
        (float(wide[0]), float(wide[1]), float(wide[2])),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        volume.grid.direction,
    )
    return array, grid


def interpolate(
    coarse: Coarse, index: npt.NDArray[np.float32], *, gradient: bool = False
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Return trilinear values, and their derivatives by index, at continuous indices.

    Parameters
    ----------
    coarse : Coarse
        The volume to sample; indices outside are clamped.
    index : (3, N) array
        Continuous indices (i, j, k).
    gradient : bool
        Whether to return derivatives (3, N).
    """
    shape = coarse.array.shape
    flat = coarse.array.ravel()
    strides = (1, shape[2], shape[1] * shape[2])
    base = np.zeros(index.shape[1], dtype=np.int32)
    fractions = []
    for axis in range(3):
        last = shape[2 - axis] - 1
        place = np.clip(index[axis], 0, last)
        whole = np.minimum(place.astype(np.int32), max(last - 1, 0))
        fractions.append(place - whole)
        base += whole * np.int32(strides[axis])
    x, y, z = fractions
    step = [stride if shape[2 - axis] > 1 else 0 for axis, stride in enumerate(strides)]
    corner = [
        [[flat.take(base + np.int32(k * step[2] + j * step[1] + i * step[0])) for i in (0, 1)] for j in (0, 1)]
        for k in (0, 1)
    ]
    rows = [[corner[k][j][0] + x * (corner[k][j][1] - corner[k][j][0]) for j in (0, 1)] for k in (0, 1)]
    planes = [rows[k][0] + y * (rows[k][1] - rows[k][0]) for k in (0, 1)]
    values = planes[0] + z * (planes[1] - planes[0])
    if not gradient:
        return values, None
    slopes = [[corner[k][j][1] - corner[k][j][0] for j in (0, 1)] for k in (0, 1)]
    along = [slopes[k][0] + y * (slopes[k][1] - slopes[k][0]) for k in (0, 1)]
    across = [rows[k][1] - rows[k][0] for k in (0, 1)]
    slope = np.stack(
        [along[0] + z * (along[1] - along[0]), across[0] + z * (across[1] - across[0]), planes[1] - planes[0]]
    )
    for axis in range(3):
        slope[axis][(index[axis] < 0) | (index[axis] > shape[2 - axis] - 1)] = 0
    return values, slope


def inside_view(coarse: Coarse, index: npt.NDArray[np.float32]) -> Bools | None:
    """Return which continuous indices have a known value; None when all have."""
    known: Bools | None = None
    for axis, size in enumerate(coarse.grid.size):
        for closed, beyond in (
            (coarse.closed_low[axis], index[axis] < -0.5),
            (coarse.closed_high[axis], index[axis] > size - 0.5),
        ):
            if not closed:
                known = ~beyond if known is None else known & ~beyond
    return known


def inside(grid: Grid, region: npt.NDArray[Any], points: Array) -> Bools:
    """Return which points (N, 3), LPS mm, are where the region, (Z, Y, X) on the grid, is not 0."""
    index = np.rint(grid.point_to_index(points)).astype(int)
    held = ((index >= 0) & (index < np.array(grid.size))).all(axis=1)
    i, j, k = np.clip(index, 0, np.array(grid.size) - 1).T
    return held & (region[k, j, i] != 0)


def _range(array: npt.NDArray[np.float32]) -> tuple[float, float]:
    values = array.ravel()[:: max(1, array.size // 200_000)]
    lower, upper = np.percentile(values, [0.5, 99.5])
    if upper <= lower:
        lower, upper = array.min(), array.max()
    return float(lower), float(upper)


def _spread(scaled: npt.NDArray[np.float32], inside: Bools) -> npt.NDArray[np.float32]:
    """Spread densely occupied intensity ranges: the mean of the linear scale and the rank in the foreground.

    Mutual information is invariant under monotone maps, but more bins are then used for the tissue (soft tissue in CT
    has a small part of the intensity range).
    """
    values = scaled[inside][:: max(1, int(inside.sum()) // 100_000)]
    if values.size < 100:
        return scaled
    counts, edges = np.histogram(values, bins=256, range=(0, 1))
    rank = np.concatenate([[0.0], np.cumsum(counts) / values.size])
    return (0.5 * scaled + 0.5 * np.interp(scaled, edges, rank)).astype(np.float32)


def _smoothed(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    for axis in range(3):
        padded = np.pad(array, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        lower = padded.take(range(array.shape[axis]), axis=axis)
        upper = padded.take(range(2, array.shape[axis] + 2), axis=axis)
        array = np.float32(0.5) * array + np.float32(0.25) * (lower + upper)
    return array


def _closed_faces(inside: Bools) -> tuple[Bools, Bools]:
    low, high = np.zeros(3, dtype=bool), np.zeros(3, dtype=bool)
    for dimension, axis in enumerate((2, 1, 0)):
        low[axis] = 1 - inside.take(0, axis=dimension).mean() >= CLOSED_FACE
        high[axis] = 1 - inside.take(-1, axis=dimension).mean() >= CLOSED_FACE
    return low, high


def _sample_points(fixed: Coarse, mask: LabelMap | None, samples: int, random: np.random.Generator) -> Array:
    """Return jittered points of the fixed field of view: half of them everywhere, half in the foreground."""
    size = np.array(fixed.grid.size)
    margin = MARGIN * size
    low = -0.5 - np.where(fixed.closed_low, margin, 0)
    high = size - 0.5 + np.where(fixed.closed_high, margin, 0)
    bright = np.argwhere(fixed.foreground)[:, ::-1]
    share = 0.5 if 0 < len(bright) < 0.6 * fixed.array.size else 0.0
    everywhere = low + random.random((int(samples * (1 - share)), 3)) * (high - low)
    index = everywhere
    if share:
        chosen = bright[random.integers(0, len(bright), samples - len(everywhere))]
        index = np.concatenate([everywhere, chosen + random.random(chosen.shape) - 0.5])
    points = fixed.grid.index_to_point(index)
    if mask is None:
        return points
    held = points[inside(mask.grid, mask.array, points)]
    if len(held) >= samples // 4:
        return held
    voxels = np.argwhere(mask.mask())[:, ::-1]
    chosen = voxels[random.integers(0, len(voxels), samples)]
    return mask.grid.index_to_point(chosen + random.random(chosen.shape) - 0.5)


@dataclass(frozen=True, eq=False)
class LinearRun:
    """The state of one run.

    Attributes
    ----------
    pair : Pair
        Volumes, reduced where they are much finer than needed, with masks.
    settings, progress, recorder
        As given to the engine.
    levels : tuple of SampledLevel
        Coarse to fine.
    coarse_fixed : Coarse
        The fixed volume at the coarsest level.
    size_mm : float
        Edge length of a cube with the volume of the smaller field of view.
    probes : (N, 3) array
        A few fixed points in LPS mm at which poses are compared.
    """

    pair: Pair
    settings: LinearSettings
    progress: Progress
    recorder: Recorder
    levels: tuple[SampledLevel, ...]
    coarse_fixed: Coarse
    size_mm: float
    probes: Array

    @property
    def finer(self) -> tuple[SampledLevel, ...]:
        """The levels after the coarsest one, or the only level."""
        return self.levels[1:] or self.levels

    def watch(self, stage: str) -> Callable[[int, float], None]:
        """Return a callback that records the objective and stops the optimization on cancel."""

        def note(iteration: int, metric: float) -> None:
            self.recorder.trace(stage, iteration, metric)
            self.progress.check()

        return note


def prepare(pair: Pair, settings: LinearSettings, progress: Progress, recorder: Recorder, seed: int) -> LinearRun:
    """Return the state of a run with its levels."""
    size_mm = pair_size_mm(pair)
    finest = size_mm / max(settings.resolutions)
    small = pair
    for number, side in enumerate(("fixed", "moving")):
        progress.report(0.02 * number, "Linear alignment: reading intensities")
        volume: Volume = getattr(pair, side)
        array, grid = shrink(volume, finest / 2)
        if grid.size != volume.grid.size:
            small = small.replace(**{side: Volume(array, grid, volume.name)})
    levels = []
    for number, resolution in enumerate(settings.resolutions):
        progress.report(0.04 + 0.02 * number, "Linear alignment: reading intensities")
        share = (number + 1) / len(settings.resolutions)
        samples = int(settings.samples * share) if number else min(SEARCH_SAMPLES, settings.samples)
        levels.append(
            make_level(
                small,
                voxel_mm=size_mm / resolution,
                samples=samples,
                bins=settings.bins,
                seed=seed + number,
                smooth=1 if number == 0 else 0,
            )
        )
    first = levels[0]
    coarse_fixed = coarse_copy(small.fixed, size_mm / settings.resolutions[0], bins=settings.bins, smooth=1)
    probes = np.asarray(first.points.T[:: max(1, first.points.shape[1] // 150)] + first.center, dtype=np.float64)
    return LinearRun(small, settings, progress, recorder, tuple(levels), coarse_fixed, size_mm, probes)
