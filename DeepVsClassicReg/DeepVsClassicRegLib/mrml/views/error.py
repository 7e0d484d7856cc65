"""Estimated error: the map over the fixed volume, with a legend in mm."""

from __future__ import annotations

from ...core.evaluation.views.error import LEGEND
from .. import colors
from ..geometry import grid_of
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the estimated error over the fixed volume."""
    source = run.need("error")
    table = slices.layers.color("estimated error", colors.rising_table)
    node = slices.layers.fill(
        "estimated error", source.GetImageData(), grid_of(source), low=LEGEND.low, high=LEGEND.high, color=table
    )
    slices.set_layers(run.fixed, node, opacity=slices.options.opacity)
    colors.show_legend(node, LEGEND, before=False)


SLICE_VIEW = SliceView(show)
