"""Converts a stack of slices to a regular grid: tilt and varying steps are resampled, gaps are errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import GeometryError
from .dicom_stacks import Stack, coordinates, off_line_mm
from .grid import Grid
from .notes import Note
from .orientation import grid_from_lps

Array = npt.NDArray[np.floating]
# Fraction of a pixel by which slices may deviate from the line through the stack.
_STRAIGHT = _BESIDE = 0.1
# Fraction of a step by which slices may deviate from equal steps before they are resampled.
_EQUAL = 0.05
# A step of this multiple of the usual one is a gap, unless several such steps follow each other.
_GAP, _RUN = 1.5, 3
_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class Placement:
    """The grid of a stack, and the positions of its slices.

    Parameters
    ----------
    grid : Grid
        Regular, LPS mm.
    shifts_vox : (N, 2) array, optional
        Offset of each slice from the grid's first column and row in pixels; None when all are 0.
    heights_vox : (N,) array, optional
        Position of each slice along the grid's third axis; None when slice n is at n.
    """

    grid: Grid
    shifts_vox: Array | None = None
    heights_vox: Array | None = None

    @property
    def resamples(self) -> bool:
        """Whether the slices of the stack are not at those of the grid."""
        return self.shifts_vox is not None or self.heights_vox is not None

    def placed(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return the stack's values (N, Y, X) on the grid, linearly interpolated, NaN where no slice reaches."""
        if self.shifts_vox is not None:
            size = self.grid.shape[1:]
            array = np.stack(
                [_shifted(plane, shift, size) for plane, shift in zip(array, self.shifts_vox, strict=True)]
            )
        if self.heights_vox is not None:
            array = _lifted(array, self.heights_vox, self.grid.shape[0])
        return array


def placement(stack: Stack, notes: list[str]) -> Placement:
    """Return the grid and slice positions of a stack.

    Raises
    ------
    GeometryError
        When slices are missing, have the same position, or are not on one line.
    """
    slices = stack.slices
    where = coordinates(slices)
    across = where[:, :2] - where[0, :2]
    heights = where[:, 2] - where[0, 2]
    pixel = min(slices[0].spacing_mm)
    _check_positions(stack, where, pixel)
    step, even = _step(stack, heights, notes)
    straight = float(np.abs(across).max()) <= _STRAIGHT * pixel
    low = np.zeros(2) if straight else across.min(axis=0)
    spacing = np.array(slices[0].spacing_mm)
    more = np.zeros(2, dtype=int) if straight else np.ceil(np.ptp(across, axis=0) / spacing - 1e-3).astype(int)
    size = (
        int(slices[0].size[0] + more[0]),
        int(slices[0].size[1] + more[1]),
        len(slices) if even else int(np.floor(heights[-1] / step + 1e-3)) + 1,
    )
    first = slices[0]
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([first.row, first.column, first.normal]) * [*spacing, step]
    matrix[:3, 3] = first.position_mm + low[0] * first.row + low[1] * first.column
    grid = grid_from_lps(matrix, size, first.path.name, notes)
    if not straight:
        tilt = np.degrees(np.arctan2(np.linalg.norm(across[-1]), heights[-1]))
        text = f"The slices are shifted sideways (gantry tilt of {tilt:.1f} degrees); resampled to a regular grid."
        notes.append(Note(text))
    return Placement(grid, None if straight else (across - low) / spacing, None if even else heights / step)


def _check_positions(stack: Stack, where: Array, pixel: float) -> None:
    slices, heights = stack.slices, where[:, 2]
    same = np.flatnonzero(np.diff(heights) <= 0.01 * pixel)
    if len(same):
        pairs = ", ".join(f"{_called(stack, n)} and {_called(stack, n + 1)}" for n in same[:_MOST_NAMED])
        raise GeometryError(
            f"{len(same)} slices of series {stack.key} have the position of another slice: {pairs}.",
            hint="Keep one image per position: export a single echo, phase or time point.",
        )
    beside = off_line_mm(where)
    if beside.max() > _BESIDE * pixel:
        worst = int(beside.argmax())
        raise GeometryError(
            f"The slices of series {stack.key} are not on a straight line: {_called(stack, worst)} is "
            f"{beside[worst]:.3g} mm from it ({len(slices)} slices).",
            hint="Export the acquisition as one parallel stack; a scan of several blocks cannot be one volume.",
        )


def _step(stack: Stack, heights: Array, notes: list[str]) -> tuple[float, bool]:
    """Return the slice distance of the grid, and whether the slices of the stack are at the grid's."""
    count = len(heights)
    if count == 1:
        return stack.slices[0].thickness_mm or 1.0, True
    steps = np.diff(heights)
    mean = float(heights[-1] / (count - 1))
    if float(np.abs(heights - mean * np.arange(count)).max()) <= _EQUAL * mean:
        return mean, True
    usual = float(np.median(steps))
    gaps = [n for n in np.flatnonzero(steps > _GAP * steps.min()) if _run(steps, int(n)) < _RUN]
    if gaps:
        where = "; ".join(
            f"{steps[n]:.4g} mm between {_called(stack, n)} and {_called(stack, n + 1)}" for n in gaps[:_MOST_NAMED]
        )
        missing = int(sum(max(1, round(steps[n] / usual) - 1) for n in gaps))
        raise GeometryError(
            f"About {missing} slices of series {stack.key} are missing: {where}; the others are {usual:.4g} mm apart.",
            hint="Copy or export the series again, completely.",
        )
    step = float(steps.min()) if steps.min() > usual / 4 else usual
    notes.append(
        Note(f"The slices lie {steps.min():.3g} to {steps.max():.3g} mm apart; resampled to steps of {step:.3g} mm.")
    )
    return step, False


def _run(steps: Array, number: int) -> int:
    """Return the number of consecutive steps of about this length around this one."""
    alike = np.abs(steps - steps[number]) <= 0.2 * steps[number]
    low = high = number
    while low > 0 and alike[low - 1]:
        low -= 1
    while high + 1 < len(steps) and alike[high + 1]:
        high += 1
    return high - low + 1


def _called(stack: Stack, number: int) -> str:
    entry = stack.slices[number]
    several = any(other.path == entry.path and other is not entry for other in stack.slices)
    frame = f" frame {entry.frame + 1}" if several else ""
    return f"{entry.path.name}{frame} ({', '.join(f'{value:.1f}' for value in entry.position_mm)})"


def _shifted(plane: npt.NDArray[np.generic], shift_vox: Array, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return a slice shifted by a fraction of a pixel in a larger plane, NaN outside."""
    moved = np.asarray(plane, dtype=np.float64)
    for axis, shift in ((1, float(shift_vox[0])), (0, float(shift_vox[1]))):
        length = size[axis]
        position = np.arange(length) - shift
        inside = (position >= -1e-3) & (position <= moved.shape[axis] - 1 + 1e-3)
        low = np.clip(np.floor(position), 0, moved.shape[axis] - 1).astype(int)
        high = np.minimum(low + 1, moved.shape[axis] - 1)
        part = np.clip(position - low, 0, 1)
        shape = (-1, 1) if axis == 0 else (1, -1)
        mixed = np.take(moved, low, axis) * (1 - part.reshape(shape)) + np.take(moved, high, axis) * part.reshape(shape)
        moved = np.where(inside.reshape(shape), mixed, np.nan)
    return moved.astype(np.float32)


def _lifted(array: npt.NDArray[np.generic], heights_vox: Array, count: int) -> npt.NDArray[np.float32]:
    """Return the slices at integer positions, interpolated linearly between their neighbors."""
    wanted = np.arange(count, dtype=float)
    high = np.clip(np.searchsorted(heights_vox, wanted), 1, len(heights_vox) - 1)
    low = high - 1
    part = np.clip((wanted - heights_vox[low]) / (heights_vox[high] - heights_vox[low]), 0, 1).astype(np.float32)
    values = np.asarray(array, dtype=np.float32)
    part = part[:, None, None]
    mixed = values[low] * (1 - part) + values[high] * part
    return np.where(part == 0, values[low], np.where(part == 1, values[high], mixed))
