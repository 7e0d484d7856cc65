"""Names of nodes: valid as file names on every system, short enough for the corner of a slice view."""

from __future__ import annotations

import re
import zipfile

import mrml_helpers as helpers
import pytest
import slicer
from DeepVsClassicRegLib.core.engines.catalogue import engine_names
from DeepVsClassicRegLib.core.evaluation.views.catalogue import panel_views
from DeepVsClassicRegLib.mrml.display import Inspection
from DeepVsClassicRegLib.mrml.nodes import file_safe, output_name, shortened
from DeepVsClassicRegLib.mrml.outputs import SUFFIXES
from DeepVsClassicRegLib.mrml.runs import OUTPUT_ROLES
from DeepVsClassicRegLib.mrml.tables import update_label_plot

# What Windows refuses: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
FORBIDDEN = re.compile(r'[<>:"/\\\\|?*\x00-\x1f]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
NASTY = ["T1 -> T2", "a<b>c", 'MR: "axial"', "3/4 w\\\\o", "what?*|", "ends with a dot.", "tab\there", "sub-01_T1w"]


def is_valid_on_windows(name: str) -> bool:
    return not FORBIDDEN.search(name) and not RESERVED.fullmatch(name) and name == name.rstrip(". ") and name != ""


@pytest.mark.parametrize("name", NASTY)
def test_outputs_of_volumes_with_any_name(nodes, result, name):
    nodes.moving.SetName(name)
    nodes.fixed.SetName(name[::-1])
    run = helpers.publish_truth(nodes, result)
    made = [run.record, *(run.node(role) for role in OUTPUT_ROLES)]
    assert all(is_valid_on_windows(node.GetName()) for node in made), [node.GetName() for node in made]


def test_what_the_user_calls_a_run(nodes, result):
    run = helpers.publish_truth(nodes, result, title='mine: "1/2" -> 3')
    assert run.title == "mine 1 2 - 3"
    assert run.warped.GetName() == "mine 1 2 - 3 warped"


@pytest.mark.parametrize("engine", engine_names())
@pytest.mark.parametrize("role", ["warped", "jacobian", "uncertainty"])
def test_volumes_fit_into_the_corner_of_a_slice_view(engine, role):
    """Slicer cuts texts beyond 35 characters in the middle; a second run of the same kind ends in _1."""
    name = output_name("A long name of a moving volume", SUFFIXES[role], engine)
    assert engine in name and SUFFIXES[role] in name
    limit = 35 if role == "uncertainty" else 33  # few engines give it
    assert len(f"F: {name} (50%)") <= limit + 2


def test_the_name_of_the_moving_volume_is_shortened_to_fit():
    assert output_name("MR 2", "warped", "elastix") == "MR 2 warped elastix"
    assert output_name("Patient 7 follow-up", "warped", "ants") == "Patient 7 warped ants"
    assert shortened("Patient seven", 6) == ""
    assert file_safe("CT  <1>. ") == "CT 1"


def test_files_in_a_bundle_are_valid_on_windows(nodes, result, tmp_path):
    nodes.moving.SetName('a -> "b"')
    runs = [helpers.publish_truth(nodes, result) for _ in range(2)]
    nodes.moving.SetName("moving")  # the user's own names are the user's
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    update_label_plot(runs, chart, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "table"))
    inspection = Inspection()
    path = tmp_path / "scene.mrb"
    for view in panel_views():
        if view.name != "error":  # no error was estimated
            inspection.show(runs[0], view.name)
    assert slicer.mrmlScene.WriteToMRB(str(path), None)
    inspection.close()
    with zipfile.ZipFile(path) as bundle:
        members = bundle.namelist()
    assert len(members) > 15
    for member in members:
        assert all(is_valid_on_windows(part) and "%" not in part for part in member.rstrip("/").split("/")), member
