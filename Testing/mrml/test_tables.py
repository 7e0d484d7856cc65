"""Tables and charts say what was measured, mark the best, and clean up after themselves."""

from __future__ import annotations

import csv
import math

import mrml_helpers as helpers
import pytest
import slicer
from DeepVsClassicRegLib.core.evaluation.report import Report
from DeepVsClassicRegLib.mrml.runs import new_record
from DeepVsClassicRegLib.mrml.segmentations import LabelStyle
from DeepVsClassicRegLib.mrml.tables import (
    remove_series,
    table_text,
    update_label_plot,
    update_label_table,
    update_measures_table,
)


def report(engine, dice, ncc, folding, *, labels=None, trace=()):
    return Report.from_json({
        "engine": engine,
        "preset": "default",
        "seconds": {"a": 1.0, "total": 12.34},
        "measures": {
            "before": {"dice_mean": 0.5, "ncc": 0.1, "dice_per_label": {"1": 0.4, "7": None}},
            "after": {"dice_mean": dice, "ncc": ncc, "folding_percent": folding, "dice_per_label": labels or {}},
        },
        "trace": [["stage", index, value] for index, value in enumerate(trace)],
    })  # fmt: skip


@pytest.fixture
def found(slicer_scene):
    styles = {1: LabelStyle("Liver", (1, 0, 0)), 7: LabelStyle("Spleen, left", (0, 1, 0))}
    return [
        new_record("A", report("elastix", 0.81, 0.9, None, labels={"1": 0.8, "7": 0.2}, trace=(3, 2, 1)), {},
                   labels=styles),
        new_record("B", report("ants", 0.82, 0.8, 0.5, labels={"1": 0.7}, trace=(9, 8)), {}),
        new_record("C", report("ants", 0.70, 0.7, 0.1), {}),
    ]  # fmt: skip


def table(scene):
    return scene.AddNewNodeByClass("vtkMRMLTableNode")


def rows_of(node, delimiter=","):
    return list(csv.reader(table_text(node, delimiter=delimiter).splitlines(), delimiter=delimiter))


def test_measures_table(slicer_scene, found):
    node = table(slicer_scene)
    update_measures_table(found, node)
    header, *rows = rows_of(node)
    assert header == ["Measure", "Unit", "Better", "Before", "elastix", "ants", "ants (2)"]
    by_name = {row[0]: row for row in rows}
    assert by_name["Dice, mean over labels"][1:] == ["", "higher is better", "0.500", "0.810", "0.820 ★", "0.700"]
    assert by_name["Folded voxels"][1:] == ["%", "lower is better", "–", "–", "0.500", "0.100 ★"]
    assert by_name["Correlation (NCC)"][2:] == ["", "0.100", "0.900", "0.800", "0.700"]  # neither direction is better
    assert by_name["Time"][4:] == ["12.3", "12.3", "12.3"]  # equal: none is best
    assert "Mutual information" not in by_name


def test_one_run_is_never_the_best(slicer_scene, found):
    node = table(slicer_scene)
    update_measures_table(found[:1], node)
    assert "★" not in table_text(node)


def test_no_run_at_all(slicer_scene):
    node = table(slicer_scene)
    update_measures_table([], node)
    update_label_table([], node)
    assert rows_of(node) == [["Label", "Name", "Before"]]


def test_label_table(slicer_scene, found):
    node = table(slicer_scene)
    update_label_table(found, node)
    header, *rows = rows_of(node)
    assert header == ["Label", "Name", "Before", "elastix", "ants", "ants (2)"]
    assert [row[1] for row in rows] == ["Liver", "Spleen, left"]
    assert [float(value) for value in rows[0][2:5]] == pytest.approx([0.4, 0.8, 0.7])
    assert math.isnan(float(rows[1][4]))


def test_label_plot_is_replaced_not_piled_up(slicer_scene, found):
    chart, node = slicer_scene.AddNewNodeByClass("vtkMRMLPlotChartNode"), table(slicer_scene)
    for _ in range(3):
        update_label_plot(found, chart, node)
    assert chart.GetNumberOfPlotSeriesNodes() == 4
    assert slicer_scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 4
    series = chart.GetNthPlotSeriesNode(1)
    assert (series.GetName(), series.GetYColumnName(), series.GetLabelColumnName()) == ("elastix", "elastix", "Name")
    remove_series(chart)
    assert slicer_scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 0


def test_tables_of_a_real_result(nodes, result):
    run = helpers.publish_truth(nodes, result)
    assert "Landmark error (TRE), mean\tmm\tlower is better" in table_text(run.node("report_table"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    update_label_table([run], node)
    assert "Left hippocampus" in table_text(node)
