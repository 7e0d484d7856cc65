"""Registration of single slices and 2D images in their plane: the transform is the identity across it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..device import Compute
from ..images.grid import Grid
from ..images.resample import warp_labels
from ..images.sections import sliced_along
from ..images.volume import Note, Volume
from ..pair import Pair
from ..progress import Progress
from ..result import Result
from ..transforms.transform import Affine, DisplacementField, Part, Transform
from .base import Engine

# Equal slices of the slab that engines for volumes get: no force points out of the plane.
SLAB = 16
LARGE_ANGLE_DEG = 5.0
Array = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class InPlane:
    """A pair of slices, brought to the plane of the fixed slice.

    Parameters
    ----------
    given : Pair
        Both volumes are single slices; they may lie in different planes.
    """

    given: Pair

    @cached_property
    def fixed(self) -> Volume:
        """The fixed slice; its third index axis is across the plane."""
        return _across_last(self.given.fixed)

    @cached_property
    def moving(self) -> Volume:
        """The moving slice where it is; its third index axis is across the plane."""
        return _across_last(self.given.moving)

    @cached_property
    def to_moving_plane(self) -> Affine:
        """Rigid map from the fixed to the moving plane: no motion inside the plane when they are parallel."""
        fixed, moving = self.fixed.grid, self.moving.grid
        normal, other = fixed.axes[:, 2], moving.axes[:, 2]
        turn = _shortest_turn(normal, other if normal @ other >= 0 else -other)
        below = moving.center_mm - normal * (normal @ (moving.center_mm - fixed.center_mm))
        return Affine.about(turn, below, moving.center_mm - below)

    def notes(self) -> list[str]:
        """Return notes on slices that are in different planes."""
        normal, other = self.fixed.grid.axes[:, 2], self.moving.grid.axes[:, 2]
        angle = float(np.degrees(np.arccos(np.clip(abs(normal @ other), 0, 1))))
        apart = float(abs(normal @ (self.moving.grid.center_mm - self.fixed.grid.center_mm)))
        if angle > LARGE_ANGLE_DEG:
            text = f"The planes of the slices differ by {angle:.0f} degrees; they are registered as if they were one."
            return [Note(text, unsound=True)]
        if apart > max(self.fixed.grid.spacing_mm[2], self.moving.grid.spacing_mm[2]):
            return [f"The slices are {apart:.3g} mm apart; they are registered as if they were in one plane."]
        return []

    def pair(self, slices: int = 1) -> Pair:
        """Return the pair in the plane of the fixed slice, as slabs of equal slices when several are wanted."""
        back = self.to_moving_plane.inverse()
        given = self.given
        changes: dict[str, Any] = {
            "fixed": _slab(self.fixed, slices),
            "moving": _slab(_moved(self.moving, back), slices),
            "initial": None if given.initial is None else given.initial.then(back),
            "moving_points": None if given.moving_points is None else back.apply(given.moving_points),
        }
        for name in ("labels", "mask", "excluded", "rigid"):
            fixed, moving = getattr(given, f"fixed_{name}"), getattr(given, f"moving_{name}")
            if fixed is not None:
                changes[f"fixed_{name}"] = _slab(warp_labels(fixed, self.fixed.grid), slices)
            if moving is not None:
                changes[f"moving_{name}"] = _slab(_moved(warp_labels(moving, self.moving.grid), back), slices)
        return given.replace(**changes)

    def transform(self, found: Transform) -> Transform:
        """Return the part of a transform of `pair` in the plane, then the map to the moving plane."""
        grid, parts = self.fixed.grid, []
        for number, part in enumerate(found.parts):
            # What was moved before may be beyond the slice.
            wide = grid.padded([n // 2 for n in grid.size[:2]] + [0]) if number else grid
            parts.append(_flat_part(part, wide))
        return Transform.of([*parts, self.to_moving_plane])


def run_in_plane(engine: Engine, pair: Pair, settings: Any, progress: Progress, compute: Compute) -> Result:
    """Register slices in their plane by an engine: as they are when it can, otherwise as slabs of equal slices."""
    flat = InPlane(pair)
    native = engine.info.single_slices
    result = engine.run(flat.pair() if native else flat.pair(SLAB), settings, progress, compute)
    if native:
        return dataclasses.replace(result, transform=flat.transform(result.transform))
    return dataclasses.replace(result, transform=flat.transform(result.transform), uncertainty=None, extras=())


def _across_last(volume: Volume) -> Volume:
    return sliced_along(volume, "ijk"[volume.grid.size.index(1)])


def _shortest_turn(start: Array, end: Array) -> Array:
    """Return the rotation matrix with the smallest angle that turns one unit vector into another one."""
    axis, cosine = np.cross(start, end), float(start @ end)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + cosine))


def _moved(item: Any, affine: Affine) -> Any:
    """Return a volume or label map moved by a rigid map, without resampling."""
    grid = item.grid
    axes, origin = affine.matrix @ grid.axes, affine.apply(grid.origin_mm)
    moved = Grid(
        grid.size, grid.spacing_mm, (float(origin[0]), float(origin[1]), float(origin[2])), tuple(axes.ravel().tolist())
    )
    return dataclasses.replace(item, grid=moved)


def _slab(item: Any, slices: int) -> Any:
    """Return equal slices around a slice, at distances of the pixel size; a label map stays one."""
    if slices == 1:
        return item
    grid = item.grid
    x, y, _z = grid.spacing_mm
    thick = Grid((grid.size[0], grid.size[1], slices), (x, y, min(x, y)), grid.origin_mm, grid.direction)
    below = thick.index_to_point([0, 0, -(slices - 1) / 2])
    thick = dataclasses.replace(thick, origin_mm=(float(below[0]), float(below[1]), float(below[2])))
    changes: dict[str, Any] = {"array": np.repeat(item.array, slices, axis=0), "grid": thick}
    if isinstance(item, Volume) and item.valid is not None:
        changes["valid"] = np.repeat(item.valid, slices, axis=0)
    return dataclasses.replace(item, **changes)


def _flat_part(part: Part, plane: Grid) -> Part:
    """Return a part of a transform without motion out of the plane and without dependence on the height above it."""
    along = plane.axes[:, :2]
    if isinstance(part, Affine):
        small = along.T @ part.matrix @ along
        if part.is_rigid:
            u, _, vt = np.linalg.svd(small)
            small = u @ vt
        inside = along @ along.T
        matrix = along @ small @ along.T + np.eye(3) - inside
        center = plane.center_mm
        return Affine.about(matrix, center, inside @ (part.apply(center) - center))
    field = Transform((part,)).displacement_on(plane)
    flat = field.array_mm.astype(np.float64) @ (along @ along.T)
    return DisplacementField(flat.astype(np.float32), plane)
