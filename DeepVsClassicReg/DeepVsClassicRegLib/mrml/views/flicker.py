"""Flicker: the fixed and the warped volume alternately; the panel's timer calls `Inspection.flicker`."""

from __future__ import annotations

from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the upper volume first."""
    slices.set_layers(run.fixed, slices.upper_node(run), opacity=1.0)


SLICE_VIEW = SliceView(show)
