"""Grid: Slicer's own deformed grid over the warped volume."""

from __future__ import annotations

from ..overlays import show_warp
from ..runs import Run
from ..stage import Stage
from .base import SliceView


def sources(_run: Run, _upper: str) -> tuple[str, ...]:
    """Return the deformable part."""
    return ("warp",)


def show(stage: Stage, run: Run) -> None:
    """Show the grid over the upper volume."""
    stage.set_layers(stage.upper_node(run))
    stage.extra += show_warp(run, stage.source(run, "warp"), glyphs=False, spacing_mm=stage.options.spacing_mm)


SLICE_VIEW = SliceView(show, sources)
