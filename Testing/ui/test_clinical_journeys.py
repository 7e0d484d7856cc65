"""A clinician's ways through the panel by clicks, with the real worker: repair, lesion, breathing, everything moves."""

from __future__ import annotations

import time

import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.core.phantom.breathing import make_breathing
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom
from DeepVsClassicRegLib.mrml.inputs import Inputs
from DeepVsClassicRegLib.mrml.nodes import add_labels, add_volume
from DeepVsClassicRegLib.mrml.sample_data import add_phantom
from panel_helpers import choose, settle, shown, wait

pytestmark = pytest.mark.slow
TO_LPS = np.array([-1.0, -1.0, 1.0])
LONG_S = 900


@pytest.fixture
def head(widget, panel, ui):
    """A generated head pair of 3 mm voxels in the scene and selected; its exact map."""
    made = make_phantom("head", size=64, seed=3)
    nodes = add_phantom(made)
    panel.inputs.pick(Inputs(fixed=nodes.fixed, moving=nodes.moving))
    return made, nodes


def register(panel, ui, engine):
    choose(ui.engineCombo, engine)
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    wait(lambda: not panel.busy, LONG_S)
    assert panel.results.run is not None, ui.stageLabel.text
    return panel.results.run


def mapped(run, points):
    """Return LPS points of the fixed volume mapped by a run's transform node."""
    mapping = run.transform.GetTransformFromParent()
    return np.array([mapping.TransformPoint(point) for point in (points * TO_LPS).tolist()]) * TO_LPS


def pulled(run, points):
    """Return LPS points of the fixed volume that a run maps to points of the moving one."""
    mapping = run.transform.GetTransformToParent()
    return np.array([mapping.TransformPoint(point) for point in (points * TO_LPS).tolist()]) * TO_LPS


def test_a_wrong_place_is_repaired_with_three_pairs_of_points(panel, ui, head):
    made, _nodes = head
    run = register(panel, ui, "linear")
    inside = made.pair.fixed_labels.array[::2, ::2, ::2] > 0
    points = made.pair.fixed.grid.points()[::2, ::2, ::2][inside]
    truth = made.truth.apply(points)
    error = np.linalg.norm(mapped(run, points) - truth, axis=1)
    center = points[int(error.argmax())]
    near = np.linalg.norm(points - center, axis=1) < 10
    assert near.sum() >= 3 and error[near].mean() > 3
    # The user sees a structure at a place of the fixed volume, and where the warped volume shows it.
    ui.repairButton.collapsed = False
    settle()
    pairs = points[near][:: max(1, int(near.sum()) // 3)][:3]
    shown_at = pulled(run, made.truth.apply(pairs))
    for number, (place, there) in enumerate(zip(pairs * TO_LPS, shown_at * TO_LPS, strict=True)):
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.JumpSliceByCentering(*place.tolist())
        ui.repairAddButton.click()
        panel.repair.pairs.fixed.SetNthControlPointPositionWorld(number, *place.tolist())
        panel.repair.pairs.warped.SetNthControlPointPositionWorld(number, *there.tolist())
        settle()
    ui.repairRegisterButton.click()
    wait(lambda: not panel.busy, LONG_S)
    repaired = panel.results.run
    assert repaired is not run and repaired.base == run
    left = np.linalg.norm(mapped(repaired, points[near]) - truth[near], axis=1)
    assert left.mean() < 2 < error[near].mean()
    ui.repairUndoButton.click()
    assert panel.results.run == run
    ui.repairRedoButton.click()
    assert panel.results.run == repaired


def test_a_lesion_is_excluded_and_the_verdict_still_comes(panel, ui, head):
    made, nodes = head
    fixed = nodes.fixed
    array = slicer.util.arrayFromVolume(fixed)
    grid = made.pair.fixed.grid
    ball = np.linalg.norm(grid.points() - np.array([25.0, 10.0, 20.0]), axis=-1) < 12
    array[ball] = float(np.percentile(array, 99.5))
    slicer.util.arrayFromVolumeModified(fixed)
    lesion = made.pair.fixed_labels
    mask = add_labels(type(lesion)(ball.astype(np.int32), grid, name="Lesion"), "Lesion", reference=fixed)
    ui.moreInputsButton.collapsed = False
    ui.fixedExcludedSelector.setCurrentNode(mask)
    run = register(panel, ui, "instance")
    inside = (made.pair.fixed_labels.array > 0) & ~ball
    points = grid.points()[inside][::40]
    error = np.linalg.norm(mapped(run, points) - made.truth.apply(points), axis=1)
    around = np.linalg.norm(points - np.array([25.0, 10.0, 20.0]), axis=1) < 22
    assert around.sum() > 20 and error[around].mean() < 2 and error.mean() < 2
    assert ui.verdictLabel.text


def test_everything_drawn_on_the_moving_side_comes_along(panel, ui, head):
    _made, nodes = head
    register(panel, ui, "instance")
    ui.applyButton.collapsed = False
    settle()
    for node in (nodes.moving, nodes.moving_points, nodes.moving_labels):
        panel.apply.check(node.GetName())
    ui.applyNowButton.click()
    wait(lambda: not panel.busy, LONG_S)
    assert "Applied to 3 of 3 objects" in ui.applyMessageLabel.text
    points = slicer.util.getNode(f"{nodes.moving_points.GetName()} on {nodes.fixed.GetName()}")
    for number in range(points.GetNumberOfControlPoints()):
        found, wanted = (list(node.GetNthControlPointPositionWorld(number)) for node in (points, nodes.fixed_points))
        assert np.linalg.norm(np.subtract(found, wanted)) < 4


@pytest.fixture
def breathing(widget):
    """A sequence of ten volumes as Slicer loads a 4D volume."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Breathing")
    for number, frame in enumerate(make_breathing(10, size=48).frames):
        volume = add_volume(frame)
        sequence.SetDataNodeAtValue(volume, str(number))
        slicer.mrmlScene.RemoveNode(volume)
    return sequence


def test_breathing_is_corrected_and_plays(panel, ui, breathing):
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: shown(ui.motionButton))
    ui.motionButton.collapsed = False
    ui.motionNowButton.click()
    wait(lambda: not panel.busy, LONG_S)
    assert "plays in the sequence browser" in ui.motionMessageLabel.text, ui.motionMessageLabel.text
    table = next(iter(slicer.util.getNodesByClass("vtkMRMLTableNode")))
    before, after = ([float(table.GetCellText(row, column)) for row in range(1, 10)] for column in (4, 5))
    assert np.mean(after) > np.mean(before)


def test_a_cancel_in_the_middle_keeps_the_finished_frames(panel, ui, breathing):
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: shown(ui.motionButton))
    ui.motionButton.collapsed = False
    ui.motionWorkersSpin.value = 2
    ui.motionNowButton.click()
    wait(lambda: "frame 4" in ui.motionMessageLabel.text.lower(), LONG_S)
    begun = time.perf_counter()
    ui.motionNowButton.click()
    wait(lambda: not panel.busy, LONG_S)
    print(f"panel free {time.perf_counter() - begun:.2f} s after the cancel: {ui.motionMessageLabel.text}")
    motion = next(n for n in slicer.util.getNodesByClass("vtkMRMLSequenceNode") if n.GetName() == "Breathing motion")
    assert 2 <= motion.GetNumberOfDataNodes() < 10
    assert f"{motion.GetNumberOfDataNodes()} finished frames are kept" in ui.motionMessageLabel.text
