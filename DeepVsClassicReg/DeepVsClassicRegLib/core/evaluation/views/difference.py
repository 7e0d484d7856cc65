"""Difference: warped minus fixed, in percent of the display window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..plotting import EXTENT, Draw, diverging
from .base import Legend, View

if TYPE_CHECKING:
    from ..figures import Pictures, Side

LIMIT_PERCENT = 60.0


def difference(fixed: npt.NDArray[np.uint8], upper: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Return warped (or moving) minus fixed in percent of the display window, -100..100.

    Parameters
    ----------
    fixed, upper : uint8 array
        Displayed gray values, 0 to 255.
    """
    result = np.subtract(upper, fixed, dtype=np.int16)
    result *= 100
    result //= 255
    return result


def _row(pictures: Pictures, side: Side) -> Draw:
    def draw(axes: Any, n: int) -> None:
        shown = difference(_displayed(pictures.fixed[n]), _displayed(side.volumes[n]))
        axes.imshow(shown, cmap=diverging(), vmin=-LIMIT_PERCENT, vmax=LIMIT_PERCENT, **EXTENT)

    return draw


def _displayed(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.rint(255 * picture).astype(np.uint8)


LEGEND = Legend(
    title="{upper} - fixed",
    note="% of window",
    low=-LIMIT_PERCENT,
    high=LIMIT_PERCENT,
    names={-LIMIT_PERCENT: "-60\nwarped darker", 0: "0", LIMIT_PERCENT: "60\nwarped brighter"},
    number_format="%.0f",
)

VIEW = View(
    name="difference",
    title="Difference",
    caption="Warped minus fixed: orange where the warped volume is brighter, blue where it is darker. Useful when both "
    "volumes have the same contrast.",
    legend=LEGEND,
    row=_row,
)
