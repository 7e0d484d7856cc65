"""Conversion between LPS and the RAS coordinates in files of some back ends (greedy, NiftyReg)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...transforms.transform import Affine

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_matrix(affine: Affine) -> npt.NDArray[np.float64]:
    """Return the (4, 4) matrix in RAS mm of an affine in LPS mm."""
    return np.asarray(FLIP @ affine.homogeneous @ FLIP)


def lps_vectors(vectors_ras: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return vectors (..., 3) given in RAS as LPS, or vice versa."""
    return vectors_ras * np.array([-1, -1, 1], dtype=vectors_ras.dtype)


def write_ras_matrix(affine: Affine, path: Path) -> Path:
    """Write the RAS matrix as four lines of numbers."""
    np.savetxt(path, ras_matrix(affine), fmt="%.12g")
    return path
