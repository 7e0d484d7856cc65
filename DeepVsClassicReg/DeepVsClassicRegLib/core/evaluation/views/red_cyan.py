"""Red/cyan: the sum of the fixed volume in red and the warped volume in cyan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..colors import FIXED_TINT, WARPED_TINT
from ..plotting import EXTENT, Draw
from .base import View

if TYPE_CHECKING:
    from ..figures import Pictures, Side


def _row(pictures: Pictures, side: Side) -> Draw:
    def draw(axes: Any, n: int) -> None:
        red, cyan = pictures.fixed[n][..., None], side.volumes[n][..., None]
        axes.imshow(red * np.array(FIXED_TINT) + cyan * np.array(WARPED_TINT), **EXTENT)

    return draw


VIEW = View(
    name="red-cyan",
    title="Red/cyan",
    caption="Fixed volume in red, warped volume in cyan: gray where they agree, colored edges where they do not.",
    row=_row,
)
