"""The list of views: the panel's buttons and the report's pictures, in this order."""

from __future__ import annotations

from typing import cast

from ...registry import Registry
from .base import View

VIEWS = Registry(
    __package__,
    "There is no view '{name}'.",
    {
        "side-by-side": "side_by_side:VIEW",
        "blend": "blend:VIEW",
        "flicker": "flicker:VIEW",
        "checkerboard": "checkerboard:VIEW",
        "difference": "difference:VIEW",
        "contours": "contours:VIEW",
        "red-cyan": "red_cyan:VIEW",
        "grid": "grid:VIEW",
        "arrows": "arrows:VIEW",
        "jacobian": "jacobian:VIEW",
        "error": "error:VIEW",
    },
)


def get_view(name: str) -> View:
    """Return a view by name; `SettingsError` when there is none."""
    return cast("View", VIEWS.load(name))


def panel_views() -> tuple[View, ...]:
    """Return the views that have a button in the panel."""
    return tuple(view for view in map(get_view, VIEWS) if view.in_panel)


def report_views() -> tuple[View, ...]:
    """Return the views that have a picture in the report."""
    return tuple(view for view in map(get_view, VIEWS) if view.row is not None)
