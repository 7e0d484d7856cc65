"""The walk of an agent: the best action again and again, until it returns to where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Place = TypeVar("Place")
Values = npt.NDArray[np.floating]
SAME = 0.5  # places less than half a step apart are the same


@dataclass(frozen=True)
class Walk(Generic[Place]):
    """A finished walk.

    Attributes
    ----------
    places : tuple
        All places, the start first.
    distances : tuple of float
        Expected distance to alignment of each place, in steps.
    best : int
        Index of the place to use.
    ending : str
        Why the walk ended.
    """

    places: tuple[Place, ...]
    distances: tuple[float, ...]
    best: int
    ending: str

    @property
    def place(self) -> Place:
        """The place to use."""
        return self.places[self.best]


def walk(
    start: Place,
    judge: Callable[[Place], tuple[Values, float]],
    moved: Callable[[Place, int], Place],
    apart: Callable[[Place, Place], float],
    *,
    limit: int,
    visited: Callable[[int, float], None],
) -> Walk[Place]:
    """Take the action with the highest expected reward until the walk ends.

    A walk ends when the action leads back to a place of this walk, when no action is expected to bring the pair nearer,
    or at the limit. After a return the best place is the one with the smallest expected distance among those between
    which the agent would go in circles; at the limit it is that of all places, otherwise the last one.

    Parameters
    ----------
    start : object
        The first place (a pose, coefficients).
    judge : callable
        Returns the expected reward of each action at a place, -inf for those that are not possible, and the expected
        distance to alignment, in steps.
    moved : callable
        Returns the place to which an action leads.
    apart : callable
        Returns how far apart two places are, in steps.
    limit : int
        Most steps.
    visited : callable
        Receives the number of each step and its expected distance, the start (number 0) first.
    """
    places, distances = [start], []
    first, ending = 0, f"limit of {limit} steps"
    for number in range(limit + 1):
        values, distance = judge(places[-1])
        distances.append(distance)
        visited(number, distance)
        action = int(np.argmax(values))
        if not values[action] > 0:
            first, ending = number, "no action brings the pair nearer"
            break
        if number == limit:
            break
        following = moved(places[-1], action)
        known = [index for index, place in enumerate(places) if apart(following, place) < SAME]
        if known:
            first, ending = known[0], "a place was visited again"
            break
        places.append(following)
    best = first + int(np.argmin(distances[first:]))
    return Walk(tuple(places), tuple(distances), best, ending)
