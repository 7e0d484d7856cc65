"""Blend: the warped volume over the fixed one, faded with the slider."""

from __future__ import annotations

from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the upper volume over the fixed one."""
    slices.set_layers(run.fixed, slices.upper_node(run), opacity=slices.options.opacity)


SLICE_VIEW = SliceView(show)
