"""Slicer's own displayable managers survive what the library does to nodes; a crash ends a child process only."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

CHILD = """
import faulthandler
faulthandler.enable()
from slicer_standin.boot import boot
slicer = boot()
import mrml_helpers as helpers
from DeepVsClassicRegLib.mrml.display import Inspection
from DeepVsClassicRegLib.core.evaluation.views.catalogue import panel_views
from DeepVsClassicRegLib.mrml.sample_data import add_phantom

phantom = helpers.oblique_phantom()
nodes, result = add_phantom(phantom), helpers.true_result(phantom)
run = helpers.publish_truth(nodes, result)
layout = Inspection()
layout.show(run, "side-by-side")
layout.close()
user_nodes = helpers.node_ids()  # the views of a layout stay in the scene, as those of Slicer's own layouts do
inspection = Inspection()
for _round in range(2):
    for mode in {modes}:
        inspection.show(run, mode)
        slicer.app.processEvents()
for mode in ({end}):
    inspection.show(run, mode)
    slicer.app.processEvents()
print("looked", flush=True)
for node in (nodes.fixed_labels, nodes.moving_labels, run.warped_labels):
    node.SetName("renamed " + node.GetName())
    node.GetSegmentation().GetNthSegment(0).SetName("renamed")
    node.GetSegmentation().AddEmptySegment("another")
    node.GetDisplayNode().SetVisibility2DFill(False)
print("changed", flush=True)
assert slicer.util.saveScene({path!r})
print("saved", flush=True)
inspection.close()
made = {{name for name in helpers.node_ids() - user_nodes if "Storage" not in name}}
assert not made, made
for node in (nodes.fixed_labels, run.warped_labels):
    slicer.mrmlScene.RemoveNode(node)
slicer.app.processEvents()
slicer.mrmlScene.Clear(0)
slicer.app.processEvents()
print("closed", flush=True)
"""


@pytest.mark.parametrize(
    ("modes", "end"),
    [("['contours', 'blend']", ""), ("[view.name for view in panel_views() if view.name != 'error']", "'contours',")],
    ids=["contours then blend", "every mode, contours still shown"],
)
def test_segmentations_change_and_are_saved_after_a_view_is_closed(tmp_path, modes, end):
    path = tmp_path / "scene.mrb"
    program = CHILD.format(modes=modes, end=end, path=str(path))
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
    )
    problem = child.stderr.partition("Extension modules")[0]
    assert child.returncode == 0, f"exit {child.returncode} after {child.stdout.split()}: {problem}"
    assert child.stdout.split() == ["looked", "changed", "saved", "closed"]
    with zipfile.ZipFile(path) as bundle:
        scene = next(name for name in bundle.namelist() if name.endswith(".mrml"))
        assert b"Comparison" not in bundle.read(scene)
        assert not [name for name in bundle.namelist() if "Comparison" in name]
