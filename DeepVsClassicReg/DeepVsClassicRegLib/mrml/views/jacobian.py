"""Jacobian: its logarithm over the fixed volume, folds in a separate color, with a legend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...core.evaluation.views.jacobian import FOLD_CODE, LEGEND, coded_log_jacobian
from .. import colors
from ..geometry import array_of, grid_of, image_of
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def prepare(run: Run, _upper: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function that computes the voxels."""
    determinant = array_of(run.need("jacobian"))
    return lambda _known: image_of(coded_log_jacobian(determinant))


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the Jacobian over the fixed volume."""
    table = slices.layers.color("log Jacobian", colors.jacobian_table)
    voxels = slices.prepared(run)
    node = slices.layers.fill(
        "log Jacobian", voxels, grid_of(run.jacobian), low=FOLD_CODE, high=LEGEND.high, color=table
    )
    # Codes must not be interpolated: all colors would appear between a fold and its neighbor.
    node.GetDisplayNode().SetInterpolate(False)
    slices.set_layers(run.fixed, node, opacity=slices.options.opacity)
    colors.show_legend(node, LEGEND, before=False)


SLICE_VIEW = SliceView(show, prepare=prepare)
