"""Affine maps of physical points: rigid, similarity or general."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import GeometryError, RegistrationError

Array = npt.NDArray[np.float64]


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
