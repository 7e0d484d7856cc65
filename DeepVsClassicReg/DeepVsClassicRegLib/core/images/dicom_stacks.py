"""Groups slices of a folder or file into stacks, selects a stack, and places it on a regular grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FileError, GeometryError
from .dicom_slices import Slice
from .grid import Grid, grid_from_lps
from .volume import Note

# Slices whose directions differ by more than this (sine of the angle) are not parallel.
_PARALLEL = 2e-3
# Fraction of a pixel: allowed deviation from the line through the stack, and distance of identical positions.
_BESIDE, _SAME = 0.1, 0.01
_MOST_LISTED = 20
# Attributes that separate stacks of one series, in this order.
_MARKS = (
    "echo",
    "echo time",
    "image type",
    "stack",
    "b-value",
    "inversion time",
    "time point",
    "trigger time",
    "frame time",
    "kernel",
    "acquisition",
    "acquisition time",
)


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel slices of one size that belong together, ordered along their normal.

    Parameters
    ----------
    slices : tuple of Slice
        At least one.
    key : str
        Identifier for the user: its series number, followed by a count when several stacks have it.
    """

    slices: tuple[Slice, ...]
    key: str = ""

    def describe(self) -> str:
        """Return one line for a list of choices."""
        first = self.slices[0]
        marks = {
            "echo": first.marks.get("echo"),
            "echo time": first.marks.get("echo time"),
            "type": first.marks.get("image type"),
            "time point": first.marks.get("time point"),
            "b-value": first.marks.get("b-value"),
        }
        said = ", ".join(f"{name} {value}" for name, value in marks.items() if value)
        size = f"{first.size[0]} x {first.size[1]} x {len(self.slices)}"
        name = f"'{first.description}'" if first.description else "without description"
        return f"{self.key}: {name}, {first.modality}, {size}" + (f", {said}" if said else "")


def stacks_of(slices: Iterable[Slice], notes: list[str]) -> list[Stack]:
    """Return the stacks that the slices make, ordered by series; copies of a slice are left out with a note."""
    unique: dict[tuple[object, ...], Slice] = {}
    copies = []
    for entry in slices:
        # Some anonymizers give all slices of a series one UID: only at one place they are copies.
        key = (entry.uid, entry.series, entry.position_mm.round(3).tobytes(), *sorted(entry.marks.items()))
        if key in unique:
            copies.append(entry.path.name)
        unique.setdefault(key, entry)
    if copies:
        notes.append(f"{len(copies)} copies of other files are ignored, such as {copies[0]}.")
    groups: dict[tuple[object, ...], list[list[Slice]]] = {}
    for entry in unique.values():
        alike = groups.setdefault((entry.series, entry.size, np.round(entry.spacing_mm, 4).tobytes()), [])
        home = next((group for group in alike if _parallel(group[0], entry)), None)
        if home is None:
            alike.append([entry])
        else:
            home.append(entry)
    parts = [part for alike in groups.values() for group in alike for part in _split(group, _MARKS)]
    ordered = sorted((_ordered(part) for part in parts), key=_rank)
    shared = Counter(_name(part[0]) for part in ordered)
    counted: Counter[str] = Counter()
    stacks = []
    for part in ordered:
        name = _name(part[0])
        counted[name] += 1
        stacks.append(Stack(part, name if shared[name] == 1 else f"{name}.{counted[name]}"))
    return stacks


def chosen(stacks: Sequence[Stack], series: str | None, where: str, notes: list[str]) -> Stack:
    """Return the stack selected by the user.

    Parameters
    ----------
    stacks : sequence of Stack
        At least one.
    series : str, optional
        Key, series instance UID or description. By default the only stack other than scouts and single slices is used.
    where : str
        Folder or file, for messages.
    notes : list of str
        Receives a sentence about ignored images.

    Raises
    ------
    FileError
        When no stack, or more than one, matches.
    """
    if series is not None:
        return _named(stacks, series, where)
    if len(stacks) == 1:
        return stacks[0]
    volumes = [stack for stack in stacks if len(stack.slices) > 1 and not all(s.is_scout for s in stack.slices)]
    if len(volumes) == 1:
        others = "; ".join(stack.describe() for stack in stacks if stack is not volumes[0])
        notes.append(f"Series {volumes[0].describe()} is read; scouts and single slices are ignored ({others}).")
        return volumes[0]
    raise FileError(f"{where} contains {len(stacks)} DICOM series or parts of one:\n{_listed(stacks)}", hint=_CHOOSE)


def coordinates(slices: Sequence[Slice]) -> np.ndarray:
    """Return the positions of the slices along row, column and normal of the first, in mm, shape (N, 3)."""
    first = slices[0]
    axes = np.array([first.row, first.column, first.normal])
    return np.array([entry.position_mm for entry in slices]) @ axes.T


_CHOOSE = "Choose one by the number in front, with --series (dvcreg) or series= (Python)."


def _named(stacks: Sequence[Stack], series: str, where: str) -> Stack:
    wanted = str(series).strip()
    for fits in (
        lambda stack: stack.key == wanted,
        lambda stack: stack.slices[0].series == wanted,
        lambda stack: _name(stack.slices[0]) == wanted,
        lambda stack: stack.slices[0].description.casefold() == wanted.casefold(),
        lambda stack: wanted.casefold() in stack.slices[0].description.casefold(),
    ):
        found = [stack for stack in stacks if fits(stack)]
        if len(found) == 1:
            return found[0]
        if found:
            raise FileError(f"{where} contains {len(found)} series '{wanted}':\n{_listed(found)}", hint=_CHOOSE)
    raise FileError(f"{where} contains no series '{wanted}', but:\n{_listed(stacks)}", hint=_CHOOSE)


def _listed(stacks: Sequence[Stack]) -> str:
    lines = [f"  {stack.describe()}" for stack in stacks[:_MOST_LISTED]]
    more = len(stacks) - _MOST_LISTED
    return "\n".join(lines + ([f"  and {more} more"] if more > 0 else []))


def _name(entry: Slice) -> str:
    return "none" if entry.number is None else str(entry.number)


def _rank(part: Sequence[Slice]) -> tuple[object, ...]:
    first = min(part, key=lambda entry: (entry.path.name, entry.frame))
    number = float("inf") if first.number is None else first.number
    return number, first.series, [_sortable(first.marks.get(mark, "")) for mark in _MARKS], first.path.name


def _sortable(text: str) -> tuple[float, str]:
    try:
        return float(text or "-inf"), ""
    except ValueError:
        return float("inf"), text


def _parallel(one: Slice, other: Slice) -> bool:
    return all(np.linalg.norm(a - b) <= _PARALLEL for a, b in ((one.row, other.row), (one.column, other.column)))


def _split(slices: list[Slice], marks: Sequence[str]) -> list[list[Slice]]:
    """Return the slices as one part if they form a line of unique positions, else split by their attributes."""
    if _makes_a_line(slices):
        return [slices]
    for number, mark in enumerate(marks):
        parts: dict[str, list[Slice]] = {}
        for entry in slices:
            parts.setdefault(entry.marks.get(mark, ""), []).append(entry)
        if 1 < len(parts) <= len(slices) / 2:
            rest = marks[number + 1 :]
            found = [part for group in parts.values() for part in _split(group, rest)]
            if mark in _MARKS[:4] or all(_makes_a_line(part) for part in found):
                return found
    return [slices]


def _makes_a_line(slices: Sequence[Slice]) -> bool:
    where = coordinates(slices)
    pixel = min(slices[0].spacing_mm)
    steps = np.diff(np.sort(where[:, 2]))
    return bool((steps > _SAME * pixel).all() and off_line_mm(where).max() <= _BESIDE * pixel)


def off_line_mm(where_mm: np.ndarray) -> np.ndarray:
    """Return the distance of each slice from the line through the stack, from `coordinates`, shape (N,)."""
    if len(where_mm) < 3:
        return np.zeros(len(where_mm))
    along = where_mm[:, 2] - where_mm[:, 2].mean()
    across = where_mm[:, :2] - where_mm[:, :2].mean(axis=0)
    slope = (along @ across) / max(float(along @ along), 1e-12)
    return np.asarray(np.linalg.norm(across - np.outer(along, slope), axis=1))


def _ordered(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    order = np.argsort(coordinates(slices)[:, 2], kind="stable")
    return tuple(slices[number] for number in order)


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
