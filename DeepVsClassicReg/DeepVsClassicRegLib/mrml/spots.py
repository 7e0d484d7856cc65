"""Where a run deserves a look: folds, disagreement of intensities, structures that fit worst."""

from __future__ import annotations

from dataclasses import dataclass

from .runs import Run


@dataclass(frozen=True)
class Spot:
    """A place worth looking at.

    Attributes
    ----------
    point_mm : tuple of 3 float
        LPS position in fixed space.
    text : str
        What is to be seen there, such as 'Left hippocampus: Dice 0.61'.
    """

    point_mm: tuple[float, float, float]
    text: str


def worst_folds(run: Run, *, count: int = 10) -> list[Spot]:
    """Return the places with the lowest Jacobian determinant <= 0, worst first; empty when nothing folds."""
    raise NotImplementedError


def worst_disagreements(run: Run, *, count: int = 10) -> list[Spot]:
    """Return the places where fixed and warped intensities differ most over a neighborhood, worst first."""
    raise NotImplementedError


def lowest_dice(run: Run) -> list[Spot]:
    """Return the labels, lowest Dice first, each with the center of its fixed structure."""
    raise NotImplementedError
