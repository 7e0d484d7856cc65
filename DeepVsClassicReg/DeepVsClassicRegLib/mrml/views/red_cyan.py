"""Red/cyan: the fixed volume in red and the warped one in cyan, added by the slice views."""

from __future__ import annotations

from ...core.evaluation.colors import FIXED_TINT, WARPED_TINT
from .. import colors
from ..runs import Run
from ..stage import Stage
from .base import SliceView


def show(stage: Stage, run: Run) -> None:
    """Show twins of both volumes that share their voxels."""
    red = stage.layers.color("red", lambda name: colors.ramp_table(name, FIXED_TINT))
    cyan = stage.layers.color("cyan", lambda name: colors.ramp_table(name, WARPED_TINT))
    layers = stage.layers.tinted("red", run.fixed, red), stage.layers.tinted("cyan", stage.upper_node(run), cyan)
    stage.set_layers(*layers, opacity=1.0, add=True)


SLICE_VIEW = SliceView(show)
