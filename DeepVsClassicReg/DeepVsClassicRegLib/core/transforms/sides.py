"""Brings objects from one side of a registration to the other: images by resampling, points by the opposite map."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import SettingsError, did_you_mean
from ..images.grid import Grid
from ..images.resample import image_from_array, resampled, warp_labels, warp_smoothly, warp_volume
from ..images.volume import LabelMap, Volume
from .invert import Inverse, PointInverse, invert
from .reliability import Reliability, jacobians, reliability
from .transform import Transform, VelocityField

Array = npt.NDArray[np.floating]
SIDES = ("fixed", "moving")
NEAREST, SMOOTH = "nearest", "smooth"
MOST_CHECKED = 2000
AT_ONCE = 200_000


class SideChange:
    """Brings objects to one side of a registration.

    Resampling looks up, for each voxel of the destination, where it comes from; points and surfaces move along the
    opposite map. With the fixed-to-moving transform T, objects of the moving side come to the fixed side by resampling
    with T and by mapping points with its inverse; objects of the fixed side come to the moving side by resampling
    with the inverse and by mapping points with T.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.
    to : {'fixed', 'moving'}
        The side the objects come to.
    view : Grid, optional
        Grid of the volume on that side; images need it.

    Raises
    ------
    SettingsError
        When there is no such side.
    """

    def __init__(self, transform: Transform, to: str, view: Grid | None = None) -> None:
        self.check_side(to)
        # Velocities are integrated once instead of for every object.
        parts = (part.exponential() if isinstance(part, VelocityField) else part for part in transform.parts)
        self.transform, self.to = Transform(tuple(parts)), to
        self._view = view

    @staticmethod
    def check_side(to: str) -> None:
        """Raise a SettingsError when there is no such side."""
        if to not in SIDES:
            raise SettingsError(f"There is no side '{to}' of a registration.", hint=did_you_mean(to, SIDES))

    @property
    def view(self) -> Grid:
        """Grid of the destination."""
        if self._view is None:
            raise SettingsError(
                f"Images need the volume of the {self.to} side, whose grid is used.", hint="Give this volume."
            )
        return self._view

    @cached_property
    def resampling(self) -> Transform:
        """The map from points of the destination to points of the objects, for resampling."""
        return self.transform if self.to == "fixed" else self.inverse.transform

    @cached_property
    def inverse(self) -> Inverse:
        """The inverse of the transform on the grid of the moving side, with its error."""
        return invert(self.transform, self.view)

    @cached_property
    def _point_inverse(self) -> PointInverse:
        return PointInverse(self.transform)

    def points(self, points_mm: npt.ArrayLike) -> tuple[Array, Reliability]:
        """Return points on the side of the destination, LPS mm, shape (N, 3), and how reliable they are."""
        points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
        if not len(points):
            return points, Reliability(0)
        if self.to == "moving":
            mapped = self.transform.apply(points)
            return mapped, reliability(self.transform, points, shown_mm=mapped, view=self._view)
        found, error = self._point_inverse(points)
        mapped = np.asarray(found, dtype=np.float64)
        checked = reliability(self.transform, mapped, shown_mm=mapped, view=self._view, inverse_error_mm=error)
        return mapped, checked

    def local(self, point_mm: npt.ArrayLike) -> Array:
        """Return the (3, 3) linear part of the map of points, at one point of an object."""
        point = np.asarray(point_mm, dtype=float).reshape(1, 3)
        if self.to == "moving":
            return np.asarray(jacobians(self.transform, point)[0])
        source = self._point_inverse(point)[0]
        return np.asarray(np.linalg.inv(jacobians(self.transform, source)[0]))

    def check(self, points_mm: npt.ArrayLike) -> Reliability:
        """Return how reliable the map is for an object, from at most 2000 evenly chosen points of it, LPS mm."""
        points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
        chosen = np.linspace(0, len(points) - 1, min(len(points), MOST_CHECKED)).astype(int)
        return self.points(points[chosen])[1]

    def check_volume(self, grid: Grid) -> Reliability:
        """Return how reliable the map is for the part of an image that is in the view.

        Two volumes rarely show the same region, so only an image without any voxel in the view counts as outside.
        """
        coarse = grid.with_spacing([max(s, e / 12) for s, e in zip(grid.spacing_mm, grid.extent_mm, strict=True)])
        points = coarse.points().reshape(-1, 3)
        mapped, everything = self.points(points)
        seen = self.view.contains(mapped)
        return replace(self.points(points[seen])[1], outside=0) if seen.any() else everything

    def check_labels(self, labels: LabelMap) -> Reliability:
        """Return how reliable the map is for the labeled voxels of a label map."""
        return self.check(labels.grid.index_to_point(np.argwhere(labels.mask())[:, ::-1]))

    def volume(self, volume: Volume, *, fill: float | None = None) -> Volume:
        """Return a volume on the grid of the destination, linearly interpolated."""
        return warp_volume(volume, self.view, self.resampling, fill=fill)

    def labels(self, labels: LabelMap, interpolation: str = NEAREST) -> LabelMap:
        """Return labels on the grid of the destination.

        Parameters
        ----------
        labels : LabelMap
            The labels.
        interpolation : {'nearest', 'smooth'}
            'smooth' gives each voxel the label with the largest linearly interpolated membership, which avoids
            staircases where the grids differ.
        """
        if interpolation not in (NEAREST, SMOOTH):
            hint = did_you_mean(interpolation, (NEAREST, SMOOTH))
            raise SettingsError(f"There is no interpolation '{interpolation}' of labels.", hint=hint)
        warp = warp_smoothly if interpolation == SMOOTH else warp_labels
        return warp(labels, self.view, self.resampling)

    def channels(self, array: npt.NDArray[Any], grid: Grid) -> npt.NDArray[Any]:
        """Return channels without direction, such as colors, on the grid of the destination.

        Parameters
        ----------
        array : (Z, Y, X, C) array
            Channels, linearly interpolated; integers are rounded and keep their type.
        grid : Grid
            Their grid.
        """
        image = image_from_array(np.ascontiguousarray(array, dtype=np.float32), grid, vector=True)
        moved = sitk.GetArrayFromImage(resampled(image, self.view, self.resampling, sitk.sitkLinear, 0))
        return np.rint(moved).astype(array.dtype) if array.dtype.kind in "iu" else moved.astype(array.dtype)

    def vectors(self, array_mm: npt.NDArray[Any], grid: Grid) -> npt.NDArray[Any]:
        """Return vectors on the grid of the destination, turned and stretched as the tissue is.

        Parameters
        ----------
        array_mm : (Z, Y, X, 3) array
            Vectors between points (displacements, velocities, directions), components LPS.
        grid : Grid
            Their grid.

        References
        ----------
        Alexander et al., IEEE TMI 20:1131-1139, 2001, doi 10.1109/42.963816 (reorientation by the local Jacobian).
        """
        moved = self.channels(array_mm, grid)
        points, flat = self.view.points().reshape(-1, 3), moved.reshape(-1, 3)
        for start in range(0, len(points), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            # The resampling map leads from the destination to the object; vectors go the opposite way.
            local = jacobians(self.resampling, points[part])
            usable = np.abs(np.linalg.det(local)) > 1e-6
            turned = np.zeros_like(flat[part], dtype=np.float64)
            turned[usable] = np.linalg.solve(local[usable], flat[part][usable][..., None].astype(float))[..., 0]
            flat[part] = turned
        return moved
