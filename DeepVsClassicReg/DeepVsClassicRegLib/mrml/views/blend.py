"""Blend: the warped volume over the fixed one, faded with the slider."""

from __future__ import annotations

from ..runs import Run
from ..stage import Stage
from .base import SliceView


def show(stage: Stage, run: Run) -> None:
    """Show the upper volume over the fixed one."""
    stage.set_layers(run.fixed, stage.upper_node(run), opacity=stage.options.opacity)


SLICE_VIEW = SliceView(show)
