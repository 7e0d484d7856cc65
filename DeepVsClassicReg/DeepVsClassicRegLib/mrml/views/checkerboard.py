"""Checkerboard: one volume with alternating squares of the fixed and the warped volume."""

from __future__ import annotations

from ...core.evaluation.views.checkerboard import checkerboard
from ..geometry import grid_of, image_of
from ..nodes import GRAY
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def sources(_run: Run, upper: str) -> tuple[str, ...]:
    """Return the windowed volumes."""
    return "fixed", upper


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the checkerboard with the square size of the slider."""
    grid = grid_of(run.fixed)
    fixed, upper = (slices.source(run, key) for key in sources(run, slices.upper))
    voxels = image_of(checkerboard(fixed, upper, grid, slices.options.tile_mm))
    slices.set_layers(slices.layers.fill("checkerboard", voxels, grid, low=0, high=255, color=GRAY))


SLICE_VIEW = SliceView(show, sources)
