"""Charts of runs as Slicer plot nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from .hidden import hidden_node
from .names import file_safe
from .runs import Run
from .tables import BEFORE, NAME, unique_titles, update_label_table

# The color-blind safe palette of Okabe and Ito.
COLORS = (
    (0.0, 0.45, 0.70),
    (0.90, 0.62, 0.0),
    (0.0, 0.62, 0.45),
    (0.80, 0.40, 0.0),
    (0.80, 0.47, 0.65),
    (0.34, 0.71, 0.91),
)
FADED = (0.65, 0.65, 0.65)


def update_label_plot(runs: Sequence[Run], chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode) -> None:
    """Plot a measure per label as bars, one color per run and gray for before.

    Parameters
    ----------
    runs : sequence of Run
        What is drawn.
    chart : vtkMRMLPlotChartNode
        Its series are replaced.
    table : vtkMRMLTableNode
        Receives the values per label (see `tables.update_label_table`).
    """
    update_label_table(runs, table)
    remove_series(chart)
    for index, title in enumerate((BEFORE, *unique_titles(runs))):
        color = FADED if index == 0 else COLORS[(index - 1) % len(COLORS)]
        series = add_series(chart, table, title, color)
        series.SetPlotType(series.PlotTypeBar)
        series.SetYColumnName(title)
        series.SetLabelColumnName(NAME)
    set_titles(chart, _("Overlap per label"), "", _("Dice"))
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)


def remove_series(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Remove the series nodes of a chart from the scene."""
    series = _series_of(chart)
    chart.RemoveAllPlotSeriesNodeIDs()
    for node in series:
        slicer.mrmlScene.RemoveNode(node)


def _series_of(chart: Any) -> list[Any]:
    nodes = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    return [node for node in nodes if node is not None]


def add_series(chart: Any, table: Any, title: str, color: tuple[float, float, float]) -> Any:
    """Add a series of a table to a chart and return its node; the caller chooses type and columns."""
    series = slicer.mrmlScene.AddNode(hidden_node("vtkMRMLPlotSeriesNode", file_safe(title), saved=True))
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetColor(*color)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return series


def set_titles(chart: Any, title: str, horizontal: str, vertical: str) -> None:
    """Set the title and the axis titles of a chart."""
    chart.SetTitle(title)
    chart.SetXAxisTitle(horizontal)
    chart.SetYAxisTitle(vertical)
