"""Side by side: the fixed volume and the moving volume before and after, at the same location."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plotting import Draw, gray
from .base import View

if TYPE_CHECKING:
    from ..figures import Pictures, Side


def _row(_pictures: Pictures, side: Side) -> Draw:
    return gray(side.volumes)


VIEW = View(
    name="side-by-side",
    title="Side by side",
    caption="The fixed volume, and the moving volume before and after registration, at the same location.",
    options={"opacity": "Fixed to warped:"},
    row=_row,
    with_fixed=True,
)
