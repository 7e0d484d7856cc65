"""Grid: the positions of the voxels of a volume or field in the patient, in LPS millimeters; lengths as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import GeometryError

STEPS = (1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0)
Array = npt.NDArray[np.floating]
# Most voxels along the longest edge of a head scanned at 1 mm.
# Middle of the range of voxel edges of clinical images, see `Grid.unit_mm`.
CLINICAL_MM = 1.4
SAME_PLACE = 1e-3
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Cosines rounded to three decimals make this deviation of the axes from right angles at most (cosine between two axes).
MOST_ROUNDING = 4e-3
# Below this part of a voxel a shift by rounding is not worth a note.
_NOTED_VOX = 0.05


def length_text(length_mm: float) -> str:
    """Return a length in millimeters with one decimal, or with two digits when it is shorter than a millimeter.

    Examples
    --------
    >>> length_text(12.34), length_text(0.0123), length_text(0)
    ('12.3 mm', '0.012 mm', '0.0 mm')
    """
    return f"{length_mm:.2g} mm" if 0 < abs(length_mm) < 0.95 else f"{length_mm:.1f} mm"


def nearest_step(length_mm: float) -> float:
    """Return the round length nearest to a given one: 1, 2, 3, 5, 8, 10 mm ... or the same at another power of ten.

    Examples
    --------
    >>> nearest_step(7.0), nearest_step(0.07), nearest_step(70.0)
    (8.0, 0.08, 80.0)
    """
    power = 10.0 ** np.floor(np.log10(length_mm))
    decade = 1.0 if 1 <= length_mm <= STEPS[-1] else power
    best = min(STEPS, key=lambda step: abs(step * decade - length_mm))
    return float(f"{best * decade:.6g}")


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

    def at_most(self, voxels: int) -> Grid:
        """Return this grid, or one of the same field of view with voxels enlarged alike, if it has more than that.

        The number is approximate, because sizes are whole.
        """
        factor = (self.voxel_count / voxels) ** (1 / 3)
        return self if factor <= 1 else self.with_spacing([factor * spacing for spacing in self.spacing_mm])

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


def is_single_slice(size: Sequence[int]) -> bool:
    """Return whether a grid of this size has one voxel along one axis and several along the others."""
    return sorted(size)[0] == 1 and sorted(size)[1] > 1


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


def grid_from_ras(matrix: npt.NDArray[np.float64], size: tuple[int, int, int], name: str, notes: list[str]) -> Grid:
    """Return the grid of a (4, 4) matrix from indices to RAS mm; see `grid_from_lps`."""
    return grid_from_lps(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix, size, name, notes)


def grid_from_lps(matrix: npt.NDArray[np.float64], size: tuple[int, int, int], name: str, notes: list[str]) -> Grid:
    """Return the grid of a (4, 4) matrix from indices to LPS mm.

    Parameters
    ----------
    matrix : (4, 4) array
        Its columns may deviate from right angles as far as rounding explains (`MOST_ROUNDING`).
    size : tuple of 3 int
        Voxels along i, j, k.
    name : str
        The file, for messages.
    notes : list of str
        Gets a sentence when the nearest rotation moves a corner visibly.

    Raises
    ------
    GeometryError
        When a number is not finite, a column is zero, or the axes are sheared.
    """
    columns = matrix[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(matrix).all() or (spacing <= 0).any():
        raise GeometryError(
            f"{name}: the header's orientation is not usable (voxel size {spacing.tolist()}, numbers that are zero or "
            "not finite).",
            hint="Repair the file's header, or export the image again.",
        )
    axes = columns / spacing
    u, _, vt = np.linalg.svd(axes)
    rotation = u @ vt
    if np.abs(axes.T @ axes - np.eye(3)).max() > MOST_ROUNDING:
        raise GeometryError(
            f"{name} has sheared axes: they are not at right angles.",
            hint="Resample it to an ordinary grid first (in Slicer: Harden transform, Resample).",
        )
    # The nearest rotation keeps the center of the image, so that the corners move least.
    center = (np.array(size) - 1) / 2
    origin = matrix[:3, 3] + (columns - rotation * spacing) @ center
    moved = float(np.linalg.norm((columns - rotation * spacing) @ _corners(center), axis=0).max())
    if moved > _NOTED_VOX * spacing.min():
        notes.append(
            f"The header's direction cosines are rounded; the nearest rotation moves the corners by {moved:.2g} mm."
        )
    if moved < 1e-3 * spacing.min():
        origin = matrix[:3, 3]
    x, y, z = (float(value) for value in spacing)
    a, b, c = (float(value) for value in origin)
    return Grid(size, (x, y, z), (a, b, c), tuple(float(value) for value in rotation.ravel()))


def _corners(half: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    return (signs * half).T
