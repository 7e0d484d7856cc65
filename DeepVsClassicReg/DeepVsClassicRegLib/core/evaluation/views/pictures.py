"""Creates the report's pictures from the views."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..figures import Bar, Pictures, Side, strip
from ..plotting import Draw, gray
from .base import View
from .catalogue import report_views


def figure_of(view: View, pictures: Pictures) -> Any:
    """Return the picture of a view of one registration, before and after if it has both."""
    sides = (pictures.before, pictures.after) if view.before else (pictures.after,)
    rows = [(side.title if view.before else view.title, pictures, side) for side in sides]
    return figure_of_rows(view, rows)


def figure_of_rows(view: View, rows: Iterable[tuple[str, Pictures, Side]]) -> Any:
    """Return a picture with one row per registration and side, all of one pair.

    Parameters
    ----------
    view : View
        The view that draws the rows.
    rows : iterable of (title, pictures, side)
        Content of the rows.
    """
    if view.row is None:
        raise ValueError(f"The view '{view.name}' has no picture.")
    shown = list(rows)
    first = shown[0][1]
    drawn: list[tuple[str, Draw]] = [("Fixed", gray(first.fixed))] if view.with_fixed else []
    drawn += [(title, view.row(pictures, side)) for title, pictures, side in shown]
    return strip(first.planes, drawn, bar=_bar(view))


def pictures_of(pictures: Pictures) -> list[tuple[View, Any]]:
    """Return the pictures of all views available for this pair, in the order of the catalogue."""
    return [(view, figure_of(view, pictures)) for view in report_views() if view.has_picture(pictures)]


def _bar(view: View) -> Bar | None:
    legend = view.legend
    if legend is None:
        return None
    # The color of folds is explained beside the bar, not by the note.
    title = legend.title if legend.marks_folds else legend.text(before=False)
    return Bar(title, legend.low, legend.high, legend.names, fold=legend.marks_folds, signed=legend.signed)
