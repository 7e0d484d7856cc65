"""Flicker: the fixed and the warped volume in turn; the panel's timer calls `Inspection.flicker`."""

from __future__ import annotations

from ..runs import Run
from ..stage import Stage
from .base import SliceView


def show(stage: Stage, run: Run) -> None:
    """Begin with the upper volume."""
    stage.set_layers(run.fixed, stage.upper_node(run), opacity=1.0)


SLICE_VIEW = SliceView(show)
