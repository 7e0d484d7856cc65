"""Landmarks: files of points in LPS mm, and pairs of fixed and moving landmarks."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FileError, RegistrationError
from ..files import write_text
from .raw import Pathlike

Array = npt.NDArray[np.float64]
MARKUP = ".mrk.json"
SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
ENDINGS = ".csv, .fcsv, .mrk.json or .json"
# Slicer's coordinate systems, by name and by number, and the signs that turn them to LPS.
SYSTEMS = {"LPS": (1, 1), "1": (1, 1), "RAS": (-1, -1), "0": (-1, -1)}
MM_PER_UNIT = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "μm": 0.001, "nm": 1e-6}
# Slicer's position status, by number (.fcsv) and by name (.mrk.json).
DEFINED = ("2", "defined", "")
STATUS = {"0": "undefined", "1": "preview", "3": "missing"}
POINT_LISTS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
AXES = ("x", "y", "z")
SLICER_AXES = {"LPS": ("l", "p", "s"), "RAS": ("r", "a", "s")}
NAME_COLUMNS = ("name", "label", "id")
MOST_NAMED = 6


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The landmarks of one file.

    Parameters
    ----------
    all_mm : (N, 3) array
        Every row, LPS mm; NaN where a landmark was not placed.
    names : tuple of str
        One a row; empty where it has none.
    notes : tuple of str
        Notes for the user.
    """

    all_mm: Array
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_placed(self) -> npt.NDArray[np.bool_]:
        """Where a row has a position, (N,)."""
        return np.asarray(np.isfinite(self.all_mm).all(axis=1))

    @property
    def points_mm(self) -> Array:
        """The placed landmarks, (M, 3), LPS mm."""
        return self.all_mm[self.is_placed]

    @property
    def placed_names(self) -> tuple[str, ...]:
        """The names of the placed landmarks."""
        return tuple(name for name, placed in zip(self.names, self.is_placed, strict=True) if placed)


def read_landmarks(path: Pathlike, *, prefix: str = "") -> Landmarks:
    """Read landmarks with their names.

    Parameters
    ----------
    path : path
        `.csv` with a header and the columns x, y, z (LPS mm; `prefix` in front: 'fixed_' or 'moving_' reads the
        shared two-sided layout) or Slicer's l,p,s or r,a,s; a Slicer markups `.mrk.json` or `.fcsv` (their own
        coordinate system, units and status are obeyed); or a `.json` list of triples in LPS mm.
    prefix : str
        Prefix of the columns wanted from a `.csv`.

    Raises
    ------
    FileError
        When the file is missing, of another format, or no row is placed; the message names the line.
    """
    source = Path(path)
    if not source.is_file():
        raise FileError(f"No such landmark file: {source}.", hint="Check the path.")
    readers = {".csv": _csv, ".fcsv": _fcsv, ".json": _json}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise FileError(f"{source.name}: landmarks must be {ENDINGS}.", hint="Save them in one of these formats.")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{source.name} is not a UTF-8 text file.", hint="Save it as UTF-8.") from error
    if source.suffix.lower() == ".csv" and text.lstrip().startswith("# Markups fiducial"):
        reader = _fcsv  # Slicer writes this also under the ending .csv
    found = reader(source.name, text, prefix)
    if not len(found.all_mm):
        raise FileError(f"{source.name} contains no landmarks.", hint="Place them, and save the file again.")
    if not found.is_placed.any():
        raise FileError(
            f"{source.name}: none of its {len(found.all_mm)} landmarks is placed.", hint="Place them first."
        )
    return found


def write_points(points_mm: npt.ArrayLike, path: Pathlike, *, names: Sequence[str] | None = None) -> Path:
    """Write (N, 3) LPS mm points, numbered unless they have names.

    The ending decides: `.csv` (name, x, y, z), or Slicer's `.fcsv` and `.mrk.json`.

    Raises
    ------
    FileError
        When the ending is another one or the file cannot be written.
    """
    target = Path(path)
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    labels = [name or str(number) for number, name in enumerate(names or [""] * len(points), start=1)]
    writers = {".csv": _csv_text, ".fcsv": _fcsv_text, MARKUP: _markup_text}
    ending = MARKUP if is_markup(target) else target.suffix.lower()
    if ending not in writers:
        raise FileError(
            f"{target.name}: points can be written as .csv, .fcsv or .mrk.json.", hint="Choose one of these endings."
        )
    return write_text(target, writers[ending](points, labels))


def write_markup(landmarks: Landmarks, points_mm: npt.ArrayLike, source: Pathlike, path: Pathlike) -> Path:
    """Write a Slicer markup as its file `source` with other positions: kind, labels and display are kept.

    Parameters
    ----------
    landmarks : Landmarks
        As read from `source`.
    points_mm : (M, 3) array
        Positions of the placed landmarks, LPS mm.
    source, path : path
        `.mrk.json` files; the written one is in LPS and mm.
    """
    content = json.loads(Path(source).read_text(encoding="utf-8-sig"))
    markup = content["markups"][0]
    markup["coordinateSystem"], markup["coordinateUnits"] = "LPS", "mm"
    # Lengths and angles of the former positions.
    markup.pop("measurements", None)
    moved = iter(np.asarray(points_mm, dtype=float).reshape(-1, 3).tolist())
    for point, placed in zip(markup["controlPoints"], landmarks.is_placed, strict=True):
        point.pop("orientation", None)
        if placed:
            point["position"] = next(moved)
        else:
            point.pop("position", None)
    return write_text(Path(path), json.dumps(content, indent=4, ensure_ascii=False))


def is_markup(path: Pathlike) -> bool:
    """Return whether a file is called like a markup of Slicer."""
    return str(path).lower().endswith(MARKUP)


def _csv_text(points: Array, names: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["name", "x", "y", "z"])
    for name, point in zip(names, points, strict=True):
        writer.writerow([name, *(f"{value:.6f}" for value in point)])
    return text.getvalue()


def _fcsv_text(points: Array, names: Sequence[str]) -> str:
    text = io.StringIO()
    text.write("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n")
    text.write(f"# columns = {COLUMNS}\n")
    writer = csv.writer(text, lineterminator="\n")
    for number, (name, point) in enumerate(zip(names, points, strict=True), start=1):
        writer.writerow([number, *(f"{value:.6f}" for value in point), 0, 0, 0, 1, 1, 1, 0, name, "", ""])
    return text.getvalue()


def _markup_text(points: Array, names: Sequence[str]) -> str:
    control = [
        {"id": str(number), "label": name, "position": point, "positionStatus": "defined"}
        for number, (name, point) in enumerate(zip(names, points.tolist(), strict=True), start=1)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": control}
    return json.dumps({"@schema": SCHEMA, "markups": [markup]}, indent=4, ensure_ascii=False)


def some(words: Sequence[str]) -> str:
    """Return the first words of a list, for a message."""
    return ", ".join(words[:MOST_NAMED]) + (", …" if len(words) > MOST_NAMED else "")


class _Rows:
    """Collects rows, and what is to be said about them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.points: list[list[float]] = []
        self.names: list[str] = []
        self.states: dict[str, list[str]] = {}
        self.hidden: list[str] = []

    def add(self, where: str, values: Sequence[Any], name: str, *, status: str = "", hidden: bool = False) -> None:
        """Take a row in; `where` is its line or number."""
        name = name.strip()
        shown = name or where
        state = "" if status in DEFINED else STATUS.get(status, status)
        point = [math.nan] * 3 if state else [self._number(where, value) for value in values]
        if not state and not all(math.isfinite(value) for value in point):
            state, point = "not finite", [math.nan] * 3
        if state:
            self.states.setdefault(state, []).append(shown)
        elif hidden:
            self.hidden.append(shown)
        self.points.append(point)
        self.names.append(name)

    def landmarks(self, scale: tuple[float, float, float] = (1, 1, 1), notes: Sequence[str] = ()) -> Landmarks:
        """Return what was collected, each axis times its scale."""
        said = [*notes]
        for state, names in self.states.items():
            said.append(f"{len(names)} of {len(self.names)} have no position ({state}): {some(names)}.")
        if self.hidden:
            said.append(f"{len(self.hidden)} hidden landmark(s) are used as well: {some(self.hidden)}.")
        points = np.array(self.points, dtype=np.float64).reshape(-1, 3) * np.array(scale)
        return Landmarks(points, tuple(self.names), tuple(said))

    def _number(self, where: str, value: Any) -> float:
        if value is None or (isinstance(value, str) and not value.strip()):
            return math.nan
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            comma = isinstance(value, str) and "," in value
            raise FileError(
                f"{self.file}, {where}: '{value}' is not a number.",
                hint="Write decimals with a point." if comma else "Each landmark needs three numbers.",
            ) from error


def _csv(name: str, text: str, prefix: str) -> Landmarks:
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines:
        return Landmarks(np.zeros((0, 3)), ())
    header = [word.strip().lower() for word in next(csv.reader([lines[0][1]]))]
    columns, signs = _columns(name, lines, header, prefix)
    label = next((header.index(word) for word in NAME_COLUMNS if word in header), None)
    flags = {word: header.index(word) for word in ("defined", "visible") if word in header}
    rows = _Rows(name)
    for number, line in lines[1:]:
        row = next(csv.reader([line]))
        while len(row) > len(header) and not row[-1].strip():
            row.pop()
        if len(row) != len(header):
            extra = " Decimals need a point." if len(row) > len(header) else ""
            raise FileError(
                f"{name}, line {number}: {len(row)} values, the header names {len(header)}.",
                hint=f"Each line needs as many values as the header has columns.{extra}",
            )
        rows.add(
            f"line {number}",
            [row[column] for column in columns],
            row[label] if label is not None else "",
            status="undefined" if "defined" in flags and _is_off(row[flags["defined"]]) else "",
            hidden="visible" in flags and _is_off(row[flags["visible"]]),
        )
    return rows.landmarks((*signs, 1))


def _columns(
    name: str, lines: Sequence[tuple[int, str]], header: list[str], prefix: str
) -> tuple[list[int], tuple[int, int]]:
    wanted = [f"{prefix}{axis}" for axis in AXES]
    if all(column in header for column in wanted):
        return [header.index(column) for column in wanted], (1, 1)
    for system, axes in SLICER_AXES.items():
        if not prefix and all(axis in header for axis in axes):
            return [header.index(axis) for axis in axes], SYSTEMS[system]
    first = lines[0][1]
    hint = f"A .csv needs a first line with the columns {', '.join(wanted)} in LPS mm, separated by commas."
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if separator in first:
            hint = f"Its columns are separated by {word}; save it with commas between them and points in decimals."
    if not prefix and any(column.startswith(("fixed_", "moving_")) for column in header):
        hint = "It contains both sides; give the same file as --fixed-points and as --moving-points."
    raise FileError(
        f"{name}, line {lines[0][0]}: the header '{first.strip()[:60]}' has no {', '.join(wanted)}.", hint=hint
    )


def _is_off(word: str) -> bool:
    return word.strip().lower() in ("0", "false")


def _fcsv(name: str, text: str, _prefix: str) -> Landmarks:
    system, columns = "RAS", COLUMNS.split(",")
    rows = _Rows(name)
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            key, equals, value = line.lstrip("# ").partition("=")
            if equals and key.strip() == "CoordinateSystem":
                system = value.strip()
            elif equals and key.strip() == "columns":
                columns = [word.strip() for word in value.split(",")]
            continue
        if not line.strip():
            continue
        row = next(csv.reader([line]))
        if not {"x", "y", "z"} <= set(columns) or len(row) < 1 + max(columns.index(axis) for axis in AXES):
            raise FileError(
                f"{name}, line {number}: {len(row)} values, expected those of '{','.join(columns)}'.",
                hint="Save the landmarks in Slicer again, best as .mrk.json.",
            )
        entry = dict(zip(columns, row, strict=False))
        # Slicer 5 writes the position status behind the columns that the header names.
        status = row[len(columns)].strip() if columns[-1] == "associatedNodeID" and len(row) > len(columns) else ""
        rows.add(
            f"line {number}",
            [entry[axis] for axis in AXES],
            entry.get("label", ""),
            status=status,
            hidden=_is_off(entry.get("vis", "1")),
        )
    return rows.landmarks((*_signs(name, system), 1))


def _json(name: str, text: str, _prefix: str) -> Landmarks:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileError(
            f"{name}, line {error.lineno}: no valid JSON ({error.msg}).", hint="Save the landmarks in Slicer again."
        ) from error
    if isinstance(content, list):
        return _triples(name, content)
    lists = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(lists, list) or not lists:
        raise FileError(f"{name} contains no markups of Slicer.", hint="Save the landmarks in Slicer as .mrk.json.")
    if len(lists) > 1:
        raise FileError(f"{name} contains {len(lists)} lists of markups.", hint="Save each list to its own file.")
    return _markup(name, lists[0])


def _markup(name: str, markup: Any) -> Landmarks:
    points = markup.get("controlPoints") or [] if isinstance(markup, Mapping) else None
    if not isinstance(points, list) or not all(isinstance(point, Mapping) for point in points):
        raise FileError(f"{name} contains no list of control points.", hint="Save the landmarks in Slicer again.")
    kind = markup.get("type", "Fiducial")
    if kind not in POINT_LISTS:
        raise FileError(f"{name} contains a markup of the type {kind}, no landmarks.", hint="Give a point list.")
    signs = _signs(name, str(markup.get("coordinateSystem", "LPS")))
    scale, notes = _scale(name, markup.get("coordinateUnits", "mm"))
    if kind != "Fiducial":
        notes.append(f"The control points of a markup of the type {kind} are taken as landmarks.")
    rows = _Rows(name)
    for number, point in enumerate(points, 1):
        position, status = point.get("position"), str(point.get("positionStatus", "defined"))
        if status in DEFINED and (not isinstance(position, list) or len(position) != 3):
            raise FileError(
                f"{name}, control point {number}: the position is {position!r}, expected three numbers.",
                hint="Save the landmarks in Slicer again.",
            )
        rows.add(
            f"number {number}",
            position or (),
            str(point.get("label") or ""),
            status=status,
            hidden=point.get("visibility", True) is False,
        )
    return rows.landmarks((signs[0] * scale, signs[1] * scale, scale), notes)


def _triples(name: str, content: Sequence[Any]) -> Landmarks:
    rows = _Rows(name)
    for number, point in enumerate(content, 1):
        if not isinstance(point, list) or len(point) != 3:
            hint = "A .json list contains one [x, y, z] in LPS mm for each landmark."
            if len(content) == 3:
                hint += " This one seems to hold all x, all y and all z; transpose it."
            raise FileError(f"{name}, entry {number} is not a list of three numbers.", hint=hint)
        rows.add(f"entry {number}", point, "")
    return rows.landmarks()


def _scale(name: str, units: Any) -> tuple[float, list[str]]:
    unit = units if isinstance(units, str) else next(iter(units), "mm") if isinstance(units, list) else str(units)
    if unit not in MM_PER_UNIT:
        raise FileError(f"{name} gives positions in '{unit}'.", hint=f"Known units are {', '.join(MM_PER_UNIT)}.")
    scale = MM_PER_UNIT[unit]
    return scale, [] if scale == 1 else [f"Positions in {unit} were converted to mm."]


def _signs(name: str, written: str) -> tuple[int, int]:
    system = written.strip().upper()
    if system not in SYSTEMS:
        what = "voxel coordinates (IJK)" if system in ("IJK", "2") else f"the coordinate system '{written}'"
        raise FileError(f"{name} gives positions in {what}.", hint="Save them in LPS or RAS.")
    return SYSTEMS[system]


@dataclass(frozen=True, eq=False)
class Paired:
    """Corresponding landmarks of both sides.

    Attributes
    ----------
    fixed_mm, moving_mm : (N, 3) arrays
        LPS mm.
    names : tuple of str
        Of the pairs.
    notes : tuple of str
        How they were matched and which were excluded.
    """

    fixed_mm: Array
    moving_mm: Array
    names: tuple[str, ...]
    notes: tuple[str, ...]


def paired_landmarks(fixed: Landmarks, moving: Landmarks) -> Paired:
    """Return the corresponding landmarks of both sides.

    Landmarks are paired by name where both lists have names and share some; else in their order, which needs lists of
    one length. A pair is excluded when one of its landmarks is not placed. Notes describe the matching.

    Raises
    ------
    RegistrationError
        When the lists differ in length and share no name, a shared name repeats, or no pair is left.

    Examples
    --------
    >>> fixed = Landmarks(np.eye(3), ("nose", "chin", "ear"))
    >>> moving = Landmarks(2 * np.eye(3)[:2], ("chin", "nose"))
    >>> paired_landmarks(fixed, moving).moving_mm.tolist()
    [[0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]
    """
    notes = [f"Fixed landmarks: {note}" for note in fixed.notes] + [
        f"Moving landmarks: {note}" for note in moving.notes
    ]
    places, said = _partners(fixed, moving)
    both = [(i, j) for i, j in places if fixed.is_placed[i] and moving.is_placed[j]]
    if not both:
        raise RegistrationError(
            "No landmark is placed on both sides.", hint="Place each landmark in both volumes, with the same name."
        )
    left_out = [fixed.names[i] or str(i + 1) for i, j in places if (i, j) not in set(both)]
    if left_out:
        said.append(f"{len(left_out)} pair(s) of landmarks are left out, not placed on both sides: {some(left_out)}.")
    first, second = ([pair[side] for pair in both] for side in (0, 1))
    names = tuple(fixed.names[i] or moving.names[j] for i, j in both)
    return Paired(fixed.all_mm[first], moving.all_mm[second], names, (*notes, *said))


def _partners(fixed: Landmarks, moving: Landmarks) -> tuple[list[tuple[int, int]], list[str]]:
    sides = [[name.strip().casefold() for name in side.names] for side in (fixed, moving)]
    shared = {name for name in sides[0] if name} & set(sides[1])
    counts = [Counter(side) for side in sides]
    repeated = sorted(name for name in shared if counts[0][name] > 1 or counts[1][name] > 1)
    same_length = len(sides[0]) == len(sides[1])
    if sides[0] == sides[1] and shared:
        return [(i, i) for i in range(len(sides[0]))], []
    if shared and not repeated:
        pairs = [(i, sides[1].index(name)) for i, name in enumerate(sides[0]) if name in shared]
        notes = []
        if [j for _, j in pairs] != [i for i, _ in pairs]:
            notes.append("The landmarks are paired by name; the lists have another order.")
        for side, landmarks, word in ((sides[0], fixed, "fixed"), (sides[1], moving, "moving")):
            alone = [landmarks.names[n] or f"number {n + 1}" for n, name in enumerate(side) if name not in shared]
            if alone:
                notes.append(f"{len(alone)} {word} landmark(s) have no partner of the same name: {some(alone)}.")
        return pairs, notes
    if not same_length:
        why = f"they repeat the name '{repeated[0]}'" if repeated else "they share no name"
        raise RegistrationError(
            f"The landmark lists differ in length ({len(sides[0])} fixed, {len(sides[1])} moving) and {why}.",
            hint="Give each landmark the same name on both sides, once, or the same number in the same order.",
        )
    notes = []
    if repeated:
        notes.append(f"Names of landmarks repeat ({some(repeated)}), so they are paired in their order.")
    elif any(sides[0]) and any(sides[1]):
        notes.append("The landmark lists share no name, so they are paired in their order.")
    return [(i, i) for i in range(len(sides[0]))], notes
