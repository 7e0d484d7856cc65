"""The measures of all runs as Slicer tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..core.evaluation.measures import HIGHER, LOWER, MEASURES, SECONDS, Measure
from .nodes import file_safe, hidden_node
from .runs import Run

BEST = "★"
BEFORE, NAME = _("Before"), _("Name")
DIRECTIONS = {HIGHER: _("higher is better"), LOWER: _("lower is better"), "": ""}
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


def update_measures_table(runs: Sequence[Run], node: slicer.vtkMRMLTableNode) -> None:
    """Fill a table: one row per measure (title, unit, better direction), one column per run and one for before.

    With several runs, a star marks the best value of a row; values that were not measured are shown as a dash.

    Parameters
    ----------
    runs : sequence of Run
        One column each; the values before registration are those of the first run.
    node : vtkMRMLTableNode
        The table to fill.
    """
    columns = [run.measures for run in runs]
    before = runs[0].measures_before if runs else {}
    listed = [measure for measure in (*MEASURES.values(), SECONDS) if not measure.per_item]
    rows = [measure for measure in listed if any(_is_number(c.get(measure.name)) for c in columns)]
    table = {
        _("Measure"): [measure.title for measure in rows],
        _("Unit"): [measure.unit for measure in rows],
        _("Better"): [DIRECTIONS[measure.direction] for measure in rows],
        BEFORE: [measure.text(before.get(measure.name)) for measure in rows],
    }
    titles = unique_titles(runs)
    for index, title in enumerate(titles):
        table[title] = [_cell(measure, columns, index) for measure in rows]
    fill_table(node, table)


def best_run(measure: Measure, columns: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the index of the best of several columns, None when there is no unique best one."""
    values = [column.get(measure.name) for column in columns]
    numbers = [index for index, value in enumerate(values) if _is_number(value)]
    if len(numbers) < 2 or not measure.direction:
        return None
    best = numbers[0]
    for index in numbers[1:]:
        if measure.better(values[index], values[best]):
            best = index
    others = [index for index in numbers if index != best]
    return best if any(measure.better(values[best], values[index]) for index in others) else None


def update_label_table(runs: Sequence[Run], node: slicer.vtkMRMLTableNode, *, measure: str = "dice_per_label") -> None:
    """Fill a table of one measure: one row per label (number, name), one numeric column per run and one for before.

    Labels that were not measured in a run are NaN.
    """
    after = [run.measures.get(measure) or {} for run in runs]
    before = (runs[0].measures_before.get(measure) or {}) if runs else {}
    numbers = sorted({int(number) for column in (*after, before) for number in column})
    styles = {number: style for run in runs for number, style in run.labels.items()}
    table: dict[str, list[Any]] = {
        _("Label"): numbers,
        NAME: [
            styles[number].name if number in styles else _("Label {number}").format(number=number) for number in numbers
        ],
        BEFORE: [_float(before.get(str(number))) for number in numbers],
    }
    for title, column in zip(unique_titles(runs), after, strict=True):
        table[title] = [_float(column.get(str(number))) for number in numbers]
    fill_table(node, table)


def fill_table(node: slicer.vtkMRMLTableNode, columns: Mapping[str, Sequence[Any]]) -> None:
    """Replace the columns of a table; texts, integers and floats become columns of that type."""
    table = vtk.vtkTable()
    for title, values in columns.items():
        array = _array_for(values)
        array.SetName(title)
        array.SetNumberOfValues(len(values))
        for row, value in enumerate(values):
            array.SetValue(row, value)
        table.AddColumn(array)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetAndObserveTable(table)
    node.SetLocked(True)


def table_text(node: slicer.vtkMRMLTableNode, *, delimiter: str = "\t") -> str:
    """Return a table as text, for the clipboard (tab) or a CSV file (comma)."""
    import csv
    import io

    table = node.GetTable()
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    writer.writerow(names)
    for row in range(table.GetNumberOfRows()):
        writer.writerow([table.GetValue(row, column).ToString() for column in range(len(names))])
    return text.getvalue()


def unique_titles(runs: Sequence[Run]) -> list[str]:
    """Return engine and preset of each run as column names, numbered when equal."""
    titles: list[str] = []
    for run in runs:
        first = run.short_title or run.title
        title, number = first, 2
        while title in titles or title == BEFORE:
            title, number = f"{first} ({number})", number + 1
        titles.append(title)
    return titles


def _cell(measure: Measure, columns: Sequence[Mapping[str, Any]], index: int) -> str:
    text = measure.text(columns[index].get(measure.name))
    return f"{text} {BEST}" if best_run(measure, columns) == index else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _float(value: Any) -> float:
    return float(value) if _is_number(value) else math.nan


def _array_for(values: Sequence[Any]) -> Any:
    if values and all(isinstance(value, float) for value in values):
        return vtk.vtkDoubleArray()
    if values and all(isinstance(value, int) for value in values):
        return vtk.vtkIntArray()
    return vtk.vtkStringArray()


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
