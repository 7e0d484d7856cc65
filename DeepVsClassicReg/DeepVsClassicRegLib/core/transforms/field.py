"""Dense maps: displacement field, stationary velocity field and cubic B-spline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import GeometryError
from ..images.grid import Grid
from ..images.simple import field_image, grid_of

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """x -> x + u(x), u linearly interpolated on its grid and 0 outside of it.

    Parameters
    ----------
    array_mm : (Z, Y, X, 3) array
        Displacements (x, y, z) in LPS mm, pointing from fixed to moving points.
    grid : Grid
        The field's own grid, possibly coarser than the fixed volume's.
    """

    array_mm: Array
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "array_mm", _checked(self.array_mm, self.grid))

    @classmethod
    def from_sitk(cls, image: sitk.Image) -> DisplacementField:
        """Return the field held by a 3-vector SimpleITK image."""
        return cls(sitk.GetArrayFromImage(image), grid_of(image))

    def apply(self, points_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return x + u(x) of LPS mm points, shape (..., 3), as ITK interpolates: 0 half a voxel beyond the grid."""
        points = np.asarray(points_mm, dtype=np.float64)
        index = self.grid.point_to_index(points.reshape(-1, 3))
        last = np.array(self.grid.size) - 1
        inside = ((index >= -0.5) & (index < last + 0.5)).all(axis=1)
        index = np.clip(index[inside], 0, last)
        low = np.minimum(np.floor(index).astype(np.intp), np.maximum(last - 1, 0))
        share = index - low
        moved = np.zeros((len(index), 3))
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(corner, share, 1 - share).prod(axis=1)
            i, j, k = np.minimum(low + corner, last).T
            moved += weight[:, None] * self.array_mm[k, j, i]
        result = points.reshape(-1, 3).copy()
        result[inside] += moved
        return result.reshape(points.shape)

    def to_sitk(self) -> sitk.DisplacementFieldTransform:
        """Return the map as a SimpleITK transform."""
        return sitk.DisplacementFieldTransform(self.image())

    def image(self) -> sitk.Image:
        """Return the displacements as a float64 SimpleITK vector image."""
        return field_image(self.array_mm, self.grid)


@dataclass(frozen=True, eq=False)
class VelocityField:
    """x -> exp(v)(x): the flow along a stationary velocity field after unit time.

    Parameters
    ----------
    array_mm : (Z, Y, X, 3) array
        Velocities in LPS mm per unit time.
    grid : Grid
        The field's own grid.
    steps : int
        Number of squarings (2**steps small steps).

    References
    ----------
    Arsigny et al., MICCAI 2006, doi 10.1007/11866565_113 (scaling and squaring).
    """

    array_mm: Array
    grid: Grid
    steps: int = 7

    def __post_init__(self) -> None:
        object.__setattr__(self, "array_mm", _checked(self.array_mm, self.grid))

    def exponential(self) -> DisplacementField:
        """Return the displacement field of the flow."""
        small = np.asarray(self.array_mm, dtype=np.float64) / 2**self.steps
        image = field_image(small, self.grid)
        for _ in range(self.steps):
            image = compose_images(image, image)
        return DisplacementField.from_sitk(image)

    def inverse(self) -> VelocityField:
        """Return the velocity field of the inverse map."""
        return VelocityField(-self.array_mm, self.grid, self.steps)

    def apply(self, points_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return where the flow brings LPS mm points, shape (..., 3)."""
        return self.exponential().apply(points_mm)

    def to_sitk(self) -> sitk.DisplacementFieldTransform:
        """Return the flow as a SimpleITK transform."""
        return self.exponential().to_sitk()


@dataclass(frozen=True, eq=False)
class BSpline:
    """x -> x + sum of cubic B-splines on a grid of control points, 0 outside their support.

    Parameters
    ----------
    coefficients_mm : (Z, Y, X, 3) array
        Coefficients in LPS mm, one 3-vector per control point.
    grid : Grid
        Positions of all control points, the border ones included.
    """

    coefficients_mm: Array
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients_mm", _checked(self.coefficients_mm, self.grid))

    @classmethod
    def from_sitk(cls, transform: sitk.BSplineTransform) -> BSpline:
        """Return a cubic SimpleITK B-spline transform.

        Raises
        ------
        GeometryError
            When the spline is not cubic.
        """
        if transform.GetOrder() != 3:
            raise GeometryError(f"Only cubic B-splines are known, got order {transform.GetOrder()}.")
        images = transform.GetCoefficientImages()
        array = np.stack([sitk.GetArrayFromImage(image) for image in images], axis=-1)
        return cls(array, grid_of(images[0]))

    def apply(self, points_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the map of LPS mm points, shape (..., 3), one by one."""
        points, mapping = np.asarray(points_mm, dtype=np.float64), self.to_sitk()
        moved = [mapping.TransformPoint(point) for point in points.reshape(-1, 3).tolist()]
        return np.asarray(moved).reshape(points.shape)

    def to_sitk(self) -> sitk.BSplineTransform:
        """Return the map as a SimpleITK transform."""
        full = np.asarray(self.coefficients_mm, dtype=np.float64)
        images = [sitk.GetImageFromArray(np.ascontiguousarray(full[..., axis])) for axis in range(3)]
        for image in images:
            image.SetSpacing(self.grid.spacing_mm)
            image.SetOrigin(self.grid.origin_mm)
            image.SetDirection(self.grid.direction)
        return sitk.BSplineTransform(images, 3)


def compose_images(first: sitk.Image, second: sitk.Image) -> sitk.Image:
    """Return u(x) = first(x) + second(x + first(x)) on the grid of `first` (float64 vector images)."""
    through = sitk.DisplacementFieldTransform(sitk.Image(first))
    moved = sitk.Resample(second, first, through, sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64)
    return moved + first


def _checked(array: Any, grid: Grid) -> Array:
    checked = np.ascontiguousarray(array, dtype=np.float32)
    if checked.shape != (*grid.shape, 3):
        raise GeometryError(f"The field has shape {checked.shape}, its grid needs {(*grid.shape, 3)}.")
    if not np.isfinite(checked).all():
        raise GeometryError("The field contains values that are not finite.")
    view = checked.view()
    view.flags.writeable = False
    return view
