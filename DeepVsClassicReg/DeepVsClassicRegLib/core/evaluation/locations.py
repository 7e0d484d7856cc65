"""Where to look after a run: the places that speak most against it, with the voxel to jump to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid
from ..images.lengths import length_text
from ..images.volume import Volume
from ..pair import Pair
from .local_agreement import Agreement

SUSPICIOUS_JACOBIAN = 0.1


@dataclass(frozen=True)
class Location:
    """A place worth looking at.

    Attributes
    ----------
    point_mm : tuple of 3 float
        LPS position in fixed space.
    voxel : tuple of 3 int
        Nearest voxel (i, j, k) of the fixed volume.
    text : str
        What is to be seen there.
    """

    point_mm: tuple[float, float, float]
    voxel: tuple[int, int, int]
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return the location as plain JSON values."""
        return {
            "point_mm": [float(f"{value:.7g}") for value in self.point_mm],
            "voxel": list(self.voxel),
            "text": self.text,
        }


def locations_of(
    pair: Pair,
    values: Mapping[str, Any],
    *,
    jacobian: Volume | None,
    inside: npt.NDArray[np.bool_],
    agreement: Agreement | None,
) -> tuple[Location, ...]:
    """Return where a result deserves a look, the gravest first.

    Parameters
    ----------
    pair : Pair
        What was registered.
    values : mapping
        Measures of the result (`dice_per_label`, `tre_mm_per_point`).
    jacobian : Volume or None
        Determinant on the fixed grid.
    inside : (Z, Y, X) bool array
        Where it is evaluated.
    agreement : Agreement or None
        Local agreement of the intensities.
    """
    grid = pair.fixed.grid
    found = [
        _shrunken(jacobian, inside),
        _worst_landmark(pair, values),
        _worst_label(pair, values),
        _location(grid, agreement.worst_mm, "Here the intensities agree least.")
        if agreement is not None and agreement.worst_mm is not None
        else None,
    ]
    return tuple(location for location in found if location is not None)


def _location(grid: Grid, point_mm: npt.ArrayLike, text: str) -> Location:
    x, y, z = (float(value) for value in np.asarray(point_mm))
    nearest = np.clip(np.rint(grid.point_to_index([x, y, z])), 0, np.array(grid.size) - 1).astype(int)
    i, j, k = (int(value) for value in nearest)
    return Location((x, y, z), (i, j, k), text)


def _shrunken(jacobian: Volume | None, inside: npt.NDArray[np.bool_]) -> Location | None:
    if jacobian is None or not inside.any():
        return None
    values = np.where(inside, jacobian.array, np.inf)
    place = int(np.argmin(values))
    lowest = float(values.ravel()[place])
    if lowest >= SUSPICIOUS_JACOBIAN:
        return None
    k, j, i = np.unravel_index(place, values.shape)
    what = "Folded" if lowest <= 0 else "Squeezed most"
    return _location(jacobian.grid, jacobian.grid.index_to_point([i, j, k]), f"{what}: Jacobian {lowest:.2f}.")


def _worst_landmark(pair: Pair, values: Mapping[str, Any]) -> Location | None:
    errors = values.get("tre_mm_per_point")
    if errors is None or pair.fixed_points is None or not len(errors):
        return None
    number = int(np.argmax(errors))
    text = f"Landmark {number + 1}: error {length_text(float(errors[number]))}, the largest."
    return _location(pair.fixed.grid, pair.fixed_points[number], text)


def _worst_label(pair: Pair, values: Mapping[str, Any]) -> Location | None:
    per_label = values.get("dice_per_label")
    if not per_label or pair.fixed_labels is None:
        return None
    label = min(per_label, key=lambda key: per_label[key])
    places = np.argwhere(pair.fixed_labels.array == int(label))
    if not len(places):
        return None
    # The label's voxel nearest to its middle: the middle itself may lie outside a bent structure.
    middle = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
    name = pair.fixed_labels.names.get(int(label), f"label {label}")
    point = pair.fixed_labels.grid.index_to_point(middle[::-1])
    return _location(pair.fixed.grid, point, f"{name}: Dice {float(per_label[label]):.2f}, the lowest.")
