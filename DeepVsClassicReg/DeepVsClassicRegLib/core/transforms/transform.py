"""Transform: the complete fixed-to-moving map as a chain of parts, which are affine or dense."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import GeometryError, RegistrationError
from ..images.grid import Grid
from ..images.resample import continued_image, field_image, grid_of

Array = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
TOLERANCE = 0.05  # in units of the fixed grid, mm for a head


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> matrix @ x + translation_mm, in LPS millimeters.

    Parameters
    ----------
    matrix : (3, 3) array
        Linear part.
    translation_mm : (3,) array
        Translation.

    Examples
    --------
    >>> shift = Affine.shift([1, 2, 3])
    >>> shift.apply([[0, 0, 0]])
    array([[1., 2., 3.]])
    """

    matrix: Array
    translation_mm: Array

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64).reshape(3, 3)
        translation = np.array(self.translation_mm, dtype=np.float64).reshape(3)
        if not (np.isfinite(matrix).all() and np.isfinite(translation).all()):
            raise GeometryError("An affine transform contains numbers that are not finite.")
        if abs(np.linalg.det(matrix)) < 1e-9:
            raise GeometryError("An affine transform is not invertible (its determinant is 0).")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "translation_mm", translation)

    @classmethod
    def identity(cls) -> Affine:
        """Return the identity."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def shift(cls, translation_mm: npt.ArrayLike) -> Affine:
        """Return a pure translation."""
        return cls(np.eye(3), np.asarray(translation_mm, dtype=float))

    @classmethod
    def about(cls, matrix: npt.ArrayLike, center_mm: npt.ArrayLike, translation_mm: npt.ArrayLike = 0.0) -> Affine:
        """Return x -> matrix @ (x - center) + center + translation."""
        linear, center = np.asarray(matrix, dtype=float), np.asarray(center_mm, dtype=float)
        return cls(linear, center - linear @ center + np.asarray(translation_mm, dtype=float))

    @classmethod
    def from_homogeneous(cls, matrix: npt.ArrayLike) -> Affine:
        """Return the map of a (4, 4) homogeneous matrix."""
        full = np.asarray(matrix, dtype=float)
        return cls(full[:3, :3], full[:3, 3])

    @classmethod
    def from_sitk(cls, transform: sitk.Transform) -> Affine:
        """Return any linear SimpleITK transform (Euler, versor, similarity, scale, affine, translation).

        Raises
        ------
        RegistrationError
            When the transform is not linear.
        """
        if not transform.IsLinear():
            raise RegistrationError(f"'{transform.GetName()}' is not a linear transform.")
        origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        columns = [np.array(transform.TransformPoint(tuple(unit))) - origin for unit in np.eye(3)]
        return cls(np.stack(columns, axis=1), origin)

    @property
    def homogeneous(self) -> Array:
        """The (4, 4) homogeneous matrix."""
        full = np.eye(4)
        full[:3, :3], full[:3, 3] = self.matrix, self.translation_mm
        return full

    @property
    def is_rigid(self) -> bool:
        """Whether the map is a rotation and a translation."""
        turned = np.allclose(self.matrix.T @ self.matrix, np.eye(3), atol=1e-6)
        return bool(turned and np.linalg.det(self.matrix) > 0)

    def apply(self, points_mm: npt.ArrayLike) -> Array:
        """Return the mapped points, shape (..., 3)."""
        return np.asarray(np.asarray(points_mm, dtype=float) @ self.matrix.T + self.translation_mm)

    def then(self, other: Affine) -> Affine:
        """Return x -> other(self(x))."""
        return Affine.from_homogeneous(other.homogeneous @ self.homogeneous)

    def inverse(self) -> Affine:
        """Return the exact inverse."""
        return Affine.from_homogeneous(np.linalg.inv(self.homogeneous))

    def to_sitk(self) -> sitk.AffineTransform:
        """Return the map as a SimpleITK transform."""
        transform = sitk.AffineTransform(3)
        transform.SetMatrix(self.matrix.ravel().tolist())
        transform.SetTranslation(self.translation_mm.tolist())
        return transform


def is_flat(points_mm: npt.ArrayLike) -> bool:
    """Return whether points (N, 3) lie in a plane, as those of a single slice do: no affine map can be fitted then."""
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    if len(points) < 4:
        return True
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(spread[2] <= 1e-6 * spread[0])


def fit_affine(fixed_points: npt.ArrayLike, moving_points: npt.ArrayLike, *, kind: str = "rigid") -> Affine:
    """Return the least-squares map from fixed to moving landmarks.

    Parameters
    ----------
    fixed_points, moving_points : (N, 3) arrays
        Corresponding points, LPS mm; 3 or more not on one line (affine: 4 or more not in a plane).
    kind : {'rigid', 'similarity', 'affine'}
        What the map may do.

    Raises
    ------
    RegistrationError
        When there are too few points, or they are degenerate for the kind.

    References
    ----------
    Umeyama, IEEE TPAMI 13(4):376-380, 1991, doi 10.1109/34.88573.
    """
    fixed = np.asarray(fixed_points, dtype=float).reshape(-1, 3)
    moving = np.asarray(moving_points, dtype=float).reshape(-1, 3)
    fixed_mean, moving_mean = fixed.mean(0), moving.mean(0)
    a, b = fixed - fixed_mean, moving - moving_mean
    needed = {"rigid": 2, "similarity": 2, "affine": 3}[kind]
    spread = np.linalg.svd(a, compute_uv=False) if len(a) else np.zeros(3)
    if int((spread > 1e-6 * max(spread.max(initial=0), 1e-12)).sum()) < needed:
        raise RegistrationError(
            f"{len(fixed)} landmarks are too few or too flat for a {kind} fit.", hint="Place more, well spread ones."
        )
    if kind == "affine":
        solution, *_ = np.linalg.lstsq(a, b, rcond=None)
        matrix = solution.T
    else:
        u, singular, vt = np.linalg.svd(b.T @ a)
        sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        matrix = u @ sign @ vt
        if kind == "similarity":
            matrix = matrix * float((singular * np.diag(sign)).sum() / (a**2).sum())
    return Affine(matrix, moving_mean - matrix @ fixed_mean)


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

    array_mm: Vectors
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "array_mm", _checked(self.array_mm, self.grid))

    @classmethod
    def from_sitk(cls, image: sitk.Image) -> DisplacementField:
        """Return the field held by a 3-vector SimpleITK image."""
        return cls(np.array(sitk.GetArrayViewFromImage(image), dtype=np.float32), grid_of(image))

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

    array_mm: Vectors
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

    coefficients_mm: Vectors
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
            raise GeometryError(
                f"Only cubic B-splines are known, got order {transform.GetOrder()}.",
                hint="Convert it to a displacement field with the program that wrote it.",
            )
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


def _checked(array: Any, grid: Grid) -> Vectors:
    checked = np.ascontiguousarray(array, dtype=np.float32)
    if checked.shape != (*grid.shape, 3):
        raise GeometryError(f"The field has shape {checked.shape}, its grid needs {(*grid.shape, 3)}.")
    if not np.isfinite(checked).all():
        raise GeometryError("The field contains values that are not finite.")
    view = checked.view()
    view.flags.writeable = False
    return view


Part = Affine | DisplacementField | VelocityField | BSpline


@dataclass(frozen=True, eq=False)
class Transform:
    """A map from fixed to moving points: the parts applied one after another, first part first.

    Parameters
    ----------
    parts : tuple of Affine, DisplacementField, VelocityField or BSpline
        No part means identity.
    notes : tuple of str
        Notes for the user: how the file it comes from was understood.

    Examples
    --------
    >>> there = Transform((Affine.shift([5, 0, 0]),))
    >>> there.apply([[1, 1, 1]])
    array([[6., 1., 1.]])
    """

    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, parts: Iterable[Part | Transform]) -> Transform:
        """Return the chain of parts and transforms, with neighboring affine parts merged."""
        flat: list[Part] = []
        notes: list[str] = []
        for item in parts:
            notes += item.notes if isinstance(item, Transform) else ()
            for part in item.parts if isinstance(item, Transform) else (item,):
                if isinstance(part, Affine) and flat and isinstance(flat[-1], Affine):
                    flat[-1] = flat[-1].then(part)
                else:
                    flat.append(part)
        return cls(tuple(flat), tuple(dict.fromkeys(notes)))

    def noted(self, notes: Iterable[str]) -> Transform:
        """Return this map with further notes."""
        return Transform(self.parts, (*self.notes, *notes))

    @property
    def affine(self) -> Affine | None:
        """The map as one Affine when it is linear (identity included), else None."""
        if not self.parts:
            return Affine.identity()
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, Affine) else None

    def then(self, other: Transform | Part) -> Transform:
        """Return x -> other(self(x))."""
        return Transform.of([self, other])

    def scaled(self, factor: float) -> Transform:
        """Return the same map between points whose coordinates are all multiplied by the factor."""
        return Transform(tuple(_scaled_part(part, factor) for part in self.parts))

    def apply(self, points_mm: npt.ArrayLike) -> Array:
        """Return the moving points of these fixed points, LPS mm, shape (..., 3).

        Meant for landmarks and vertices; for every voxel of a grid use `displacement_on`.
        """
        points = np.asarray(points_mm, dtype=float)
        for part in self.parts:
            points = part.apply(points)
        return points

    def displacement_on(self, grid: Grid) -> DisplacementField:
        """Return this map sampled as one displacement field on the grid, affine parts included."""
        field = sitk.TransformToDisplacementField(
            self.to_sitk(), sitk.sitkVectorFloat32, grid.size, grid.origin_mm, grid.spacing_mm, grid.direction
        )
        return DisplacementField.from_sitk(field)

    def to_sitk(self) -> sitk.CompositeTransform:
        """Return the map as a SimpleITK composite (which applies its last transform first)."""
        composite = sitk.CompositeTransform(3)
        for part in reversed(self.parts or (Affine.identity(),)):
            composite.AddTransform(part.to_sitk())
        return composite

    @classmethod
    def from_sitk(cls, transform: sitk.Transform) -> Transform:
        """Return any SimpleITK transform built of linear, displacement-field and B-spline transforms.

        Raises
        ------
        RegistrationError
            When it contains a kind of transform that is not known here.
        """
        return cls.of(_parts_of(transform))


def _scaled_part(part: Part, factor: float) -> Part:
    if isinstance(part, Affine):
        return Affine(part.matrix, part.translation_mm * factor)
    if isinstance(part, BSpline):
        return BSpline(part.coefficients_mm * np.float32(factor), part.grid.scaled(factor))
    return dataclasses.replace(part, array_mm=part.array_mm * np.float32(factor), grid=part.grid.scaled(factor))


def _parts_of(transform: sitk.Transform) -> list[Part]:
    # Tested first: ITK's general linear transforms come as a composite whose only part is that composite again.
    if transform.GetDimension() == 3 and transform.IsLinear():
        return [Affine.from_sitk(transform)]
    concrete = transform.Downcast() if type(transform) is sitk.Transform else transform
    if isinstance(concrete, sitk.CompositeTransform):
        nested = [concrete.GetNthTransform(n) for n in range(concrete.GetNumberOfTransforms())]
        return [part for item in reversed(nested) for part in _parts_of(item)]
    if isinstance(concrete, sitk.DisplacementFieldTransform):
        return [DisplacementField.from_sitk(concrete.GetDisplacementField())]
    if isinstance(concrete, sitk.BSplineTransform):
        return [BSpline.from_sitk(concrete)]
    raise RegistrationError(
        f"Transforms of the kind '{concrete.GetName()}' ({concrete.GetDimension()}D) cannot be used.",
        hint="Convert it to a displacement field first.",
    )


def compacted(field: DisplacementField, *, tolerance_mm: float | None = None) -> DisplacementField:
    """Return the field on the coarsest grid whose linear interpolation stays within the tolerance.

    Parameters
    ----------
    field : DisplacementField
        The field as the engine made it.
    tolerance_mm : float, optional
        Largest deviation allowed anywhere on the given grid; 0.05 mm for a head, in proportion for other grids.

    Returns
    -------
    DisplacementField
        On a grid 4, 3 or 2 times coarser, or the field itself.
    """
    tolerance = TOLERANCE * field.grid.unit_mm if tolerance_mm is None else tolerance_mm
    for factor in (4, 3, 2):
        coarse = _coarser(field, factor)
        # A few planes rule out most grids at a fraction of the price.
        if coarse is not None and all(deviation_mm(coarse, part) <= tolerance for part in (*_planes(field), field)):
            return coarse
    return field


def rounded(field: DisplacementField, *, step_mm: float) -> DisplacementField:
    """Return the field with displacements that are multiples of a power of two, at most `step_mm`, mm.

    The last bits of displacements are noise far below what any engine can tell, and noise cannot be compressed: a
    file of rounded displacements has half the size.
    """
    step = np.float32(2.0 ** np.floor(np.log2(step_mm)))
    return DisplacementField(np.round(field.array_mm / step) * step, field.grid)


def deviation_mm(coarse: DisplacementField, fine: DisplacementField) -> float:
    """Return the largest difference of two fields over the voxels of the finer one, mm."""
    back = sitk.GetArrayFromImage(continued_image(coarse.image(), fine.grid))  # a view would outlive the image
    return float(np.sqrt(((back - fine.array_mm) ** 2).sum(-1).max()))


def _planes(field: DisplacementField, *, count: int = 4) -> Iterator[DisplacementField]:
    """Yield planes across the last index axis, from the middle outward."""
    nx, ny, nz = field.grid.size
    for number in np.argsort(np.abs(np.arange(count) - (count - 1) / 2), kind="stable"):
        k = int((2 * number + 1) * nz / (2 * count))
        origin = tuple(field.grid.index_to_point([0, 0, k]).tolist())
        grid = Grid((nx, ny, 1), field.grid.spacing_mm, origin, field.grid.direction)
        yield DisplacementField(field.array_mm[k : k + 1], grid)


def _coarser(field: DisplacementField, factor: int) -> DisplacementField | None:
    if min(field.grid.size) < 4 * factor:
        return None
    # Nodes lie on every factor-th voxel center and reach past the last one, so no border is lost.
    size = [-(-(n - 1) // factor) + 1 for n in field.grid.size]
    spacing = [s * factor for s in field.grid.spacing_mm]
    grid = Grid(
        (size[0], size[1], size[2]), (spacing[0], spacing[1], spacing[2]), field.grid.origin_mm, field.grid.direction
    )
    k, j, i = (
        np.minimum(factor * np.arange(n), last)
        for n, last in zip(size[::-1], np.array(field.grid.shape) - 1, strict=True)
    )
    return DisplacementField(field.array_mm[np.ix_(k, j, i)], grid)
