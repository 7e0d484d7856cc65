"""Arrows: Slicer's own glyphs over the fixed volume, from which they start."""

from __future__ import annotations

from ..overlays import show_warp
from ..runs import Run
from ..stage import Stage
from .base import SliceView


def sources(_run: Run, _upper: str) -> tuple[str, ...]:
    """Return the deformable part."""
    return ("warp",)


def show(stage: Stage, run: Run) -> None:
    """Show the arrows over the fixed volume."""
    stage.set_layers(run.fixed)
    stage.extra += show_warp(run, stage.source(run, "warp"), glyphs=True, spacing_mm=stage.options.spacing_mm)


SLICE_VIEW = SliceView(show, sources)
