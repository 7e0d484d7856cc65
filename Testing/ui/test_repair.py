"""A run is repaired around pairs of points by clicks and from Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from panel_helpers import settle, shown, wait


@pytest.fixture
def opened(panel, finish, ui):
    """A finished run with the section open."""
    run = finish()
    ui.resultButton.collapsed = False
    ui.repairButton.collapsed = False
    settle()
    return run


def world(node) -> np.ndarray:
    return np.array([list(node.GetNthControlPointPositionWorld(n)) for n in range(node.GetNumberOfControlPoints())])


def drag(node, index, offset) -> None:
    node.SetNthControlPointPositionWorld(index, *(world(node)[index] + offset))
    settle()


def previews() -> list:
    return [node for node in slicer.util.getNodesByClass("vtkMRMLTransformNode") if "Preview" in node.GetName()]


def repair(panel, ui, fake) -> dict:
    """Press the button, let the fake worker finish, and return the job."""
    count = len(fake.processes)
    ui.repairRegisterButton.click()
    wait(lambda: len(fake.processes) > count and panel.runner.current.state == "computing")
    job = json.loads((fake.processes[-1].folder / "job.json").read_text(encoding="utf-8"))
    job["points"] = {
        role: np.loadtxt(
            fake.processes[-1].folder / job["inputs"][role], delimiter=",", skiprows=1, usecols=(-3, -2, -1)
        )
        for role in ("fixed_points", "moving_points")
    }
    fake.processes[-1].finish()
    wait(lambda: not panel.busy)
    return job


def test_there_is_nothing_to_repair_before_a_run(panel, pair, ui):
    assert not shown(ui.repairButton)


def test_pairs_are_added_where_the_views_meet_and_removed(panel, opened, ui):
    assert shown(ui.repairButton) and not ui.repairRegisterButton.enabled
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.JumpSliceByCentering(11.0, -7.0, 5.0)
    ui.repairAddButton.click()
    pairs = panel.repair.pairs
    np.testing.assert_allclose(world(pairs.fixed), [[11.0, -7.0, 5.0]], atol=1e-6)
    np.testing.assert_allclose(world(pairs.warped), world(pairs.fixed), atol=1e-9)
    assert ui.repairRegisterButton.enabled and "1" in ui.repairMessageLabel.text
    # A click of the mouse in place mode defines a point F; its partner follows.
    pairs.fixed.AddControlPointWorld(0.0, 1.0, 2.0)
    settle()
    assert pairs.count == 2 and pairs.warped.GetNumberOfControlPoints() == 2
    ui.repairRemoveButton.click()
    ui.repairRemoveButton.click()
    settle()
    assert pairs.count == 0 and not ui.repairRegisterButton.enabled


def test_the_preview_follows_the_points_and_leaves_nothing(panel, opened, ui):
    ui.repairAddButton.click()
    ui.repairPreviewButton.checked = True
    settle()
    pairs, (preview,) = panel.repair.pairs, previews()
    assert opened.warped.GetParentTransformNode() is preview and panel.qa.view == "blend"
    drag(pairs.warped, 0, np.array([4.0, 0.0, 0.0]))
    at = world(pairs.fixed)[0]
    moved = np.array(preview.GetTransformFromParent().TransformPoint(at.tolist()))
    np.testing.assert_allclose(moved, at + np.array([4.0, 0.0, 0.0]), atol=1e-4)
    ui.repairPreviewButton.checked = False
    settle()
    assert not previews() and opened.warped.GetParentTransformNode() is None
    ui.repairPreviewButton.checked = True
    panel.results.choose(opened)
    panel.repair.close()
    assert not previews() and opened.warped.GetParentTransformNode() is None
    assert panel.repair.pairs is None and not slicer.util.getNodes(f"{opened.title} [FW]")


def test_a_repair_starts_from_the_run_with_the_points_as_landmarks(panel, opened, ui, fake, picked):
    ui.repairAddButton.click()
    pairs = panel.repair.pairs
    drag(pairs.warped, 0, np.array([0.0, 5.0, 0.0]))
    fixed, warped = world(pairs.fixed), world(pairs.warped)
    job = repair(panel, ui, fake)
    assert (job["engine"], job["preset"]) == ("instance", "repair") and "initial" in job["inputs"]
    lps = np.array([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(job["points"]["fixed_points"], (fixed * lps)[0], atol=1e-3)
    wanted = opened.transform.GetTransformFromParent().TransformPoint(warped[0].tolist())
    np.testing.assert_allclose(job["points"]["moving_points"], np.array(wanted) * lps, atol=1e-3)
    first, second = panel.results.runs
    assert first == opened and second.base == opened and panel.results.run == second
    assert panel.repair.pairs is None and second.node("fixed_points").GetNumberOfControlPoints() == 1


def test_steps_are_undone_redone_and_compared(panel, opened, ui, fake):
    assert not ui.repairUndoButton.enabled and not ui.repairRedoButton.enabled and not ui.repairBeforeButton.enabled
    ui.repairAddButton.click()
    repair(panel, ui, fake)
    repaired = panel.results.run
    panel.qa.show("blend")
    wait(lambda: not panel.busy)
    ui.repairBeforeButton.checked = True
    wait(lambda: not panel.busy)
    assert panel.qa.inspection.run == opened and panel.results.run == repaired
    ui.repairBeforeButton.checked = False
    wait(lambda: not panel.busy)
    assert panel.qa.inspection.run == repaired
    ui.repairUndoButton.click()
    assert panel.results.run == opened and not ui.repairUndoButton.enabled and ui.repairRedoButton.enabled
    ui.repairRedoButton.click()
    assert panel.results.run == repaired and not ui.repairRedoButton.enabled


def test_a_deleted_transform_is_reported(panel, opened, ui):
    ui.repairAddButton.click()
    slicer.mrmlScene.RemoveNode(opened.transform)
    ui.repairRegisterButton.click()
    assert "was deleted" in ui.repairMessageLabel.text


def test_closing_the_scene_meanwhile(panel, opened, ui):
    ui.repairAddButton.click()
    ui.repairPreviewButton.checked = True
    slicer.mrmlScene.Clear(0)
    settle()
    assert panel.repair.pairs is None and not shown(ui.repairButton)


def test_excluded_regions_and_rigid_bodies_reach_the_worker(panel, picked, ui, fake):
    import SimpleITK as sitk

    segment = ui.fixedExcludedSegmentCombo
    ui.fixedExcludedSelector.setCurrentNode(picked.fixed_labels)
    ui.movingRigidSelector.setCurrentNode(picked.moving_labels)
    settle()
    segment.currentIndex = 1
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    process = fake.process
    wait(lambda: panel.runner.current.state == "computing")
    inputs = json.loads((process.folder / "job.json").read_text(encoding="utf-8"))["inputs"]
    read = {
        role: sitk.GetArrayFromImage(sitk.ReadImage(str(process.folder / inputs[role])))
        for role in inputs
        if "points" not in role
    }
    count = picked.fixed_labels.GetSegmentation().GetNumberOfSegments()
    assert set(np.unique(read["fixed_excluded"])) == {0, 1}
    assert 0 < read["fixed_excluded"].sum() < (read["fixed_labels"] > 0).sum()
    assert set(np.unique(read["moving_rigid"])) == set(range(count + 1))
