"""Landmark files: reading and writing points in LPS mm."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import FileError
from .raw import Pathlike


def read_points(path: Pathlike, *, prefix: str = "") -> npt.NDArray[np.float64]:
    """Read landmarks as an (N, 3) array in LPS mm.

    Parameters
    ----------
    path : path
        `.csv` with columns x, y, z (LPS mm; `prefix` in front: 'fixed_' or 'moving_' reads the shared
        two-sided layout), a Slicer markups `.mrk.json` or `.fcsv` (their own coordinate system is
        obeyed), or a `.json` list of triples.
    prefix : str
        Prefix of the columns wanted from a `.csv`.

    Raises
    ------
    FileError
        When the file is missing or holds no such columns.
    """
    source = Path(path)
    if not source.is_file():
        raise FileError(f"No such landmark file: {source}.", hint="Check the path.")
    readers = {".csv": _points_csv, ".fcsv": _points_fcsv, ".json": _points_json}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise FileError(f"{source.name}: landmarks must be .csv, .fcsv, .mrk.json or .json.")
    try:
        points = np.asarray(reader(source, prefix), dtype=np.float64)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise FileError(
            f"Could not read landmarks from {source.name}: {error!r}.",
            hint=f"A .csv needs the columns {prefix}x, {prefix}y, {prefix}z in LPS mm.",
        ) from error
    if points.size == 0:
        raise FileError(f"{source.name} holds no landmarks.")
    return points.reshape(-1, 3)


def write_points(points_mm: npt.ArrayLike, path: Pathlike, *, names: Sequence[str] | None = None) -> Path:
    """Write (N, 3) LPS mm points as `.csv` (columns name, x, y, z)."""
    target = Path(path)
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    labels = names or [str(number) for number in range(1, len(points) + 1)]
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "x", "y", "z"])
        for label, point in zip(labels, points, strict=True):
            writer.writerow([label, *(f"{value:.6f}" for value in point)])
    return target


def _points_csv(path: Path, prefix: str) -> list[list[float]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        columns = [prefix + axis for axis in "xyz"]
        return [[float(row[column]) for column in columns] for row in rows]


def _points_fcsv(path: Path, _prefix: str) -> list[list[float]]:
    text = path.read_text(encoding="utf-8").splitlines()
    system = next((line.split("=")[1].strip() for line in text if "CoordinateSystem" in line), "RAS")
    flip = -1.0 if system in ("RAS", "0") else 1.0
    rows = [line.split(",") for line in text if line and not line.startswith("#")]
    return [[flip * float(row[1]), flip * float(row[2]), float(row[3])] for row in rows]


def _points_json(path: Path, _prefix: str) -> list[list[float]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, list):
        return content
    markup = content["markups"][0]
    flip = 1.0 if markup.get("coordinateSystem", "LPS") in ("LPS", "1") else -1.0
    positions = [point["position"] for point in markup["controlPoints"]]
    return [[flip * x, flip * y, z] for x, y, z in positions]
