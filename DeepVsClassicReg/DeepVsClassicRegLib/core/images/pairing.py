"""Matches fixed and moving landmarks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from .points import Landmarks, some

Array = npt.NDArray[np.float64]


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
