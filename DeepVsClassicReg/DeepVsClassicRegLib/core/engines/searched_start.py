"""The start of engines that search a linear map: the given one, or a first guess."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from ..images.intensity import foreground
from ..images.volume import Volume
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
        When the start is not linear, or mirrors the patient.
    """
    if pair.initial is None:
        return None
    linear = pair.initial.affine
    if linear is None:
        raise RegistrationError(
            f"{subject} cannot start from a deformable transform.",
            hint="Give a linear initial transform, or choose a deformable engine, which can start from it.",
        )
    if np.linalg.det(linear.matrix) < 0:
        raise RegistrationError("The initial transform mirrors the patient.", hint="Use one without a reflection.")
    return linear


def first_guesses(pair: Pair) -> list[Affine]:
    """Return the alignment by the headers, and that of the centers of what both volumes show."""
    return [Affine.identity(), Affine.shift(_center(pair.moving) - _center(pair.fixed))]


def _center(volume: Volume) -> npt.NDArray[np.floating]:
    """Return the center of what the volume shows, LPS mm; that of its field of view when it shows nothing."""
    shown = foreground(volume)
    if not shown.any():
        return volume.grid.center_mm
    per_axis = [shown.sum(axis=others) for others in ((0, 1), (0, 2), (1, 2))]  # voxels at each i, j and k
    return volume.grid.index_to_point([np.average(np.arange(counts.size), weights=counts) for counts in per_axis])
