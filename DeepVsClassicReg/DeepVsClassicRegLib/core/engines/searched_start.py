"""The start of engines that search a linear map by a trained network: the given one, or a first guess."""

from __future__ import annotations

from ..errors import RegistrationError
from ..images.intensity import foreground
from ..pair import Pair
from ..transforms.affine import Affine


def given_start(pair: Pair, subject: str) -> Affine | None:
    """Return the linear start of a pair, None when it must be searched.

    Parameters
    ----------
    pair : Pair
        Its `initial` is the start.
    subject : str
        What starts, as the beginning of a sentence: "The linear alignment".

    Raises
    ------
    RegistrationError
        When the start is not linear.
    """
    if pair.initial is None:
        return None
    linear = pair.initial.affine
    if linear is None:
        raise RegistrationError(
            f"{subject} cannot start from a deformable transform.",
            hint="Give a linear initial transform, or choose a deformable engine.",
        )
    return linear


def first_guesses(pair: Pair) -> list[Affine]:
    """Return the alignment by the headers, and that of the centers of what both volumes show."""
    middles = [volume.grid.points()[foreground(volume)].mean(axis=0) for volume in (pair.fixed, pair.moving)]
    return [Affine.identity(), Affine.shift(middles[1] - middles[0])]
