"""Transform: the complete fixed-to-moving map as a chain of parts, with composing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..errors import RegistrationError
from ..images.grid import Grid
from .affine import Affine
from .field import BSpline, DisplacementField, VelocityField

Part = Affine | DisplacementField | VelocityField | BSpline
Array = npt.NDArray[np.float64]


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
            self.to_sitk(), sitk.sitkVectorFloat64, grid.size, grid.origin_mm, grid.spacing_mm, grid.direction
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
