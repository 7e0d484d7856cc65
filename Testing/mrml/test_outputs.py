"""What is published: right voxels, right places, right references; all of it or nothing; back after reloading."""

from __future__ import annotations

import json
from dataclasses import replace

import mrml_helpers as helpers
import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError
from DeepVsClassicRegLib.core.evaluation.report import read_report, write_report_json
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.transforms.files import write_transform
from DeepVsClassicRegLib.mrml import outputs
from DeepVsClassicRegLib.mrml.geometry import array_of, grid_of
from DeepVsClassicRegLib.mrml.outputs import Targets, complete_run, load_report, load_result, publish
from DeepVsClassicRegLib.mrml.runs import OUTPUT_ROLES, add_views, forget_run, restore_runs, runs, stored_views
from DeepVsClassicRegLib.mrml.snapshot import snapshot


@pytest.fixture
def parameter_node(slicer_scene):
    return slicer_scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")


def hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def test_volumes_are_the_librarys(nodes, result, phantom):
    run = helpers.publish_truth(nodes, result)
    assert np.array_equal(array_of(run.warped), result.evaluation.warped.array)
    assert np.array_equal(array_of(run.jacobian), result.evaluation.jacobian.array)
    for node in (run.warped, run.jacobian):
        assert grid_of(node).same_as(phantom.pair.fixed.grid, tolerance_mm=1e-6)
    points = phantom.pair.fixed_points
    mapped = helpers.transform_of(run.transform, phantom.pair.fixed.grid).apply(points)
    assert np.abs(mapped - phantom.truth.apply(points)).max() < 1e-4


def test_warped_segmentation(nodes, result, phantom):
    run = helpers.publish_truth(nodes, result)
    segmentation = run.warped_labels.GetSegmentation()
    names = [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]
    labels = result.evaluation.warped_labels
    assert names == [labels.names[number] for number in labels.labels]
    moving = nodes.moving_labels.GetSegmentation()
    for name in names:
        ours, original = (item.GetSegment(item.GetSegmentIdBySegmentName(name)) for item in (segmentation, moving))
        assert ours.GetColor() == original.GetColor()
    shown = slicer.util.arrayFromSegmentBinaryLabelmap(run.warped_labels, segmentation.GetNthSegmentID(3), nodes.fixed)
    assert np.array_equal(shown > 0, labels.array == labels.labels[3])


def test_display_is_the_moving_volumes(nodes, result):
    shown = nodes.moving.GetDisplayNode()
    shown.SetWindowLevel(321.0, 123.0)
    display = helpers.publish_truth(nodes, result).warped.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (321.0, 123.0, 0)
    assert display.GetColorNodeID() == shown.GetColorNodeID()


@pytest.mark.parametrize("visible", [True, False])
def test_the_warped_segmentation_is_shown_when_the_moving_one_is(nodes, result, visible):
    nodes.moving_labels.GetDisplayNode().SetVisibility(visible)
    run = helpers.publish_truth(nodes, result)
    assert bool(run.warped_labels.GetDisplayNode().GetVisibility()) is visible
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "chosen")
    chosen.CreateDefaultDisplayNodes()
    run = helpers.publish_truth(nodes, result, targets=Targets(warped_labels=chosen))
    assert chosen.GetDisplayNode().GetVisibility(), "a node the user chose stays as it is"


def test_references_and_names(nodes, result, parameter_node):
    first = helpers.publish_truth(nodes, result, parameter_node=parameter_node)
    second = helpers.publish_truth(nodes, result, parameter_node=parameter_node)
    node = first.transform
    assert node.GetNodeReference(node.GetFixedNodeReferenceRole()) is nodes.fixed
    assert node.GetNodeReference(node.GetMovingNodeReferenceRole()) is nodes.moving
    assert first.title == "Phantom head moving to Phantom head fixed (truth)"
    made = [run.node(role) for run in (first, second) for role in OUTPUT_ROLES]
    assert len({item.GetName() for item in made}) == 10
    assert runs(parameter_node) == [first, second]
    assert first.fixed is nodes.fixed
    assert (first.engine, first.preset, first.short_title) == ("truth", "default", "truth")
    assert first.measures["dice_mean"] > first.measures_before["dice_mean"] + 0.3
    assert first.measures["seconds"] == 1.5


def test_all_outputs_are_in_a_folder_beside_the_moving_volume(nodes, result):
    tree = hierarchy()
    patient = tree.CreateFolderItem(tree.GetSceneItemID(), "patient")
    tree.SetItemParent(tree.GetItemByDataNode(nodes.moving), patient)
    run = helpers.publish_truth(nodes, result)
    folders = {tree.GetItemParent(tree.GetItemByDataNode(run.node(role))) for role in OUTPUT_ROLES}
    assert len(folders) == 1
    folder = folders.pop()
    assert tree.GetItemParent(folder) == patient
    assert tree.GetItemName(folder) == run.title


def test_only_what_is_wanted(nodes, result):
    before = helpers.node_ids()
    run = helpers.publish_truth(nodes, result, targets=Targets(wanted=frozenset({"transform"})))
    assert [role for role in OUTPUT_ROLES if run.node(role) is not None] == ["transform"]
    assert len(helpers.node_ids() - before) == 2  # the transform and the record


def test_chosen_nodes_are_overwritten(nodes, result):
    first = helpers.publish_truth(nodes, result)
    before = helpers.node_ids()
    array_of(first.warped)[:] = 0
    targets = Targets(**{role: first.node(role) for role in OUTPUT_ROLES})
    second = helpers.publish_truth(nodes, result, targets=targets)
    assert second.warped is first.warped
    assert np.array_equal(array_of(second.warped), result.evaluation.warped.array)
    assert len(helpers.node_ids() - before) == 1  # the new record


def test_an_input_is_never_overwritten(nodes, result):
    before = helpers.node_ids()
    with pytest.raises(RegistrationError, match="is the moving volume"):
        helpers.publish_truth(nodes, result, targets=Targets(warped=nodes.moving))
    assert helpers.node_ids() == before


def test_failure_leaves_nothing_behind(nodes, result, monkeypatch):
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "chosen")
    chosen.SetAndObserveImageData(nodes.moving.GetImageData())
    inputs = helpers.inputs_of(nodes)
    shot, loaded = snapshot(inputs), helpers.loaded_of(result)
    before, children = helpers.node_ids(), hierarchy().GetNumberOfItems()

    def fail(*_arguments, **_options):
        raise RuntimeError("no table today")

    monkeypatch.setattr(outputs, "update_measures_table", fail)
    with pytest.raises(RuntimeError, match="no table today"):
        publish(loaded, inputs, shot, targets=Targets(warped=chosen))
    left = [slicer.mrmlScene.GetNodeByID(node_id).GetClassName() for node_id in helpers.node_ids() - before]
    assert set(left) <= {"vtkMRMLScalarVolumeDisplayNode"}  # of the user's own node, which had none
    assert chosen.GetImageData() is nodes.moving.GetImageData()
    assert hierarchy().GetNumberOfItems() == children


def test_inputs_deleted_in_mid_run(nodes, result, parameter_node):
    inputs = helpers.inputs_of(nodes)
    shot = snapshot(inputs)
    for _, node in inputs.given():
        slicer.mrmlScene.RemoveNode(node)
    loaded = helpers.loaded_of(result)
    run = publish(loaded, inputs, shot, parameter_node=parameter_node)
    assert run.fixed is None
    assert np.array_equal(array_of(run.warped), result.evaluation.warped.array)
    assert run.transform.GetNodeReference(run.transform.GetFixedNodeReferenceRole()) is None


def test_forgetting_a_run(nodes, result, parameter_node):
    before, items = helpers.node_ids(), hierarchy().GetNumberOfItems()
    run = helpers.publish_truth(nodes, result, parameter_node=parameter_node)
    forget_run(parameter_node, run, delete_outputs=True)
    left = [slicer.mrmlScene.GetNodeByID(node_id).GetClassName() for node_id in helpers.node_ids() - before]
    assert left == []
    assert hierarchy().GetNumberOfItems() == items
    assert runs(parameter_node) == []
    assert not run.exists


def test_scene_round_trip(nodes, result, phantom, parameter_node, tmp_path):
    helpers.publish_truth(nodes, result, parameter_node=parameter_node, title='Läuft "gut" <50 %>')
    before = runs(parameter_node)[0]
    report, title, places = before.report, before.title, before.locations("structure")
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    found = restore_runs(slicer.mrmlScene.GetFirstNodeByName("parameters"))
    assert len(found) == 1
    run = found[0]
    assert run.report == report
    assert run.title == title
    assert run.fixed.GetName() == "Phantom head fixed"
    assert all(run.node(role) is not None for role in OUTPUT_ROLES)
    # Slicer turns left-handed volumes around when it reads them, so compare by position.
    expected = result.evaluation.warped
    index = np.rint(grid_of(run.warped).point_to_index(expected.grid.points())).astype(int)
    assert np.array_equal(array_of(run.warped)[index[..., 2], index[..., 1], index[..., 0]], expected.array)
    points = phantom.pair.fixed_points
    mapped = helpers.transform_of(run.transform, phantom.pair.fixed.grid).apply(points)
    assert np.abs(mapped - phantom.truth.apply(points)).max() < 1e-4
    segmentation = run.warped_labels.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(result.evaluation.warped_labels.labels)
    assert run.labels[1].name == segmentation.GetNthSegment(0).GetName()
    assert places and run.locations("structure") == places


@pytest.fixture
def folder(result, tmp_path):
    """A job folder as a worker leaves it."""
    from DeepVsClassicRegLib.core.evaluation.make_report import make_report

    out = tmp_path / "out"
    out.mkdir()
    write_transform(result.result.transform, out / "transform.h5")
    write_volume(result.evaluation.warped, out / "warped.nii.gz")
    write_volume(result.evaluation.warped_labels, out / "warped_seg.nii.gz")
    write_volume(result.evaluation.jacobian, out / "jacobian.nii.gz")
    write_report_json(out / "report.json", make_report(result.pair, result.result, result.evaluation))
    files = {
        "transform": "transform.h5",
        "warped": "warped.nii.gz",
        "warped_labels": "warped_seg.nii.gz",
        "jacobian": "jacobian.nii.gz",
        "report": "report.json",
    }
    (tmp_path / "result.json").write_text(json.dumps({"engine": "truth", "files": files}))
    return tmp_path


def test_a_workers_folder_is_published(nodes, result, folder):
    run = helpers.publish_truth(nodes, result, loaded=load_result(folder))
    low, high = result.evaluation.warped.value_range
    assert np.abs(array_of(run.warped) - result.evaluation.warped.array).max() < 1e-5 * (high - low)
    assert run.measures["dice_mean"] == pytest.approx(result.evaluation.after["dice_mean"])
    assert run.warped_labels is not None


def test_the_complete_report_replaces_the_first_one(nodes, result, folder):
    """With the note on matched structures, which only Slicer knows; what else the run has stays."""
    whole = read_report(folder / "out" / "report.json")
    after = {name: value for name, value in whole.measures.after.items() if not name.startswith("hd95")}
    first = replace(whole, missing=("surface",), measures=replace(whole.measures, after=after))
    write_report_json(folder / "out" / "report.json", first)
    (folder / "result.json").rename(folder / "first.json")
    copied = replace(snapshot(helpers.inputs_of(nodes)), matching="Matched by names.")
    run = publish(load_result(folder, file="first.json"), helpers.inputs_of(nodes), copied)
    add_views(run, {"caption": "a view"})
    assert "HD95" in run.missing and "hd95_mm_mean" not in run.measures
    write_report_json(folder / "out" / "report.json", whole)
    (folder / "first.json").rename(folder / "result.json")
    ids, views = helpers.node_ids(), stored_views(run)
    complete_run(run, load_report(folder), copied)
    assert run.missing == "" and run.measures["hd95_mm_mean"] == whole.measures.after["hd95_mm_mean"]
    assert run.typed_report.notes == (*whole.notes, "Matched by names.")
    assert helpers.node_ids() == ids and stored_views(run) == views and run.had("warped")


def test_broken_results_are_file_errors(folder):
    (folder / "out" / "warped.nii.gz").write_bytes(b"not an image")
    with pytest.raises(FileError, match="warped"):
        load_result(folder)
    (folder / "result.json").write_text("{")
    with pytest.raises(FileError, match=r"result\.json"):
        load_result(folder)
    (folder / "result.json").write_text("{}")
    with pytest.raises(FileError, match="no transform"):
        load_result(folder)
