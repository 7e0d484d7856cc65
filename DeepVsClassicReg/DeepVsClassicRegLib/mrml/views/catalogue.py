"""The slice-view implementation of each view; the list of views is `core/evaluation/views/catalogue.py`."""

from __future__ import annotations

from typing import cast

from ...core.evaluation.views.catalogue import panel_views
from ...core.registry import Registry
from .base import SliceView

SLICE_VIEWS = Registry(
    __package__,
    "The slice views do not show '{name}'.",
    {view.name: f"{view.name.replace('-', '_')}:SLICE_VIEW" for view in panel_views()},
)


def get_slice_view(name: str) -> SliceView:
    """Return the slice-view implementation of a view; `SettingsError` when there is none."""
    return cast("SliceView", SLICE_VIEWS.load(name))
