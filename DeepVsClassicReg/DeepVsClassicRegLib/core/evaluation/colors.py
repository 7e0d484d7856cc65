"""The colors of the views, the same in the slice views and in the report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Color = tuple[float, float, float]

# Outlines: one color per side, because outlines in the colors of the segments could not be told apart.
FIXED_OUTLINE: Color = (1.0, 0.75, 0.15)
WARPED_OUTLINE: Color = (0.15, 0.9, 1.0)
LINES: Color = FIXED_OUTLINE  # of the deformed grid and the arrows
# Overlay: gray where both volumes agree.
FIXED_TINT: Color = (1.0, 0.0, 0.0)
WARPED_TINT: Color = (0.0, 1.0, 1.0)
FOLD: Color = (0.15, 1.0, 0.1)
# Blue - black - orange: no change is dark on the black views, and both ends are color-blind safe.
NEGATIVE, POSITIVE = np.array([[0.13, 0.45, 1.0], [0.62, 0.84, 1.0]]), np.array([[1.0, 0.45, 0.08], [1.0, 0.86, 0.55]])
FULL = 0.7  # fraction of the range at which the color is saturated; beyond it gets brighter


def rising(count: int) -> npt.NDArray[np.float64]:
    """Return the colors of values that begin at zero: black, orange, bright; (count, 4) RGBA, 0 to 1."""
    return diverging(2 * count - 1)[count - 1 :]


def diverging(count: int) -> npt.NDArray[np.float64]:
    """Return the colors of signed values: blue below zero, black at zero, orange above.

    Parameters
    ----------
    count : int
        Number of colors.

    Returns
    -------
    (count, 4) array
        RGBA, 0 to 1.
    """
    position = np.linspace(-1, 1, count)[:, None]
    strength = np.abs(position)
    (below, below_bright), (above, above_bright) = NEGATIVE, POSITIVE
    full, bright = np.where(position < 0, below, above), np.where(position < 0, below_bright, above_bright)
    color = full * np.minimum(strength / FULL, 1) + (bright - full) * np.maximum(strength - FULL, 0) / (1 - FULL)
    return np.hstack([color, np.ones((count, 1))])
