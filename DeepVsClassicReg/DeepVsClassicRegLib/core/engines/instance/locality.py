"""The neighborhood of landmarks: a registration that changes its start only there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...images.grid import Grid
from .level import Field, Mask

Points = npt.NDArray[np.floating]
# Fraction of the radius with the full change; it fades to 0 at the radius.
FULL = 0.6


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """All points within a distance of landmarks.

    Attributes
    ----------
    points_mm : (N, 3) array
        Landmarks in the fixed volume, LPS mm.
    radius_mm : float
        The distance.
    """

    points_mm: Points
    radius_mm: float

    def box(self, grid: Grid) -> Grid:
        """Return the part of a grid that contains the neighborhood, at least one voxel."""
        index = grid.point_to_index(self.points_mm)
        reach = self.radius_mm / np.array(grid.spacing_mm)
        last = np.array(grid.size) - 1
        first = np.clip(np.floor(index.min(axis=0) - reach), 0, last).astype(int)
        end = np.clip(np.ceil(index.max(axis=0) + reach), first, last).astype(int) + 1
        return grid.cropped([int(n) for n in first], [int(n) for n in end - first])

    def mask(self, grid: Grid) -> Mask:
        """Return the voxels of the neighborhood."""
        return np.asarray(self._distance_mm(grid) < self.radius_mm)

    def faded(self, u: Field, grid: Grid) -> Field:
        """Return displacements on a grid, reduced to 0 toward the end of the neighborhood."""
        share = eased((1 - self._distance_mm(grid) / self.radius_mm) / (1 - FULL))
        return np.asarray(u * share, dtype=np.float32)

    def _distance_mm(self, grid: Grid) -> npt.NDArray[np.floating]:
        """Return the distance of every voxel from the voxel of the nearest landmark, (Z, Y, X)."""
        from scipy import ndimage  # slow to load

        apart = np.ones(grid.shape, bool)
        index = np.rint(grid.point_to_index(self.points_mm)).astype(int)
        i, j, k = np.clip(index, 0, np.array(grid.size) - 1).T
        apart[k, j, i] = False
        return np.asarray(ndimage.distance_transform_edt(apart, sampling=grid.spacing_mm[::-1]))


def eased(share: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return a share, limited to 0 to 1, that begins and ends without a kink."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
