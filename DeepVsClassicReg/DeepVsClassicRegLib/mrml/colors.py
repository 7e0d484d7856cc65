"""Color tables and legends for looking at differences and Jacobians; made on demand, never saved with the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from .comparison import FOLD_CODE, LOG_RANGE

COUNT = 256
FOLD = (0.15, 1.0, 0.1)
# Blue - dark - orange: no change must stay dark in Slicer's black views, and both ends are safe for the color-blind.
NEGATIVE, POSITIVE = np.array([[0.13, 0.45, 1.0], [0.62, 0.84, 1.0]]), np.array([[1.0, 0.45, 0.08], [1.0, 0.86, 0.55]])
LEGEND_FONT = 5  # Slicer draws the text of a legend two to three times as large
RED, CYAN = (1.0, 0.0, 0.0), (0.0, 1.0, 1.0)


def ramp_table(name: str, color: tuple[float, float, float]) -> Any:
    """Return a color table from black to a color."""
    steps = np.linspace(0, 1, COUNT)[:, None]
    return _table(name, np.hstack([steps * np.array(color), np.ones((COUNT, 1))]))


def difference_table(name: str) -> Any:
    """Return the diverging table of differences: blue below, dark in the middle, orange above."""
    return _table(name, _diverging(COUNT))


def jacobian_table(name: str) -> Any:
    """Return the table of the coded log Jacobian: folds green, shrinking blue, growing orange, no change dark."""
    # A little less than the share of the codes, so that the strongest shrinking is never taken for a fold.
    below = int(COUNT * (-LOG_RANGE - FOLD_CODE) / (LOG_RANGE - FOLD_CODE)) - 2
    rows = np.vstack([np.tile([*FOLD, 1.0], (below, 1)), _diverging(COUNT - below)])
    return _table(name, rows)


def label_table(name: str, colors: list[tuple[float, float, float]]) -> Any:
    """Return a table of labels: 0 is clear, the others have these colors."""
    return _table(name, np.array([[0, 0, 0, 0], *([*color, 1] for color in colors)], dtype=float))


def show_legend(volume: Any, title: str, *, ticks: int = 5, text_format: str = "%.1f") -> Any:
    """Show a color legend for a volume that is a layer of the views already, and return its display node."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(volume)
    legend.SetSaveWithScene(False)
    legend.SetTitleText(title)
    legend.SetLabelFormat(text_format)
    legend.SetNumberOfLabels(ticks)
    legend.SetMaxNumberOfColors(COUNT)
    # In the upper right corner, where the body seldom is.
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


def _diverging(count: int) -> np.ndarray:
    position = np.linspace(-1, 1, count)[:, None]
    strength = np.abs(position)
    (below, below_bright), (above, above_bright) = NEGATIVE, POSITIVE
    full, bright = np.where(position < 0, below, above), np.where(position < 0, below_bright, above_bright)
    color = full * np.minimum(strength / 0.7, 1) + (bright - full) * np.maximum(strength - 0.7, 0) / 0.3
    return np.hstack([color, np.ones((count, 1))])


def _table(name: str, rows: np.ndarray) -> Any:
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetName(name)
    node.SetTypeToUser()
    node.SetNumberOfColors(len(rows))
    for index, row in enumerate(np.clip(rows, 0, 1).tolist()):
        node.SetColor(index, *row)
        node.SetColorName(index, str(index))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)
