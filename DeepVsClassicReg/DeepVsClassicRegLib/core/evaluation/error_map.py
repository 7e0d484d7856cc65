"""The estimated error of a registration at every voxel, predicted by a network, and its measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.grid import Grid, length_text
from ..images.volume import Volume
from .locations import APART, COUNT, Location, location_at, separate

HIGH_PERCENTILE = 95.0
MOST_CANDIDATES = 5000


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """The estimated error of a registration, on its own grid in fixed space.

    Attributes
    ----------
    volume : Volume
        The estimate in mm; 0 where there is none.
    low, high : Volume or None
        The band around it in mm, which contains the fraction `inside` of all errors; None for models without a band.
    trusted : (Z, Y, X) bool array
        Region of the estimate: inside the fixed object, where the moving volume overlaps.
    inside : float
        Fraction of the errors in the band, 0 to 1.
    model : str
        Title of the model.
    notes : tuple of str
        Limits of the estimate, in words.
    """

    volume: Volume
    trusted: npt.NDArray[np.bool_]
    low: Volume | None = None
    high: Volume | None = None
    inside: float = 0.0
    model: str = ""
    notes: tuple[str, ...] = ()

    def measures(self) -> dict[str, float]:
        """Return the measures of the estimate, names as in `measures.MEASURES`; empty without an estimate."""
        known = self.volume.array[self.trusted]
        if not known.size:
            return {}
        return {
            "estimated_error_mm_median": float(np.median(known)),
            "estimated_error_mm_p95": float(np.percentile(known, HIGH_PERCENTILE)),
            "estimated_error_mm_max": float(known.max()),
        }

    def locations(self, fixed: Grid, *, count: int = COUNT) -> tuple[Location, ...]:
        """Return the locations of the largest estimated errors, worst first, at least 15 mm (for a head) apart."""
        grid = self.volume.grid
        known = np.flatnonzero(self.trusted)
        values = self.volume.array.reshape(-1)[known]
        order = np.argsort(-values, kind="stable")[:MOST_CANDIDATES]
        index = np.stack(np.unravel_index(known[order], self.trusted.shape), axis=-1)[:, ::-1]
        points = grid.index_to_point(index)
        return tuple(
            location_at(fixed, points[place], self._text(int(known[order[place]])))
            for place in separate(points, apart_mm=APART * fixed.view_unit_mm, count=count)
        )

    def _text(self, place: int) -> str:
        text = f"Estimated error: {length_text(float(self.volume.array.reshape(-1)[place]))}"
        if self.low is None or self.high is None:
            return f"{text}."
        low, high = (length_text(float(edge.array.reshape(-1)[place])) for edge in (self.low, self.high))
        return f"{text} ({100 * self.inside:.0f} % of the errors at such places are between {low} and {high})."
