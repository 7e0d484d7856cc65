"""Maps landmarks through the inverse of a transform, and writes them for Slicer or a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.errors import FileError
from ..core.images.grid import Grid
from ..core.images.points import write_points
from ..core.transforms.transform import Transform, invert

Array = npt.NDArray[np.float64]
POLISHING_STEPS = 30


def mapped_back(transform: Transform, points_mm: Array) -> tuple[Array, Array]:
    """Return the fixed points that the transform maps to these moving points, and the residual of each.

    Parameters
    ----------
    transform : Transform
        Fixed-to-moving map.
    points_mm : (N, 3) array
        Moving points, LPS mm.

    Returns
    -------
    points, residual : arrays of shape (N, 3) and (N,)
        Fixed points in LPS mm, and |T(point) - moving point| in mm.
    """
    low, high = points_mm.min(axis=0) - 1, points_mm.max(axis=0) + 1
    around = Grid((2, 2, 2), _three(high - low), _three(low))
    inverse = invert(transform, around).transform
    best = inverse.apply(points_mm)
    error = transform.apply(best) - points_mm
    # Starts from the sampled inverse; fixed-point iterations at the points themselves remove its sampling error.
    linear = _linear_part(transform)
    for _ in range(POLISHING_STEPS):
        trial = best - 0.75 * error @ linear.T
        trial_error = transform.apply(trial) - points_mm
        closer = np.linalg.norm(trial_error, axis=1) < np.linalg.norm(error, axis=1)
        if not closer.any():
            break
        best = np.where(closer[:, None], trial, best)
        error = np.where(closer[:, None], trial_error, error)
    return best, np.asarray(np.linalg.norm(error, axis=1))


def write_any_points(points_mm: Array, path: Path, names: Sequence[str] | None = None) -> Path:
    """Write points in LPS mm as `.csv` or Slicer `.fcsv`; points without names are numbered.

    Raises
    ------
    FileError
        When the file has another ending or cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in (".csv", ".fcsv"):
        raise FileError(f"{path.name}: points can be written as .csv or .fcsv.", hint="Use one of these endings.")
    try:
        labels = [name or str(number) for number, name in enumerate(names or [""] * len(points_mm), start=1)]
        return write_points(points_mm, path, names=labels) if ending == ".csv" else _write_fcsv(points_mm, path, labels)
    except OSError as error:
        raise FileError(f"Could not write {path}: {error.strerror or error}.", hint="Check the folder.") from error


def _write_fcsv(points_mm: Array, path: Path, names: Sequence[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n")
        file.write("# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n")
        writer = csv.writer(file, lineterminator="\n")
        for number, (name, point) in enumerate(zip(names, points_mm, strict=True), start=1):
            writer.writerow([number, *(f"{value:.6f}" for value in point), 0, 0, 0, 1, 1, 1, 0, name, "", ""])
    return path


def _linear_part(transform: Transform) -> Array:
    """Return the inverse of the product of the linear parts, which maps errors in moving space to fixed space."""
    from ..core.transforms.affine import Affine

    matrix = np.eye(3)
    for part in transform.parts:
        if isinstance(part, Affine):
            matrix = part.matrix @ matrix
    return np.asarray(np.linalg.inv(matrix))


def _three(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
