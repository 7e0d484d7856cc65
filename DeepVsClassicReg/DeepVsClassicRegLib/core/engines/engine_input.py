"""Input of a back end: the pair with a linear start, other starts applied, and lengths scaled to those of a head."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from ..images.grid import Grid
from ..images.intensity import foreground, limited, with_dark_background
from ..images.resample import warp_labels, warp_volume
from ..images.volume import LabelMap, Volume
from ..pair import Pair, marked_pair, without_excluded
from ..transforms.transform import Affine, Part, Transform
from .partial_views import filled_beyond, known

MARGIN = 0.1
FEWEST_VOXELS = 12  # along an axis of a coarse level
SPACING_DIGITS, PLACE_DIGITS = 5, 3
LABEL_MAPS = ("labels", "mask", "excluded", "rigid")


@dataclass(frozen=True, eq=False)
class EngineInput:
    """A pair in the form for a back end.

    Attributes
    ----------
    fixed, moving : Volume
        The volumes to register; `moving` is already resampled with `tail`.
    fixed_mask, moving_mask : LabelMap or None
        Masks on the grids of their volumes.
    affine : Affine
        Start of the back end (identity when the whole start is in `tail`).
    tail : Transform
        Transform after that of the back end, to the moving volume of the pair.
    unit_mm : float
        Unit by which all lengths are divided (see `in_units`).
    """

    fixed: Volume
    moving: Volume
    fixed_mask: LabelMap | None
    moving_mask: LabelMap | None
    affine: Affine
    tail: Transform
    unit_mm: float = 1.0

    @property
    def affine_matters(self) -> bool:
        """Whether the affine start differs from the identity."""
        return not np.array_equal(self.affine.homogeneous, np.eye(4))

    def complete(self, *parts: Part | Transform) -> Transform:
        """Return the complete fixed-to-moving transform in mm: the given parts, then the tail."""
        return Transform.of([*parts, self.tail]).scaled(self.unit_mm)


def in_units(pair: Pair, unit_mm: float | None = None) -> tuple[Pair, float]:
    """Return the pair with all lengths divided by the unit of its fixed grid (`Grid.unit_mm`), and that unit.

    A mouse brain or a whole body is scaled to about the size of a head, so that constants in millimeters inside back
    ends (grids, steps, tolerances) have the same meaning. A head at 1 mm has the unit 1 and does not change. Grids are
    rounded to less than a thousandth of the unit, so that a header in other units of length gives identical numbers:
    some back ends are sensitive to a change in the seventh digit.
    """
    unit = pair.fixed.grid.unit_mm if unit_mm is None else unit_mm
    if unit == 1:
        return pair, unit
    changes: dict[str, Any] = {}
    for name in ("fixed", "moving", *(f"{side}_{kind}" for side in ("fixed", "moving") for kind in LABEL_MAPS)):
        if (item := getattr(pair, name)) is not None:
            changes[name] = dataclasses.replace(item, grid=_rounded(item.grid.scaled(1 / unit)))
    for name in ("fixed_points", "moving_points"):
        if (points := getattr(pair, name)) is not None:
            changes[name] = points / unit
    if pair.initial is not None:
        changes["initial"] = Transform(tuple(_rounded_part(part) for part in pair.initial.scaled(1 / unit).parts))
    return pair.replace(**changes), unit


def shrink_factors(grid: Grid, shrink: int) -> list[int]:
    """Return the factors (x, y, z) that coarsen the finest axis `shrink` times; thick or few slices are kept."""
    finest = min(grid.spacing_mm)
    return [
        max(1, min(round(shrink * finest / spacing), size // FEWEST_VOXELS))
        for spacing, size in zip(grid.spacing_mm, grid.size, strict=True)
    ]


def _rounded(grid: Grid) -> Grid:
    spacing = [round(value, SPACING_DIGITS) for value in grid.spacing_mm]
    origin = [round(value, PLACE_DIGITS) for value in grid.origin_mm]
    return Grid(grid.size, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]), grid.direction)


def _rounded_part(part: Part) -> Part:
    return Affine(part.matrix, part.translation_mm.round(PLACE_DIGITS)) if isinstance(part, Affine) else part


def native_start(pair: Pair, *, unit_mm: float | None = None) -> EngineInput:
    """Return the pair for a back end that accepts an affine start; any other start is applied to the moving volume.

    With a start that is not linear the moving volume is resampled in the fixed volume's field of view, enlarged by 10 %
    on every side, at the finer of both spacings, to limit the loss of detail.
    Fixed voxels that the start maps outside a moving volume with a partial view of the body are masked out, and an
    affine start fills a margin beyond its view (`filled_beyond`).
    Lengths are divided by `unit_mm`, that of the fixed grid when none is given.
    """
    pair, unit = in_units(pair, unit_mm)
    linear = Affine.identity() if pair.initial is None else pair.initial.affine
    if linear is not None:
        within = known(pair.moving, pair.fixed.grid, Transform((linear,)))
        fixed_mask = _within(_on(pair.fixed_mask, pair.fixed.grid), within, pair.fixed.grid)
        moving = pair.moving if within is None else filled_beyond(pair.moving, pair.fixed, linear)
        masks = fixed_mask, _on(pair.moving_mask, moving.grid)
        return EngineInput(pair.fixed, moving, *masks, linear, Transform(), unit)
    # A mask of the moving volume causes forces at its edges; a mask of the fixed volume does not move.
    absorbed = _absorbed(pair, _wide_grid(pair), unit)
    within = known(pair.moving, pair.fixed.grid, absorbed.tail)
    return dataclasses.replace(absorbed, fixed_mask=_within(absorbed.fixed_mask, within, pair.fixed.grid))


def same_grid_start(pair: Pair) -> EngineInput:
    """Return the pair with the moving volume resampled on the fixed grid with the whole start."""
    pair, unit = in_units(pair)
    absorbed = _absorbed(pair, pair.fixed.grid, unit)
    within = known(pair.moving, pair.fixed.grid, absorbed.tail)
    return dataclasses.replace(absorbed, moving_mask=_within(absorbed.moving_mask, within, pair.fixed.grid))


def _absorbed(pair: Pair, grid: Grid, unit_mm: float) -> EngineInput:
    start = pair.initial or Transform()
    moving = warp_volume(pair.moving, grid, start, name=pair.moving.name)
    mask = None if pair.moving_mask is None else warp_labels(_binary(pair.moving_mask), grid, start)
    return EngineInput(
        pair.fixed, moving, _on(pair.fixed_mask, pair.fixed.grid), mask, Affine.identity(), start, unit_mm
    )


def _wide_grid(pair: Pair) -> Grid:
    fine = np.minimum(pair.fixed.grid.spacing_mm, min(pair.moving.grid.spacing_mm))
    # Limits the memory for moving volumes with thin slices: at most 8 times the voxels of the fixed volume.
    fine = np.maximum(fine, np.array(pair.fixed.grid.spacing_mm) / 2)
    grid = pair.fixed.grid.with_spacing([float(s) for s in fine])
    return grid.padded([int(np.ceil(MARGIN * n)) for n in grid.size])


def _within(mask: LabelMap | None, within: npt.NDArray[np.bool_] | None, grid: Grid) -> LabelMap | None:
    """Return a mask restricted to known voxels of the moving volume; others must not enter a similarity."""
    if within is None:
        return mask
    inside = within if mask is None else within & mask.mask()
    return LabelMap(inside.astype(np.int32), grid, name="known")


def _binary(mask: LabelMap) -> LabelMap:
    return dataclasses.replace(mask, array=mask.mask().astype(np.int32))


def _on(mask: LabelMap | None, grid: Grid) -> LabelMap | None:
    if mask is None:
        return None
    return _binary(mask) if mask.grid.same_as(grid) else warp_labels(_binary(mask), grid)


def engine_view(pair: Pair) -> tuple[Pair, list[str]]:
    """Return the pair for engines, and notes on its differences from the given volumes.

    Excluded regions, padding and other voxels that were not measured are excluded by a mask, combined with the user's
    mask; holes are filled from their surroundings, everything else with the background value. A background inside or
    above the intensity range of the body is made dark. Extreme intensities are limited (`limited`). The geometry does
    not change, so the transform of this pair is valid for the original.
    """
    pair = without_excluded(marked_pair(pair))
    changes: dict[str, Any] = {}
    remarks = []
    for side in ("fixed", "moving"):
        volume: Volume = getattr(pair, side)
        seen = with_dark_background(volume)
        dark = seen.array is not volume.array
        array, count = limited(seen.array)
        if count:
            remarks.append(
                f"{count} voxel(s) of the {side} volume have intensities far beyond all others "
                f"({volume.value_range[0]:g} to {volume.value_range[1]:g}); engines receive them limited."
            )
        if array is not seen.array:
            seen = dataclasses.replace(seen, array=array)
        if seen is volume:
            continue
        changes[side] = seen
        if volume.valid is not None:
            changes[f"{side}_mask"] = _merged(volume, getattr(pair, f"{side}_mask"))
        elif dark:
            remarks.append(f"The background of the {side} volume is not dark; engines receive it as dark.")
    return (pair.replace(**changes), remarks) if changes else (pair, remarks)


def _merged(volume: Volume, mask: LabelMap | None) -> LabelMap:
    """Return the mask of the measured voxels, inside the user's mask if there is one."""
    inside = np.ones(volume.grid.shape, dtype=bool) if volume.valid is None else volume.valid
    if mask is not None:
        inside = inside & warp_labels(mask, volume.grid).mask()
    return LabelMap(inside.astype(np.int32), volume.grid, name="measured")


def given_start(pair: Pair, subject: str) -> Affine | None:
    """Return the linear start of a pair, None when it must be searched.

    Parameters
    ----------
    pair : Pair
        Its `initial` is the start.
    subject : str
        What starts, as the beginning of a sentence: "The linear alignment".

    Raises
    ------
    RegistrationError
        When the start is not linear, or mirrors the patient.
    """
    if pair.initial is None:
        return None
    linear = pair.initial.affine
    if linear is None:
        raise RegistrationError(
            f"{subject} cannot start from a deformable transform.",
            hint="Give a linear initial transform, or choose a deformable engine, which can start from it.",
        )
    if np.linalg.det(linear.matrix) < 0:
        raise RegistrationError("The initial transform mirrors the patient.", hint="Use one without a reflection.")
    return linear


def first_guesses(pair: Pair) -> list[Affine]:
    """Return the alignment by the headers, and that of the centers of what both volumes show."""
    return [Affine.identity(), Affine.shift(_center(pair.moving) - _center(pair.fixed))]


def _center(volume: Volume) -> npt.NDArray[np.floating]:
    """Return the center of what the volume shows, LPS mm; that of its field of view when it shows nothing."""
    shown = foreground(volume)
    if not shown.any():
        return volume.grid.center_mm
    per_axis = [shown.sum(axis=others) for others in ((0, 1), (0, 2), (1, 2))]  # voxels at each i, j and k
    return volume.grid.index_to_point([np.average(np.arange(counts.size), weights=counts) for counts in per_axis])
