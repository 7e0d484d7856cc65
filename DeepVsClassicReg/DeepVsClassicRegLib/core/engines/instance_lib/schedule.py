"""What one level of the pyramid is told to do, and the interface every back end offers for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


def nothing() -> None:
    """Do nothing: the pause of those who cannot be stopped."""


@dataclass(frozen=True)
class Steps:
    """How updates are made of forces.

    Attributes
    ----------
    sigma_update, sigma_field : float
        Gaussians in units of the level's finest spacing; on the force, and on the field after each step.
    step : float
        Length that a single update may reach, same units.
    momentum : float
        Share of the former updates that goes on, 0 to below 1.
    softness : float
        Forces this many times the root mean square are halved in length, much stronger ones are cut to 1.
    """

    sigma_update: float = 1.5
    sigma_field: float = 0.5
    step: float = 0.5
    momentum: float = 0.5
    softness: float = 1.0


class Level(Protocol):
    """One level of the pyramid in a back end; its buffers live as long as the object.

    Attributes
    ----------
    patience : int
        After how many evaluations the objectives are worth asking for: reading a number from a graphics
        processor stops the queue of its work.
    pause : callable
        Called between the parts of a step; raises when the user asked to stop.
    """

    patience: int
    pause: Callable[[], None]

    def evaluate(self) -> None:
        """Compute the force at the present field and keep the objective."""
        ...

    def objectives(self) -> list[float]:
        """Return the objectives (lower is better) of the evaluations since the last call."""
        ...

    def advance(self, steps: Steps) -> None:
        """Take one compositive step along the force."""
        ...

    def field(self) -> Field:
        """Return the present displacements (3, Z, Y, X), z, y, x in voxels of the level."""
        ...


def taps(sigma: float) -> npt.NDArray[np.float32]:
    """Return half of a Gaussian kernel, the center first, the whole kernel summing to 1."""
    if sigma < 0.1:
        return np.array([1.0, 0.0], np.float32)
    reach = max(1, int(2.5 * sigma + 0.5))
    half = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    return np.asarray(half / (2 * half.sum() - half[0]), dtype=np.float32)


def sigmas_vox(sigma: float, spacing: Sequence[float]) -> tuple[float, float, float]:
    """Return the sigma along z, y, x in voxels, given it in units of the finest spacing."""
    finest = min(spacing)
    z, y, x = (sigma * finest / s for s in spacing)
    return z, y, x


def settled(values: Sequence[float], *, window: int, tolerance: float) -> bool:
    """Return whether the objective falls by less than `tolerance` (relative) per iteration.

    The slope is that of a straight line through the last `window` values, so single jumps do not matter.
    """
    if len(values) < window:
        return False
    last = np.asarray(values[-window:], dtype=np.float64)
    slope = np.polyfit(np.arange(window), last, 1)[0]
    return bool(-slope < tolerance * max(abs(float(last.mean())), 1e-6))
