"""The recommendation as table and plot nodes: expected quality and time of each engine, and the MI-Dice plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.settings import DEFAULT, Choice
from .tables import COLORS, FADED, add_series, fill_table, remove_series, set_titles

UNKNOWN = "–"
CASE_COLOR = (0.80, 0.15, 0.15)
LABEL_COLOR = (0.25, 0.25, 0.25)
TITLE_SIZE, TEXT_SIZE = 14, 11


def expectations(advice: Mapping[str, Any], titles: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (engine, Dice band, seconds) of every engine with an expectation, the recommended one first.

    Parameters
    ----------
    advice : mapping
        `Advice.to_json()`.
    titles : mapping of str to str
        Engine name -> title shown to users.
    """
    bands, seconds = advice.get("predicted_dice") or {}, advice.get("seconds") or {}
    first = entry_of(advice)
    rows = []
    for entry in dict.fromkeys([first, *filter(None, [advice.get("runner_up")]), *bands, *seconds]):
        rows.append((entry_title(entry, titles), band_text(bands.get(entry)), seconds_text(seconds.get(entry))))
    return rows


def entry_of(advice: Mapping[str, Any]) -> str:
    """Return the recommendation as 'engine' or 'engine:preset'."""
    return str(Choice(advice["engine"], advice["preset"]))


def entry_title(entry: str, titles: Mapping[str, str]) -> str:
    """Return the title shown to users for 'engine' or 'engine:preset'."""
    choice = Choice.parse(entry)
    title = titles.get(choice.engine, choice.engine)
    return title if choice.preset == DEFAULT else f"{title} ({choice.preset})"


def band_text(band: Mapping[str, float] | None) -> str:
    """Return the text of a predicted Dice and its band."""
    return f"{band['low']:.2f}–{band['high']:.2f}" if band else UNKNOWN


def seconds_text(seconds: float | None) -> str:
    """Return the text of an expected time, rounded to its accuracy."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return _("under 1 s")
    if seconds < 90:
        return _("{count} s").format(count=round(seconds))
    return _("{count} min").format(count=round(seconds / 60))


def update_advice_table(node: slicer.vtkMRMLTableNode, advice: Mapping[str, Any], titles: Mapping[str, str]) -> None:
    """Fill a table with the expected Dice and time of each engine."""
    rows = expectations(advice, titles)
    columns = (_("Engine"), _("Expected Dice"), _("Time"))
    fill_table(node, {column: [row[index] for row in rows] for index, column in enumerate(columns)})


def update_advice_plot(
    plot: Mapping[str, Any], chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode
) -> None:
    """Plot the calibration curve with its band, the pairs it was fitted on, this pair and its labels.

    Parameters
    ----------
    plot : mapping
        `Advice.to_json()['plot']`.
    chart : vtkMRMLPlotChartNode
        Its series are replaced.
    table : vtkMRMLTableNode
        Receives all points; missing values are NaN.
    """
    curve, labels, case = plot["curve"], plot["labels"], plot.get("case")
    measured = plot.get("measured") or []
    pieces: list[tuple[str, Sequence[float], Sequence[float], dict[str, Any]]] = [
        (_("Lower limit"), _shares(curve), _dice(curve, "low"), _line(COLORS[5], dashed=True)),
        (_("Upper limit"), _shares(curve), _dice(curve, "high"), _line(COLORS[5], dashed=True)),
        (_("Expected"), _shares(curve), _dice(curve, "mean"), _line(COLORS[0])),
        (_("Measured pairs"), [point[0] for point in measured], [point[1] for point in measured], _dots(FADED, 5)),
        (_("Structures"), _shares(labels), _dice(labels, "mean"), _dots(LABEL_COLOR, 6)),
    ]
    if case:
        pieces.append((_("This pair"), _shares([case]), _dice([case], "mean"), _dots(CASE_COLOR, 14, diamond=True)))
    pieces = [piece for piece in pieces if len(piece[1])]
    length = max((len(piece[1]) for piece in pieces), default=0)
    columns = {}
    for title, shares, dice, _look in pieces:
        columns[f"{title}, x"] = _padded(shares, length)
        columns[title] = _padded(dice, length)
    fill_table(table, columns)
    remove_series(chart)
    for piece in pieces:
        _draw(chart, table, piece[0], piece[3])
    set_titles(chart, _("Expected overlap"), plot["x_title"], plot["y_title"])
    for axis in (chart.SetXAxisRangeAuto, chart.SetYAxisRangeAuto):
        axis(False)
    chart.SetXAxisRange(0.0, 1.0)
    chart.SetYAxisRange(0.0, 1.0)
    chart.SetTitleFontSize(TITLE_SIZE)
    for set_size in (chart.SetAxisTitleFontSize, chart.SetAxisLabelFontSize, chart.SetLegendFontSize):
        set_size(TEXT_SIZE)


def _draw(chart: Any, table: Any, title: str, look: Mapping[str, Any]) -> None:
    series = add_series(chart, table, title, look["color"])
    series.SetPlotType(series.PlotTypeScatter)
    series.SetXColumnName(f"{title}, x")
    series.SetYColumnName(title)
    if look["size"]:
        series.SetLineStyle(series.LineStyleNone)
        series.SetMarkerStyle(series.MarkerStyleDiamond if look["diamond"] else series.MarkerStyleCircle)
        series.SetMarkerSize(look["size"])
        return
    series.SetMarkerStyle(series.MarkerStyleNone)
    series.SetLineStyle(series.LineStyleDash if look["dashed"] else series.LineStyleSolid)
    series.SetLineWidth(2)


def _line(color: tuple[float, float, float], *, dashed: bool = False) -> dict[str, Any]:
    return {"color": color, "size": 0, "dashed": dashed, "diamond": False}


def _dots(color: tuple[float, float, float], size: int, *, diamond: bool = False) -> dict[str, Any]:
    return {"color": color, "size": size, "dashed": False, "diamond": diamond}


def _shares(points: Sequence[Mapping[str, Any]]) -> list[float]:
    return [float(point["share"]) for point in points]


def _dice(points: Sequence[Mapping[str, Any]], which: str) -> list[float]:
    return [float(point["dice"][which]) for point in points]


def _padded(values: Sequence[float], length: int) -> list[float]:
    return [*map(float, values), *([math.nan] * (length - len(values)))]
