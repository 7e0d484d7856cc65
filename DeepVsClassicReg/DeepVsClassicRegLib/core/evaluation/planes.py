"""Three orthogonal pictures of a volume in radiological orientation."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.intensity import background_value, robust_range
from ..images.resample import Mapping, warp_labels, warp_volume
from ..images.volume import LabelMap, Volume
from ..pair import Pair
from .region import fixed_region

Picture = npt.NDArray[np.float32]
MOST_PIXELS = 420
MARGIN = 0.06
# Per plane: the anatomical axis (0 left, 1 posterior, 2 superior) to the right, downward and through the plane, with
# its sign, and the letters at the left, right, upper and lower edge. Patient right is on the left of the image.
LAYOUT = {
    "Axial": ((0, 1), (1, 1), 2, "RLAP"),
    "Coronal": ((0, 1), (2, -1), 1, "RLSI"),
    "Sagittal": ((1, 1), (2, -1), 0, "APSI"),
}


@dataclass(frozen=True)
class Plane:
    """The plane of a picture in the patient.

    Attributes
    ----------
    name : str
        'Axial', 'Coronal' or 'Sagittal'.
    grid : Grid
        A grid one voxel thick with square pixels; its first axis points right, its second down.
    letters : str
        Letters at the left, right, upper and lower edge.
    """

    name: str
    grid: Grid
    letters: str

    @property
    def width_mm(self) -> float:
        """Width of the picture."""
        return float(self.grid.extent_mm[0])

    @property
    def height_mm(self) -> float:
        """Height of the picture."""
        return float(self.grid.extent_mm[1])


def planes_of(grid: Grid, inside: npt.NDArray[np.bool_]) -> tuple[Plane, ...]:
    """Return the three planes through the middle of a region, cropped to the region with a margin.

    The planes follow the axes of the volume, each assigned to the nearest anatomical axis, so that oblique volumes have
    no blank corners.

    Parameters
    ----------
    grid : Grid
        The fixed grid.
    inside : (Z, Y, X) bool array
        Region to show.
    """
    order = _anatomical(grid)
    places = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {2 - axis}))) for axis in range(3)]
    low, high = np.array([[p[0], p[-1]] for p in places], dtype=float).T
    margin = MARGIN * (high - low).max() * max(grid.spacing_mm) / np.array(grid.spacing_mm)
    low = np.maximum(low - margin, 0)
    high = np.minimum(high + margin, np.array(grid.size) - 1)
    middle = _middle(inside)
    planes = []
    for name, (right, down, through, letters) in LAYOUT.items():
        turned = _plane_grid(grid, order, (right, down, through), (low, high, middle))
        planes.append(Plane(name, turned, letters))
    return tuple(planes)


class Slices:
    """Samples the volumes of a pair on the three planes; only the displayed pixels are computed.

    Parameters
    ----------
    pair : Pair
        The volumes.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.region, _ = fixed_region(pair)
        self.planes = planes_of(pair.fixed.grid, self.region)
        self._fill = background_value(pair.moving)
        self._ranges = _display_range(pair.fixed), _display_range(pair.moving)

    def fixed(self) -> list[Picture]:
        """Return the fixed volume, 0..1."""
        return [_scaled(_sample(self.pair.fixed, plane), self._ranges[0]) for plane in self.planes]

    def moving(self, transform: Mapping | None = None) -> list[Picture]:
        """Return the moving volume resampled with a fixed-to-moving transform, 0..1."""
        fill = self._fill
        return [_scaled(_sample(self.pair.moving, p, transform, fill), self._ranges[1]) for p in self.planes]

    def values(self, volume: Volume, *, fill: float) -> list[Picture]:
        """Return the values of another volume, `fill` outside of it."""
        return [_sample(volume, plane, None, fill) for plane in self.planes]

    def labels(self, labels: LabelMap, transform: Mapping | None = None) -> list[npt.NDArray[np.int32]]:
        """Return a label map in fixed space, or another one resampled with a fixed-to-moving transform."""
        return [warp_labels(labels, plane.grid, transform).array[0] for plane in self.planes]

    def inside(self) -> list[npt.NDArray[np.bool_]]:
        """Return the evaluated region."""
        region = LabelMap(self.region.astype(np.int32), self.pair.fixed.grid)
        return [labels > 0 for labels in self.labels(region)]


def _sample(volume: Volume, plane: Plane, transform: Mapping | None = None, fill: float | None = None) -> Picture:
    low = background_value(volume) if fill is None else fill
    return warp_volume(volume, plane.grid, transform, fill=low).array[0]


def _display_range(volume: Volume) -> tuple[float, float]:
    every = tuple(slice(None, None, max(1, n // 96)) for n in volume.grid.shape)
    coarse = volume.array[every]
    return robust_range(coarse if volume.valid is None else coarse[volume.valid[every]], low=0.5, high=99.7)


def _scaled(values: Picture, limits: tuple[float, float]) -> Picture:
    low, high = limits
    return np.asarray(np.clip((values - low) / max(high - low, 1e-12), 0, 1), dtype=np.float32)


def _anatomical(grid: Grid) -> list[tuple[int, float]]:
    """Return the nearest index axis and its sign for left, posterior and superior."""
    axes = grid.axes
    best = max(itertools.permutations(range(3)), key=lambda order: sum(abs(axes[w, order[w]]) for w in range(3)))
    return [(best[world], 1.0 if axes[world, best[world]] >= 0 else -1.0) for world in range(3)]


def _middle(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the centroid (i, j, k) of a region."""
    counts = [inside.sum(axis=tuple({0, 1, 2} - {2 - axis}), dtype=float) for axis in range(3)]
    return np.array([(np.arange(len(c)) * c).sum() / c.sum() for c in counts])


def _plane_grid(
    grid: Grid,
    order: list[tuple[int, float]],
    layout: tuple[tuple[int, int], tuple[int, int], int],
    box: tuple[npt.NDArray[np.float64], ...],
) -> Grid:
    low, high, middle = box
    (right, right_sign), (down, down_sign), through = layout
    first, second, third = order[right][0], order[down][0], order[through][0]
    signs = right_sign * order[right][1], down_sign * order[down][1]
    spacing = np.array(grid.spacing_mm)
    lengths = ((high - low + 1) * spacing)[[first, second]]
    pixel = max(min(spacing[first], spacing[second]) / 1.5, lengths.max() / MOST_PIXELS)
    size = np.maximum(2, np.round(lengths / pixel)).astype(int)
    corner = np.rint(middle)
    for axis, sign in zip((first, second), signs, strict=True):
        half = 0.5 - pixel / spacing[axis] / 2
        corner[axis] = low[axis] - half if sign > 0 else high[axis] + half
    columns = np.stack([signs[0] * grid.axes[:, first], signs[1] * grid.axes[:, second], grid.axes[:, third]], axis=1)
    origin = grid.index_to_point(corner)
    return Grid(
        (int(size[0]), int(size[1]), 1),
        (float(pixel), float(pixel), float(spacing[third])),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(float(value) for value in columns.ravel()),
    )
