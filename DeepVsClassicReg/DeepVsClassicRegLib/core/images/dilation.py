"""Dilation of masks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def widened(mask: Mask, margin: int) -> Mask:
    """Return the mask dilated by a cube of `2 * margin + 1` voxels."""
    wide = mask
    for axis in range(3):
        grown = wide.copy()
        for shift in range(1, min(margin, wide.shape[axis] - 1) + 1):
            low = [slice(None)] * 3
            high = [slice(None)] * 3
            low[axis], high[axis] = slice(None, -shift), slice(shift, None)
            grown[tuple(low)] |= wide[tuple(high)]
            grown[tuple(high)] |= wide[tuple(low)]
        wide = grown
    return wide
