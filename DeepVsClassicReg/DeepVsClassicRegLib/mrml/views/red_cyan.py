"""Red/cyan: the sum of the fixed volume in red and the warped volume in cyan."""

from __future__ import annotations

from ...core.evaluation.colors import FIXED_TINT, WARPED_TINT
from .. import colors
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def show(slices: SliceDisplay, run: Run) -> None:
    """Show colored copies of both volumes that share their voxels."""
    red = slices.layers.color("red", lambda name: colors.ramp_table(name, FIXED_TINT))
    cyan = slices.layers.color("cyan", lambda name: colors.ramp_table(name, WARPED_TINT))
    layers = slices.layers.tinted("red", run.fixed, red), slices.layers.tinted("cyan", slices.upper_node(run), cyan)
    slices.set_layers(*layers, opacity=1.0, add=True)


SLICE_VIEW = SliceView(show)
