"""Estimated error: the error of the registration at every voxel, predicted by a network from both images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting import EXTENT, INK, Draw, gray, rising
from .base import Legend, View

if TYPE_CHECKING:
    from ..figures import Pictures, Side

HIGHEST = 10.0  # mm, at the upper end of the color scale
CLEAR = 0.6  # opacity over the fixed volume


def _row(pictures: Pictures, _side: Side) -> Draw:
    estimate = pictures.evaluation.error_map
    if estimate is None:
        raise ValueError("No error was estimated.")
    fixed = gray(pictures.fixed)
    values = pictures.slices.values(estimate.volume, fill=0.0)
    inside = pictures.slices.inside()

    def draw(axes: Any, n: int) -> None:
        fixed(axes, n)
        shown = np.where(values[n] > 0, CLEAR, 0.0)
        axes.imshow(values[n], cmap=rising(), vmin=0.0, vmax=HIGHEST, alpha=shown, **EXTENT)
        axes.contour(inside[n], levels=[0.5], colors=[INK], linewidths=0.5, alpha=0.6)

    return draw


LEGEND = Legend(
    title="Estimated error",
    note="mm",
    low=0.0,
    high=HIGHEST,
    names={0.0: "0", HIGHEST / 2: f"{HIGHEST / 2:g}", HIGHEST: f"{HIGHEST:g} and more"},
    signed=False,
    ticks=6,
)

VIEW = View(
    name="error",
    title="Estimated error",
    caption="Estimated registration error at every voxel in mm: dark is small, bright is 10 mm or more. It is "
    "predicted from both volumes by a network trained on generated images, without ground truth. It is not reliable "
    "in regions without structure or where the anatomies differ; a small error is no proof.",
    needs=("fixed", "error"),
    options={"opacity": "Opacity:"},
    legend=LEGEND,
    row=_row,
    before=False,
    picture_needs=("error_map",),
)
