"""Color tables and legends of difference and Jacobian views; created on demand, never saved with the scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from ..core.evaluation.colors import FOLD, Color, diverging, rising
from ..core.evaluation.views.base import Legend
from ..core.evaluation.views.jacobian import FOLD_CODE, LIMIT
from .nodes import hidden_node

COUNT = 256
LEGEND_FONT = 5  # Slicer draws the text of a legend two to three times as large


def ramp_table(name: str, color: Color) -> Any:
    """Return a color table from black to a color."""
    steps = np.linspace(0, 1, COUNT)[:, None]
    return _table(name, np.hstack([steps * np.array(color), np.ones((COUNT, 1))]))


def difference_table(name: str) -> Any:
    """Return the color table of differences: blue below zero, black at zero, orange above."""
    return _table(name, diverging(COUNT))


def rising_table(name: str) -> Any:
    """Return the table of values that begin at zero: black, orange, bright."""
    return _table(name, rising(COUNT))


def jacobian_table(name: str) -> Any:
    """Return the color table of the coded log Jacobian: folds green, shrinkage blue, growth orange, no change black."""
    # Slightly less than the range of the codes, so that the strongest shrinkage never gets the color of a fold.
    below = int(COUNT * (-LIMIT - FOLD_CODE) / (LIMIT - FOLD_CODE)) - 2
    rows = np.vstack([np.tile([*FOLD, 1.0], (below, 1)), diverging(COUNT - below)])
    return _table(name, rows)


def label_table(name: str, colors: Sequence[Color]) -> Any:
    """Return a color table of labels: 0 is transparent, the others have these colors."""
    return _table(name, np.array([[0, 0, 0, 0], *([*color, 1] for color in colors)], dtype=float))


def show_legend(volume: Any, about: Legend, *, before: bool) -> Any:
    """Show the color legend of a volume that is already a layer of the views, and return its display node."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetSaveWithScene(False)
    legend.SetTitleText(about.text(before=before, separator="\n"))
    legend.SetLabelFormat(about.number_format)
    legend.SetNumberOfLabels(about.ticks)
    legend.SetMaxNumberOfColors(COUNT)
    # In the upper right corner, which the body rarely covers.
    legend.SetSize(0.05, 0.3)
    legend.SetPosition(0.98, 0.85)
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontSize(LEGEND_FONT)
        text.SetFontFamilyToArial()
    legend.SetVisibility(True)
    legend.Modified()
    return legend


def hide_legend(volume: Any) -> None:
    """Hide the color legend of a volume; it is removed together with the volume."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(volume)
    if legend is not None:
        legend.SetVisibility(False)


def _table(name: str, rows: np.ndarray) -> Any:
    node = hidden_node("vtkMRMLColorTableNode", name, saved=False)
    node.SetTypeToUser()
    node.SetNumberOfColors(len(rows))
    for index, row in enumerate(np.clip(rows, 0, 1).tolist()):
        node.SetColor(index, *row)
        node.SetColorName(index, str(index))
    return slicer.mrmlScene.AddNode(node)
