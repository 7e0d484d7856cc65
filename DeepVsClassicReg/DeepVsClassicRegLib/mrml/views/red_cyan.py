"""Red/cyan: the sum of the fixed volume in red and the warped volume in cyan."""

from __future__ import annotations

from typing import Any

from ...core.evaluation.colors import FIXED_TINT, WARPED_TINT
from .. import colors
from ..channels import channel_count
from ..geometry import grid_of, image_of
from ..runs import Run
from ..slice_display import SliceDisplay
from .base import SliceView


def sources(run: Run, upper: str) -> tuple[str, ...]:
    """Return those of both volumes whose gray values must be computed, because they are color or vector volumes."""
    return tuple(role for role in ("fixed", upper) if channel_count(run.node(role)) > 1)


def show(slices: SliceDisplay, run: Run) -> None:
    """Show colored copies of both volumes, which share their voxels with gray ones."""
    red = slices.layers.color("red", lambda name: colors.ramp_table(name, FIXED_TINT))
    cyan = slices.layers.color("cyan", lambda name: colors.ramp_table(name, WARPED_TINT))
    layers = [
        _tinted(slices, run, role, *tint) for role, tint in (("fixed", ("red", red)), (slices.upper, ("cyan", cyan)))
    ]
    slices.set_layers(*layers, opacity=1.0, add=True)


def _tinted(slices: SliceDisplay, run: Run, role: str, key: str, color: str) -> Any:
    if role not in sources(run, slices.upper):
        return slices.layers.tinted(key, run.need(role), color)
    voxels = image_of(slices.source(run, role))  # on the fixed grid
    return slices.layers.fill(f"{key} of color", voxels, grid_of(run.need("fixed")), low=0, high=255, color=color)


SLICE_VIEW = SliceView(show, sources)
