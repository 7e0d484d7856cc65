"""Contours: outlines of both segmentations over the warped volume, or contours of the fixed intensities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from ...core.evaluation.colors import FIXED_OUTLINE
from ...core.evaluation.views.contours import tissue_levels
from .. import colors
from ..geometry import grid_of, image_of
from ..overlays import show_segmentations
from ..runs import ROLE_TITLES, Run
from ..slice_display import SliceDisplay, composite_nodes, slice_nodes
from .base import SliceView

# Both sets of levels are contours of the fixed volume.
LEVELS = (FIXED_OUTLINE, (1.0, 0.95, 0.65))


def _has_outlines(run: Run) -> bool:
    node = run.node("fixed_labels")
    return node is not None and node.IsA("vtkMRMLSegmentationNode")


def sources(run: Run, _upper: str) -> tuple[str, ...]:
    """Return the fixed volume as source when there is no segmentation."""
    return () if _has_outlines(run) else ("fixed",)


def prepare(run: Run, _upper: str) -> Callable[[Mapping[str, Any]], Any] | None:
    """Return the function that computes the intensity levels when there is no segmentation."""
    return None if _has_outlines(run) else lambda known: image_of(tissue_levels(known["fixed"]))


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the outlines over the upper volume."""
    upper = slices.upper_node(run)
    if _has_outlines(run):
        slices.set_layers(upper)
        slices.extra += show_segmentations(run, before=slices.options.before)
        return
    table = slices.layers.color("levels", lambda name: colors.label_table(name, LEVELS))
    node = slices.layers.labels("levels", slices.prepared(run), grid_of(run.fixed), table)
    slices.set_layers(upper, label=node)
    for view in slice_nodes(slices.view_names):
        slices.memory.set(view, "UseLabelOutline", 1)
    for composite in composite_nodes(slices.view_names):
        slices.memory.set(composite, "LabelOpacity", 1.0)


def remark(run: Run, *, before: bool) -> str:
    """Return which outlines are missing because their segmentation was deleted."""
    lost = [role for role in ("fixed_labels", "moving_labels" if before else "warped_labels") if run.lost(role)]
    if "fixed_labels" in lost:
        return _("The fixed segmentation was deleted: contours of the fixed volume's intensities are shown instead.")
    if lost:
        return _("The {what} was deleted: only the fixed contours are shown.").format(what=ROLE_TITLES[lost[0]])
    return ""


SLICE_VIEW = SliceView(show, sources, prepare, remark)
