"""Arrows: Slicer's glyphs over the fixed volume; they start at fixed points."""

from __future__ import annotations

from ..overlays import show_warp
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def sources(_run: Run, _upper: str) -> tuple[str, ...]:
    """Return the deformable part."""
    return ("warp",)


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the arrows over the fixed volume."""
    slices.set_layers(run.fixed)
    slices.extra += show_warp(run, slices.source(run, "warp"), glyphs=True, spacing_mm=slices.options.spacing_mm)


SLICE_VIEW = SliceView(show, sources)
