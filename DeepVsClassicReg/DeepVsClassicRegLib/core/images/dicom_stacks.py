"""Groups slices of a folder or file into stacks, and selects a stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FileError
from .dicom_slices import Slice

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
