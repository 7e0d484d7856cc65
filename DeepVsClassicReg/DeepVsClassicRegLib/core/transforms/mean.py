"""Means and roots of affine maps by their matrix logarithms: no map of a group is the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm, logm

from ..errors import GeometryError, RegistrationError
from .transform import Affine

Array = npt.NDArray[np.float64]
MOST_STEPS = 100
TOLERANCE = 1e-10


def affine_logarithm(affine: Affine) -> Array:
    """Return the (4, 4) matrix logarithm of an affine map.

    Raises
    ------
    GeometryError
        When there is no real logarithm, as for mirror images and half turns.
    """
    found = np.asarray(logm(affine.homogeneous))
    if np.abs(np.imag(found)).max() > 1e-6 * max(1.0, float(np.abs(found).max())):
        raise GeometryError(
            "The mean of the alignments is not defined: one of them mirrors the patient or turns it by half a turn.",
            hint="Correct the orientation in the header of that volume first.",
        )
    return np.asarray(np.real(found), dtype=np.float64)


def affine_power(affine: Affine, exponent: float) -> Affine:
    """Return a power of an affine map: 0.5 goes half of the way, -1 is the inverse.

    Examples
    --------
    >>> affine_power(Affine.shift([4, 0, 0]), 0.5).translation_mm
    array([2., 0., 0.])
    """
    return Affine.from_homogeneous(expm(exponent * affine_logarithm(affine)))


def mean_affine(affines: Sequence[Affine]) -> Affine:
    """Return the mean of affine maps, the map M for which the logarithms of A_i M^-1 add up to zero.

    It does not depend on the order, the mean of the inverses is the inverse of the mean, and a common change of the
    coordinates on either side changes the mean alike.

    Raises
    ------
    RegistrationError
        When no map is given, or they are too different to have a mean.

    References
    ----------
    Arsigny et al., MICCAI 2006, doi 10.1007/11866565_113 (logarithms); Pennec and Arsigny, in: Matrix Information
    Geometry, Springer 2013, doi 10.1007/978-3-642-30232-9_7 (bi-invariant mean).

    Examples
    --------
    >>> mean_affine([Affine.shift([1, 0, 0]), Affine.shift([3, 0, 0])]).translation_mm
    array([2., 0., 0.])
    """
    if not affines:
        raise RegistrationError("There is no transform to average.")
    mean = affines[0]
    for _ in range(MOST_STEPS):
        inverse = mean.inverse()
        step = np.mean([affine_logarithm(inverse.then(affine)) for affine in affines], axis=0)
        mean = mean.then(Affine.from_homogeneous(expm(step)))
        if np.abs(step).max() < TOLERANCE * max(1.0, float(np.abs(mean.translation_mm).max())):
            return mean
    raise RegistrationError(
        "The alignments are too different to have a mean.", hint="Check for volumes with a wrong orientation."
    )
