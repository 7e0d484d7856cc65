"""Checkerboard: one volume with squares of the fixed and the warped one in turn."""

from __future__ import annotations

from ...core.evaluation.views.checkerboard import checkerboard
from ..arrays import image_of
from ..frames import grid_of
from ..runs import Run
from ..stage import Stage
from ..volumes import GRAY
from .base import SliceView


def sources(_run: Run, upper: str) -> tuple[str, ...]:
    """Return the windowed volumes."""
    return "fixed", upper


def show(stage: Stage, run: Run) -> None:
    """Mix the squares, which depend on the slider."""
    grid = grid_of(run.fixed)
    fixed, upper = (stage.source(run, key) for key in sources(run, stage.upper))
    voxels = image_of(checkerboard(fixed, upper, grid, stage.options.tile_mm))
    stage.set_layers(stage.layers.fill("checkerboard", voxels, grid, low=0, high=255, color=GRAY))


SLICE_VIEW = SliceView(show, sources)
