"""Estimated error: the map over the fixed volume, with a legend in mm."""

from __future__ import annotations

from ...core.evaluation.views.error import VIEW
from .. import colors
from ..frames import grid_of
from ..runs import Run
from ..stage import Stage
from .base import SliceView


def show(stage: Stage, run: Run) -> None:
    """Show the estimated error over the fixed volume."""
    source, legend = run.need("error"), VIEW.legend
    table = stage.layers.color("estimated error", colors.rising_table)
    node = stage.layers.fill(
        "estimated error", source.GetImageData(), grid_of(source), low=legend.low, high=legend.high, color=table
    )
    stage.set_layers(run.fixed, node, opacity=stage.options.opacity)
    colors.show_legend(node, legend, before=False)


SLICE_VIEW = SliceView(show)
