"""Grid: Slicer's deformed grid over the warped volume."""

from __future__ import annotations

from ..overlays import show_warp
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def sources(_run: Run, _upper: str) -> tuple[str, ...]:
    """Return the deformable part."""
    return ("warp",)


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the grid over the upper volume."""
    slices.set_layers(slices.upper_node(run))
    slices.extra += show_warp(run, slices.source(run, "warp"), glyphs=False, spacing_mm=slices.options.spacing_mm)


SLICE_VIEW = SliceView(show, sources)
