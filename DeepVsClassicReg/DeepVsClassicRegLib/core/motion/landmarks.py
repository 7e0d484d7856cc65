"""Landmarks in several frames, and their error before and after motion correction."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import FileError
from ..evaluation.landmarks import landmark_errors
from ..transforms.invert import invert_points
from ..transforms.transform import Transform

COLUMNS = ("frame", "name", "x", "y", "z")
HINT = "Give a CSV with the columns frame (from 0), name, x, y, z; LPS mm, the same names in every frame."
Array = npt.NDArray[np.float64]


def read_frame_landmarks(path: Path, frames: int) -> dict[int, Array]:
    """Return the landmarks of each frame that has some, (N, 3) LPS mm, in the same order in all frames.

    Raises
    ------
    FileError
        When the file is missing or damaged, or the frames do not have the same landmarks.
    """
    found: dict[int, dict[str, list[float]]] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            for row in csv.DictReader(stream):
                found.setdefault(int(row["frame"]), {})[row["name"]] = [float(row[axis]) for axis in "xyz"]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is not a list of landmarks of frames: {error}.", hint=HINT) from error
    if len(found) < 2 or not 0 <= min(found) <= max(found) < frames:
        raise FileError(f"{path} has landmarks in the frames {sorted(found)}, expected two of 0 to {frames - 1}.")
    names = list(next(iter(found.values())))
    for number, points in found.items():
        if set(points) != set(names):
            other = sorted(set(points) ^ set(names))
            raise FileError(f"{path}: frame {number} has not the landmarks of the others: {other[:5]}.", hint=HINT)
    return {number: np.array([points[name] for name in names]) for number, points in sorted(found.items())}


def frame_errors(
    landmarks: Mapping[int, Array], transforms: Sequence[Transform], reference: int | None
) -> dict[int, tuple[float, float]]:
    """Return the mean landmark error of frames before and after the correction, mm.

    Parameters
    ----------
    landmarks : mapping of int to (N, 3) array
        Landmarks of the frames, LPS mm.
    transforms : sequence of Transform
        Map from points of the reference to points of each frame.
    reference : int or None
        The reference frame. Without one, or without landmarks in it, the place of a landmark in the reference is the
        mean of those found from all frames (before: the mean of its places).
    """
    if reference is not None and reference in landmarks:
        before = after = landmarks[reference]
    else:
        before = np.mean(list(landmarks.values()), axis=0)
        after = np.mean([invert_points(transforms[n], points)[0] for n, points in landmarks.items()], axis=0)
    return {
        number: (
            float(landmark_errors(Transform(), before, points).mean()),
            float(landmark_errors(transforms[number], after, points).mean()),
        )
        for number, points in landmarks.items()
        if number != reference
    }
