"""Suspects an initial transform that maps moving to fixed points, as many programs write it."""

from __future__ import annotations

from ..evaluation.similarity import mean_agreements
from ..images.intensity import foreground
from ..images.resample import sampled_on
from ..images.volume import Note
from ..pair import Pair

MOST_VOXELS = 300_000
# Unrelated textures have a local agreement of 0.02 to 0.1, aligned volumes of 0.2 and more.
CLEARLY, TIMES = 0.1, 1.5


def inverse_note(pair: Pair) -> Note | None:
    """Return a note when the inverse of a linear initial transform matches the volumes clearly better than itself.

    Parameters
    ----------
    pair : Pair
        As engines receive it.
    """
    linear = pair.initial.affine if pair.initial is not None else None
    if linear is None:
        return None
    grid = pair.fixed.grid.at_most(MOST_VOXELS)
    fixed = sampled_on(pair.fixed, grid)
    warped = [sampled_on(pair.moving, grid, mapping).array for mapping in (linear, linear.inverse())]
    given, inverse = mean_agreements(fixed.array, warped, foreground(fixed))
    if not inverse > max(given + CLEARLY, TIMES * given):
        return None
    text = (
        "The inverse of the initial transform matches the volumes better than the transform itself (local agreement "
        f"{inverse:.2f} and {given:.2f}). It must map fixed to moving points: give its inverse if it maps moving to "
        "fixed points."
    )
    return Note(text, unsound=True)
