"""The measures of all runs as Slicer tables."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from .runs import Run


def update_measures_table(runs: Sequence[Run], node: slicer.vtkMRMLTableNode) -> None:
    """Fill a table: one row per measure (title, unit, better direction), one column per run and one for before.

    The best value of a row is marked with a star; what was not measured is a dash.
    """
    raise NotImplementedError


def update_label_table(runs: Sequence[Run], node: slicer.vtkMRMLTableNode, *, measure: str = "dice_per_label") -> None:
    """Fill a table of one measure: one row per label (number, name), one numeric column per run and one for before."""
    raise NotImplementedError


def table_text(node: slicer.vtkMRMLTableNode, *, delimiter: str = "\t") -> str:
    """Return a table as text, for the clipboard (tab) or a CSV file (comma)."""
    raise NotImplementedError
