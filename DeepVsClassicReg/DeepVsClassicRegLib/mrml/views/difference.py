"""Difference: warped minus fixed as a volume in blue and orange, with a legend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...core.evaluation.views.difference import LEGEND, difference
from .. import colors
from ..geometry import grid_of, image_of
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def sources(_run: Run, upper: str) -> tuple[str, ...]:
    """Return the windowed volumes."""
    return "fixed", upper


def prepare(_run: Run, upper: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function that computes the voxels."""
    return lambda known: image_of(difference(known["fixed"], known[upper]))


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the difference instead of both volumes."""
    table = slices.layers.color("difference", colors.difference_table)
    node = slices.layers.fill(
        "difference", slices.prepared(run), grid_of(run.fixed), low=LEGEND.low, high=LEGEND.high, color=table
    )
    slices.set_layers(node)
    colors.show_legend(node, LEGEND, before=slices.options.before)


SLICE_VIEW = SliceView(show, sources, prepare)
