"""What is measured of every frame: its motion, how well it matches the reference, and how regular its transform is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from ..evaluation.region import fixed_region
from ..evaluation.similarity import correlation
from ..images.grid import Grid
from ..images.io import read_labels
from ..images.resample import measured_on, warp_volume
from ..images.volume import Volume
from ..pair import Pair
from ..transforms.jacobian import field_jacobian, regularity
from ..transforms.transform import Affine, Transform

Array = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Three = tuple[float, float, float]
HIGH_PERCENTILE = 95


@dataclass(frozen=True, kw_only=True)
class FrameMotion:
    """The motion of one frame, measured inside the body (or the mask) of the reference.

    Attributes
    ----------
    number : int
        Number of the frame, from 0.
    mean_mm, p95_mm, largest_mm : float
        Displacement from the reference to the frame: mean, 95th percentile, maximum.
    step_mm : float or None
        Mean displacement from the frame before (framewise displacement).
    correlation_before, correlation_after : float
        Correlation of the frame with the reference, where both were measured.
    folded_percent : float
        Voxels where the transform is folded.
    shift_mm, turn_deg : tuple of 3 float, or None
        Translation of the center of the reference (x, y, z, LPS) and rotation about the axes, for linear transforms.
    inverse_error_mm : float or None
        Mean error of the transform from the frame to the reference.
    tre_before_mm, tre_after_mm : float or None
        Mean landmark error.
    seconds, cpu_seconds : float
        Time of the registration, with reading.
    """

    number: int
    mean_mm: float
    p95_mm: float
    largest_mm: float
    step_mm: float | None
    correlation_before: float
    correlation_after: float
    folded_percent: float
    shift_mm: tuple[float, float, float] | None = None
    turn_deg: tuple[float, float, float] | None = None
    inverse_error_mm: float | None = None
    tre_before_mm: float | None = None
    tre_after_mm: float | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def with_landmark_errors(self, before_mm: float | None, after_mm: float | None) -> FrameMotion:
        """Return this with the mean landmark errors."""
        return dataclasses.replace(self, tre_before_mm=before_mm, tre_after_mm=after_mm)


class OverTime:
    """Mean and standard deviation over time of volumes that are added one by one, 0 where nothing was seen.

    Parameters
    ----------
    grid : Grid
        Their grid.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid, self._count = grid, np.zeros(grid.shape, int)
        self._mean, self._squares = np.zeros(grid.shape), np.zeros(grid.shape)

    def add(self, volume: Volume, seen: Mask) -> None:
        """Add the seen voxels of a volume (Welford's update, which does not lose digits)."""
        self._count += seen
        away = np.where(seen, volume.array - self._mean, 0)
        self._mean += away / np.maximum(self._count, 1)
        self._squares += away * (volume.array - self._mean)

    def mean(self) -> Volume:
        """Return the mean."""
        return Volume(self._mean.astype(np.float32), self.grid, "mean")

    def deviation(self) -> Volume:
        """Return the standard deviation."""
        deviation = np.sqrt(self._squares / np.maximum(self._count, 1))
        return Volume(deviation.astype(np.float32), self.grid, "standard deviation")


class Judge:
    """Measures frames in the order of time.

    Parameters
    ----------
    reference : Volume
        The reference.
    mask : Path, optional
        Region to measure in; without it the foreground of the reference.
    """

    def __init__(self, reference: Volume, mask: Path | None) -> None:
        labels = None if mask is None else read_labels(mask)
        self.inside, _ = fixed_region(Pair(reference, reference, fixed_mask=labels))
        self.reference = reference
        self.before, self.after = OverTime(reference.grid), OverTime(reference.grid)
        self._previous: Array | None = None

    def frame(
        self,
        number: int,
        transform: Transform,
        frame: Volume,
        warped: Volume,
        facts: Mapping[str, Any],
        *,
        inverse_error_mm: float | None = None,
    ) -> FrameMotion:
        """Measure the next frame.

        Parameters
        ----------
        number : int
            Number of the frame.
        transform : Transform
            Map from points of the reference to points of the frame.
        frame, warped : Volume
            The frame, and the frame on the grid of the reference.
        facts : mapping
            'seconds' and 'cpu_seconds' of its registration; empty for the reference.
        inverse_error_mm : float, optional
            Mean error of the inverse.
        """
        still, grid = warp_volume(frame, self.reference.grid), self.reference.grid
        seen_still, seen = measured_on(frame, grid), measured_on(frame, grid, transform)
        self.before.add(still, seen_still)
        self.after.add(warped, seen)
        field = transform.displacement_on(grid)
        moved = field.array_mm[self.inside]
        lengths = np.linalg.norm(moved, axis=-1)
        step = None if self._previous is None else float(np.linalg.norm(moved - self._previous, axis=-1).mean())
        self._previous = moved
        shift, turn = rigid_parameters(transform.affine, grid)
        return FrameMotion(
            number=number,
            mean_mm=float(lengths.mean()),
            p95_mm=float(np.percentile(lengths, HIGH_PERCENTILE)),
            largest_mm=float(lengths.max()),
            step_mm=step,
            correlation_before=self._correlation(still, seen_still),
            correlation_after=self._correlation(warped, seen),
            folded_percent=regularity(field_jacobian(field), self.inside).folding_percent,
            shift_mm=shift,
            turn_deg=turn,
            inverse_error_mm=inverse_error_mm,
            seconds=float(facts.get("seconds", 0.0)),
            cpu_seconds=float(facts.get("cpu_seconds", 0.0)),
        )

    def _correlation(self, volume: Volume, seen: Mask) -> float:
        compared = self.inside & seen
        first, second = self.reference.array[compared], volume.array[compared]
        return 0.0 if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0 else correlation(first, second)


def rigid_parameters(affine: Affine | None, grid: Grid) -> tuple[Three | None, Three | None]:
    """Return the translation of the center of a grid (mm) and the rotation about x, y, z (degrees) of a linear map.

    Examples
    --------
    >>> rigid_parameters(Affine.shift([1, 2, 3]), Grid((4, 4, 4)))
    ((1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    """
    if affine is None:
        return None, None
    u, _, vt = np.linalg.svd(affine.matrix)
    turn = Rotation.from_matrix(u @ vt).as_euler("xyz", degrees=True)
    shift = affine.apply(grid.center_mm) - grid.center_mm
    return (float(shift[0]), float(shift[1]), float(shift[2])), (float(turn[0]), float(turn[1]), float(turn[2]))
