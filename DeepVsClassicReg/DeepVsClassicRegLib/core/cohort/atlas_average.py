"""Averages on the grid of an atlas: intensities with equal weight of all subjects, label votes, sharpness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation.region import moving_indices, slab_of, slabs
from ..images.grid import Grid
from ..images.intensity import foreground, robust_range, with_dark_background
from ..images.resample import warp_volume
from ..images.volume import LabelMap, Volume
from ..transforms.transform import Transform

Array = npt.NDArray[np.float32]
LEVEL = 1000.0
HIGHEST = 1.2
SLAB_VOXELS = 1 << 17
# Below this share of the subjects a voxel is outside the field of view of the atlas.
FEWEST_SHARE = 0.5
MARGIN = 0.06  # around the subjects, relative to the edges of the grid


@dataclass(frozen=True)
class SubjectFacts:
    """What the atlas needs to know about a volume.

    Attributes
    ----------
    low, high : float
        Intensities that become 0 and `LEVEL`: the background, and the 99th percentile of the foreground.
    volume_mm3 : float
        Volume of the foreground.
    spacing_mm : float
        Edge of a cube as large as a voxel.
    corners_mm : tuple of 8 points
        Corners of the box around the foreground, LPS mm.
    """

    low: float
    high: float
    volume_mm3: float
    spacing_mm: float
    corners_mm: tuple[tuple[float, float, float], ...]

    def scaled(self, volume: Volume) -> Volume:
        """Return the volume with a dark background and intensities 0 (`low`) to 1.2 `LEVEL` (`LEVEL` is `high`)."""
        array = with_dark_background(volume).array
        scaled = np.clip((array - self.low) / (self.high - self.low), 0, HIGHEST) * LEVEL
        return Volume(scaled.astype(np.float32), volume.grid, volume.name)


def facts_of(volume: Volume) -> SubjectFacts:
    """Return the facts of a volume."""
    dark = with_dark_background(volume)
    inside = foreground(volume)
    low = robust_range(dark.array)[0]
    high = float(np.percentile(dark.array[inside], 99)) if inside.any() else float(dark.array.max())
    places = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {2 - axis}))) for axis in range(3)]
    ends = [
        (p[0] - 0.5, p[-1] + 0.5) if p.size else (-0.5, n - 0.5) for p, n in zip(places, volume.grid.size, strict=True)
    ]
    corners = volume.grid.index_to_point([[i, j, k] for i in ends[0] for j in ends[1] for k in ends[2]])
    return SubjectFacts(
        low=float(low),
        high=max(high, float(low) + 1e-6),
        volume_mm3=float(inside.sum()) * volume.grid.voxel_volume_mm3,
        spacing_mm=volume.grid.voxel_volume_mm3 ** (1 / 3),
        corners_mm=tuple((float(x), float(y), float(z)) for x, y, z in corners),
    )


def warped_evenly(volume: Volume, facts: SubjectFacts, grid: Grid, transform: Transform) -> tuple[Array, Array]:
    """Return normalized intensities of a subject on the grid (0 to 1.2 times `LEVEL`), and 1 where it was measured.

    Parameters
    ----------
    volume : Volume
        The subject.
    facts : SubjectFacts
        Its intensities.
    grid : Grid
        Grid of the atlas.
    transform : Transform
        Maps points of the atlas to points of the subject.
    """
    image = warp_volume(facts.scaled(volume), grid, transform, fill=0.0)
    known = np.ones(volume.grid.shape, np.float32) if volume.valid is None else volume.valid.astype(np.float32)
    seen = warp_volume(Volume(known, volume.grid), grid, transform, fill=0.0)
    return image.array, (seen.array > 0.5).astype(np.float32)


class Mean:
    """The mean of images that were added one by one, each voxel over the subjects that were measured there.

    Parameters
    ----------
    grid : Grid
        Grid of the images.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._sum = np.zeros(grid.shape)
        self._squares = np.zeros(grid.shape)
        self._weight = np.zeros(grid.shape)
        self._count = 0

    def add(self, image: Array, weight: Array) -> None:
        """Add an image and its weight of every voxel."""
        self._sum += image * weight
        self._squares += image.astype(np.float64) ** 2 * weight
        self._weight += weight
        self._count += 1

    def mean(self, name: str) -> Volume:
        """Return the mean, 0 where fewer than half of the subjects were measured."""
        known = self._weight >= max(FEWEST_SHARE * self._count, 1e-6)
        mean = np.where(known, self._sum / np.maximum(self._weight, 1e-6), 0.0)
        return Volume(mean.astype(np.float32), self.grid, name)

    def deviation(self, name: str) -> Volume:
        """Return the standard deviation over the subjects."""
        mean = self.mean(name).array.astype(np.float64)
        variance = np.maximum(self._squares / np.maximum(self._weight, 1e-6) - mean**2, 0)
        return Volume(np.where(mean > 0, np.sqrt(variance), 0).astype(np.float32), self.grid, name)


def sharpness(array: Array, grid: Grid, inside: npt.NDArray[np.bool_]) -> float:
    """Return the mean length of the intensity gradient inside a region, in units of `LEVEL` per voxel of 1 mm."""
    slopes = np.gradient(array.astype(np.float32), *grid.spacing_mm[::-1])
    return float(np.sqrt(sum(slope**2 for slope in slopes))[inside].mean() / LEVEL)


def relative_change(old: Volume, new: Volume, inside: npt.NDArray[np.bool_]) -> float:
    """Return the root mean square difference of two atlases inside a region, relative to `LEVEL`."""
    return float(np.sqrt(np.mean((new.array[inside].astype(np.float64) - old.array[inside]) ** 2)) / LEVEL)


@dataclass(frozen=True, eq=False)
class Votes:
    """Label probabilities on a grid.

    Attributes
    ----------
    labels : tuple of int
        0 and all labels of the subjects, ascending.
    shares : (L, Z, Y, X) array
        Probability of every label, float16; they add up to 1.
    grid : Grid
        Their grid.
    names : mapping of int to str
        Names of the labels, when known.
    """

    labels: tuple[int, ...]
    shares: npt.NDArray[np.float16]
    grid: Grid
    names: Mapping[int, str]

    def majority(self, name: str = "segmentation") -> LabelMap:
        """Return the most probable label of every voxel."""
        best = np.array(self.labels, dtype=np.int32)[self.shares.argmax(axis=0)]
        return LabelMap(best, self.grid, self.names, name)

    def probability(self, label: int) -> Volume:
        """Return the probability of one label."""
        return Volume(self.shares[self.labels.index(label)].astype(np.float32), self.grid, f"probability {label}")


def count_votes(segmentations: Sequence[tuple[LabelMap, Transform]], grid: Grid) -> Votes:
    """Return the mean over subjects of their labels, each interpolated linearly as one map per label.

    Parameters
    ----------
    segmentations : sequence of (LabelMap, Transform)
        Label map of a subject, and the transform from points of the grid to points of the subject.
    grid : Grid
        Grid of the result.
    """
    labels = tuple(sorted({0}.union(*(set(one.labels) for one, _ in segmentations))))
    names: dict[int, str] = {}
    for one, _ in segmentations:
        names |= {label: name for label, name in one.names.items() if label not in names}
    shares = np.zeros((len(labels), *grid.shape), np.float16)
    codes = [np.searchsorted(labels, one.array).astype(np.int64) for one, _ in segmentations]
    mappings = [transform.displacement_on(grid) for _, transform in segmentations]
    for part in slabs(grid, voxels=SLAB_VOXELS):
        own = slab_of(grid, part)
        total = np.zeros((own.voxel_count, len(labels)))
        for (one, _), coded, mapping in zip(segmentations, codes, mappings, strict=True):
            field = type(mapping)(mapping.array_mm[part], own)
            for rows, index in moving_indices(own, one.grid, field):
                first = rows.start * own.shape[1] * own.shape[2]
                every = np.arange(first, first + len(index))
                for code, weight in neighbor_weights(coded, index, outside=0):
                    total[every, code] += weight  # every row once, so that no addition is lost
        shares[:, part] = (total / len(segmentations)).T.reshape(len(labels), *own.shape).astype(np.float16)
    return Votes(labels, shares, grid, names)


def neighbor_weights(
    codes: npt.NDArray[Any], index: npt.NDArray[np.float64], *, outside: int
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.float64]]]:
    """Yield code and weight in a linear interpolation, (N,) each, for each of the eight neighbors of N points.

    Parameters
    ----------
    codes : (Z, Y, X) int array
        Code of every voxel.
    index : (N, 3) array
        Continuous indices (i, j, k) of the points.
    outside : int
        Code beyond the volume.
    """
    size = np.array(codes.shape[::-1])
    low = np.floor(index).astype(np.int64)
    upper = index - low
    for corner in np.ndindex(2, 2, 2):
        place = low + np.array(corner)
        inside = ((place >= 0) & (place < size)).all(axis=1)
        i, j, k = np.clip(place, 0, size - 1).T
        weight = np.prod(np.where(np.array(corner) == 1, upper, 1 - upper), axis=1)
        yield np.where(inside, codes[k, j, i], outside), weight


def grid_around(corners_mm: Iterable[npt.ArrayLike], spacing_mm: float) -> Grid:
    """Return a grid of cubes along the LPS axes that covers the points with a margin, relative to its edges."""
    points = np.concatenate([np.asarray(points, dtype=float).reshape(-1, 3) for points in corners_mm])
    low, high = points.min(axis=0), points.max(axis=0)
    reach = (1 + 2 * MARGIN) * (high - low)
    size = np.maximum(8, np.ceil(reach / spacing_mm)).astype(int)
    origin = (low + high) / 2 - (size - 1) / 2 * spacing_mm
    return Grid(
        (int(size[0]), int(size[1]), int(size[2])),
        (float(spacing_mm),) * 3,
        (float(origin[0]), float(origin[1]), float(origin[2])),
    )
