"""Grid: the positions of the voxels of a volume or field in the patient, in LPS millimeters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import GeometryError

Array = npt.NDArray[np.floating]
# Most voxels along the longest edge of a head scanned at 1 mm.
# Middle of the range of voxel edges of clinical images, see `Grid.unit_mm`.
CLINICAL_MM = 1.4
SAME_PLACE = 1e-3
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Grid:
    """A regular 3D grid of points.

    Parameters
    ----------
    size : tuple of 3 int
        Number of voxels along the index axes (i, j, k); the array shape is the reverse.
    spacing_mm : tuple of 3 float
        Distance of neighboring voxels along each index axis, positive.
    origin_mm : tuple of 3 float
        LPS position of the center of voxel (0, 0, 0).
    direction : tuple of 9 float
        Row-major 3x3 matrix whose columns are the unit vectors of the index axes in LPS.
        Left-handed and oblique matrices are allowed, sheared ones are not.

    Raises
    ------
    GeometryError
        When a number is not finite, a size or spacing not positive, or the direction not orthonormal.

    Examples
    --------
    >>> grid = Grid(size=(4, 3, 2), spacing_mm=(1.0, 1.0, 2.0))
    >>> grid.shape
    (2, 3, 4)
    >>> grid.index_to_point([[3, 2, 1]])
    array([[3., 2., 2.]])
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY

    def __post_init__(self) -> None:
        _check_lengths(self)
        numbers = np.array([*self.spacing_mm, *self.origin_mm, *self.direction], dtype=float)
        if not np.isfinite(numbers).all():
            raise GeometryError("The geometry contains numbers that are not finite.", hint="Repair the file's header.")
        if min(self.size) < 1:
            raise GeometryError(f"Every size must be at least 1 voxel, got {self.size}.")
        if min(self.spacing_mm) <= 0:
            raise GeometryError(f"Every spacing must be positive, got {self.spacing_mm} mm.")
        axes = self.axes
        if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
            raise GeometryError(
                "The image axes are not at right angles (sheared or not invertible geometry).",
                hint="Resample the volume to an ordinary grid first (in Slicer: Harden transform, Resample).",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (Z, Y, X)."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def axes(self) -> Array:
        """Direction as a (3, 3) matrix; column a is the LPS unit vector of index axis a."""
        return np.array(self.direction, dtype=float).reshape(3, 3)

    @cached_property
    def matrix(self) -> Array:
        """(4, 4) matrix from homogeneous indices (i, j, k, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes * np.array(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    @property
    def center_mm(self) -> Array:
        """LPS position of the center of the field of view, shape (3,)."""
        return self.index_to_point((np.array(self.size) - 1) / 2)

    @property
    def extent_mm(self) -> Array:
        """Edge lengths of the field of view along the index axes in mm, shape (3,)."""
        return np.array(self.size) * np.array(self.spacing_mm)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel in cubic millimeters."""
        return float(np.prod(self.spacing_mm))

    @property
    def voxel_count(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.size))

    @property
    def unit_mm(self) -> float:
        """The unit of length that corresponds to 1 mm in a clinical image: lengths not in voxels are multiples of it.

        It is the power of ten nearest to the voxel edge (of a cube as large as a voxel): 1 from 0.45 to 4.4 mm, which
        covers a crop of the hippocampus as well as a whole-body PET. A mouse brain or a microscopy image has a smaller
        unit, and a header in centimeters or micrometers changes only the unit.

        Examples
        --------
        >>> Grid((192, 224, 192)).unit_mm, Grid((96, 112, 96), (2.0, 2.0, 2.0)).unit_mm
        (1.0, 1.0)
        >>> Grid((192, 224, 192), (0.1, 0.1, 0.1)).unit_mm
        0.1
        """
        edge = self.voxel_volume_mm3 ** (1 / 3)
        return float(f"1e{round(np.log10(edge / CLINICAL_MM))}")

    @property
    def view_unit_mm(self) -> float:
        """Unit of lengths in pictures and locations: `unit_mm`, but never longer than the voxel edge.

        With it, displayed blocks, distances and grids fit into a volume with few, coarse voxels.
        """
        return min(self.unit_mm, self.voxel_volume_mm3 ** (1 / 3))

    def scaled(self, factor: float) -> Grid:
        """Return this grid with all lengths multiplied, about the origin of the patient coordinates."""
        lengths = np.array(self.spacing_mm) * factor, np.array(self.origin_mm) * factor
        return Grid(self.size, _three(lengths[0]), _three(lengths[1]), self.direction)

    def index_to_point(self, index: npt.ArrayLike) -> Array:
        """Return LPS mm of continuous indices (i, j, k), shape (..., 3)."""
        return np.asarray(index, dtype=float) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def point_to_index(self, points_mm: npt.ArrayLike) -> Array:
        """Return continuous indices (i, j, k) of LPS mm points, shape (..., 3)."""
        offset = np.asarray(points_mm, dtype=float) - self.matrix[:3, 3]
        return offset @ np.linalg.inv(self.matrix[:3, :3]).T

    def points(self) -> Array:
        """Return the LPS mm position of every voxel center, shape (Z, Y, X, 3)."""
        k, j, i = np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij")
        return self.index_to_point(np.stack([i, j, k], axis=-1))

    def contains(self, points_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return which points lie inside the voxels of this grid (half a voxel beyond the centers)."""
        index = self.point_to_index(points_mm)
        inside = (index >= -0.5) & (index <= np.array(self.size) - 0.5)
        return np.asarray(inside.all(axis=-1))

    def same_as(self, other: Grid, *, tolerance_mm: float | None = None) -> bool:
        """Return whether both grids have the same size and their corners agree.

        The tolerance is a thousandth of the finest voxel edge when none is given.
        """
        tolerance = SAME_PLACE * min(self.spacing_mm) if tolerance_mm is None else tolerance_mm
        corners = np.array([[0, 0, 0], self.size, [self.size[0], 0, 0], [0, self.size[1], 0]])
        return self.size == other.size and np.allclose(
            self.index_to_point(corners), other.index_to_point(corners), rtol=0, atol=tolerance
        )

    def with_spacing(self, spacing_mm: float | Sequence[float]) -> Grid:
        """Return a grid over the same field of view with about this spacing.

        Parameters
        ----------
        spacing_mm : float or 3 floats
            Wanted spacing; the size is rounded to whole voxels, at least 1, and the returned spacing is
            exact for the unchanged field of view.
        """
        wanted = np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3)
        size = np.maximum(1, np.round(self.extent_mm / wanted)).astype(int)
        spacing = self.extent_mm / size
        first = self.index_to_point(np.zeros(3) - 0.5) + self.axes @ (spacing / 2)
        return Grid(_three_ints(size), _three(spacing), _three(first), self.direction)

    def cropped(self, start: Sequence[int], size: Sequence[int]) -> Grid:
        """Return the part of `size` voxels starting at index `start` (negative values pad)."""
        return Grid(_three_ints(size), self.spacing_mm, _three(self.index_to_point(start)), self.direction)

    def padded(self, voxels: int | Sequence[int]) -> Grid:
        """Return this grid padded by this number of voxels on both sides of each axis."""
        margin = np.broadcast_to(np.asarray(voxels, dtype=int), 3)
        return self.cropped([int(-m) for m in margin], [int(n) for n in np.array(self.size) + 2 * margin])


def _three(values: npt.ArrayLike) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in np.asarray(values))
    return x, y, z


def _three_ints(values: npt.ArrayLike) -> tuple[int, int, int]:
    x, y, z = (int(v) for v in np.asarray(values))
    return x, y, z


def _check_lengths(grid: Grid) -> None:
    lengths = len(grid.size), len(grid.spacing_mm), len(grid.origin_mm), len(grid.direction)
    if lengths != (3, 3, 3, 9):
        raise GeometryError(
            f"A grid needs 3 sizes, 3 spacings, 3 origin coordinates and 9 direction cosines, got {lengths}.",
            hint="Only 3D volumes can be registered.",
        )
