"""Charts of runs made of Slicer's plot nodes."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from .runs import Run


def update_label_plot(runs: Sequence[Run], chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode) -> None:
    """Draw the per-label table (see `tables.update_label_table`) as bars, one color per run."""
    raise NotImplementedError


def update_trace_plot(runs: Sequence[Run], chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode) -> None:
    """Draw the metric over the iterations of each run as lines."""
    raise NotImplementedError


def remove_series(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Remove the series nodes of a chart from the scene."""
    raise NotImplementedError
