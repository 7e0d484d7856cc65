"""What the worker reads is what Slicer shows: geometry, segments, landmarks, initial transform."""

from __future__ import annotations

import threading

import mrml_helpers as helpers
import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.core.api import load_pair
from DeepVsClassicRegLib.core.errors import FileError
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform
from DeepVsClassicRegLib.mrml.geometry import array_of, flipped_matrix, image_of, to_vtk
from DeepVsClassicRegLib.mrml.problems import problems
from DeepVsClassicRegLib.mrml.segmentations import Entry, LabelStyle, numbering
from DeepVsClassicRegLib.mrml.snapshot import snapshot, snapshot_steps

TURN = Affine.about([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [5, 0, 0], [10, -20, 5])


def load(inputs, folder):
    files = snapshot(inputs).write(folder)
    return load_pair(**{role: folder / name for role, name in files.items()})


def under(nodes, affine):
    """Put the moving nodes under a transform whose to-parent map is this one of LPS points."""
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    parent.SetMatrixTransformToParent(to_vtk(flipped_matrix(affine.homogeneous)))
    for node in (nodes.moving, nodes.moving_labels, nodes.moving_points):
        node.SetAndObserveTransformNodeID(parent.GetID())


def test_everything_arrives(nodes, phantom, tmp_path):
    pair = load(helpers.inputs_of(nodes), tmp_path)
    expected = phantom.pair
    for side in ("fixed", "moving"):
        volume, original = getattr(pair, side), getattr(expected, side)
        assert volume.grid.same_as(original.grid, tolerance_mm=1e-6)
        assert np.array_equal(volume.array, original.array)
        labels, drawn = getattr(pair, f"{side}_labels"), getattr(expected, f"{side}_labels")
        numbers = np.searchsorted(drawn.labels, drawn.array) + 1
        assert np.array_equal(labels.array, np.where(drawn.array > 0, numbers, 0))
        assert np.allclose(getattr(pair, f"{side}_points"), getattr(expected, f"{side}_points"), atol=1e-4)


def test_linear_parent_transforms_are_hardened(nodes, phantom, tmp_path):
    under(nodes, TURN)
    pair = load(helpers.inputs_of(nodes), tmp_path)
    grid = phantom.pair.moving.grid
    corners = [[0, 0, 0], [3, 4, 5], list(grid.size)]
    assert np.allclose(pair.moving.grid.index_to_point(corners), TURN.apply(grid.index_to_point(corners)), atol=1e-4)
    assert np.allclose(pair.moving_points, TURN.apply(phantom.pair.moving_points), atol=1e-3)
    # The segmentation was hardened alike, so it still sits on its voxels.
    assert np.array_equal(pair.moving_labels.array > 0, phantom.pair.moving_labels.array > 0)


def test_names_decide_which_segments_correspond(nodes, phantom, tmp_path):
    segmentation = nodes.moving_labels.GetSegmentation()
    first = segmentation.GetNthSegmentID(0)
    segmentation.ReorderSegments([first], "")  # to the end
    shot = snapshot(helpers.inputs_of(nodes))
    shot.write(tmp_path)
    named = shot.label_names
    pair = load(helpers.inputs_of(nodes), tmp_path)
    names = phantom.pair.fixed_labels.names
    for number, title in named.items():
        original = next(label for label, name in names.items() if name == title)
        for side in ("fixed", "moving"):
            drawn = getattr(phantom.pair, f"{side}_labels").array == original
            assert np.array_equal(getattr(pair, f"{side}_labels").array == int(number), drawn)


def test_one_chosen_segment_each(nodes, phantom, tmp_path):
    ids = [side.GetSegmentation().GetNthSegmentID(index) for side, index in
           ((nodes.fixed_labels, 2), (nodes.moving_labels, 5))]  # fmt: skip
    pair = load(helpers.inputs_of(nodes, fixed_segment=ids[0], moving_segment=ids[1]), tmp_path)
    assert pair.fixed_labels.labels == pair.moving_labels.labels == (1,)
    original = phantom.pair.moving_labels
    assert np.array_equal(pair.moving_labels.array == 1, original.array == original.labels[5])


def test_segmentation_on_another_grid(nodes, phantom, tmp_path):
    """A segmentation drawn on the moving volume serves as fixed one: it is resampled by nearest neighbor."""
    from DeepVsClassicRegLib.core.images.resample import warp_labels

    pair = load(helpers.inputs_of(nodes, fixed_labels=nodes.moving_labels, moving_labels=nodes.fixed_labels), tmp_path)
    expected = warp_labels(phantom.pair.moving_labels, phantom.pair.fixed.grid).array
    assert pair.fixed_labels.grid.same_as(phantom.pair.fixed.grid)
    assert (np.asarray(pair.fixed_labels.array > 0) != (expected > 0)).mean() < 1e-3


def test_surface_segmentation_is_converted(nodes, phantom, tmp_path):
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(nodes.fixed)
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(40)
    sphere.SetThetaResolution(40)
    sphere.SetPhiResolution(40)
    sphere.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", (1, 0, 0))
    pair = load(helpers.inputs_of(nodes, fixed_mask=node), tmp_path)
    volume = pair.fixed_mask.mask().sum() * pair.fixed.grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.1)


def test_masks_have_one_label(nodes, phantom, tmp_path):
    pair = load(helpers.inputs_of(nodes, moving_mask=nodes.moving_labels), tmp_path)
    assert pair.moving_mask.labels == (1,)
    assert np.array_equal(pair.moving_mask.mask(), phantom.pair.moving_labels.mask())


def test_label_map_volumes_keep_their_values(nodes, phantom, tmp_path):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    labels.CopyOrientation(nodes.fixed)
    labels.SetAndObserveImageData(image_of(phantom.pair.fixed_labels.array.astype(np.int16)))
    pair = load(helpers.inputs_of(nodes, fixed_labels=labels), tmp_path)
    assert np.array_equal(pair.fixed_labels.array, phantom.pair.fixed_labels.array)


def test_numbering_of_mixed_sides():
    def entry(name, segment="", value=0):
        return Entry(LabelStyle(name, (1, 1, 1)), segment, value)

    fixed = [entry("Left Liver", value=7), entry("Spleen", value=3)]
    moving = [entry("tumor", "a"), entry("left_liver", "b"), entry("Tumor", "c")]
    found = numbering(fixed, moving)
    assert found.shared == {7}
    assert found.moving[moving[1]] == 7
    assert len(set(found.moving.values())) == 3
    assert found.labels[7].name == "left_liver"


def a_label_map(like, labels, *, generic_colors=False):
    """Add a label map volume, as Slicer exports a segmentation, without or with Slicer's generic color names."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "exported")
    node.CopyOrientation(like)
    node.SetAndObserveImageData(image_of(labels.array.astype(np.int16)))
    if generic_colors:
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeLabels")
    return node


@pytest.mark.parametrize("generic_colors", [False, True])
@pytest.mark.parametrize("map_side", ["fixed", "moving"])
def test_a_segmentation_meets_a_label_map_of_the_same_labels(nodes, phantom, result, map_side, generic_colors):
    """The segmentation has names, the label map only values: they are matched by value, and the user is notified."""
    labels = getattr(phantom.pair, f"{map_side}_labels")
    exported = a_label_map(getattr(nodes, map_side), labels, generic_colors=generic_colors)
    inputs = helpers.inputs_of(nodes, **{f"{map_side}_labels": exported})
    shot = snapshot(inputs)
    names = {number: style.name for number, style in shot.labels.items()}
    assert names == {number: phantom.pair.fixed_labels.names[number] for number in labels.labels}
    assert "matched by label value" in shot.matching
    (note,) = [problem for problem in problems(inputs) if problem.role == "moving_labels"]
    assert note.severity == "note" and note.message == shot.matching
    run = helpers.publish_truth(nodes, result, inputs=inputs)
    assert shot.matching in run.report["notes"]


def test_both_sides_measure_the_same_structures(nodes, phantom, tmp_path):
    exported = a_label_map(nodes.fixed, phantom.pair.fixed_labels)
    pair = load(helpers.inputs_of(nodes, fixed_labels=exported), tmp_path)
    assert np.array_equal(pair.fixed_labels.array, phantom.pair.fixed_labels.array)
    assert np.array_equal(pair.moving_labels.array, phantom.pair.moving_labels.array)


def an_entry(name, segment="", value=0):
    return Entry(LabelStyle(name, (1, 1, 1)), segment, value)


@pytest.mark.parametrize("name", ["Label 3", "label_3", "Segment_3", "Segment 3", "3", " 003 ", "Region-3"])
def test_generic_names_are_matched_by_value(name):
    fixed = [an_entry("Liver", "a", 3), an_entry("Spleen", "b", 4)]
    moving = [an_entry(name, "x", 3), an_entry("Spleen", "y", 9)]
    found = numbering(fixed, moving)
    assert found.fixed[fixed[0]] == found.moving[moving[0]]
    assert found.fixed[fixed[1]] == found.moving[moving[1]]
    assert found.by_value == ("Liver",) and "Liver" in found.matching
    assert found.labels[found.fixed[fixed[0]]].name == "Liver"


@pytest.mark.parametrize("name", ["Tumor", "T3", "Liver segment 3", "Lobe 3b"])
def test_names_that_mean_something_are_not_matched_by_value(name):
    fixed = [an_entry("Liver", "a", 3), an_entry("Spleen", "b", 4)]
    moving = [an_entry(name, "x", 3), an_entry("Kidney", "y", 4)]
    found = numbering(fixed, moving)
    assert not found.shared and not found.by_value and not found.matching


def test_a_name_goes_before_a_value():
    fixed = [an_entry("Segment_1", "a", 2), an_entry("Segment_2", "b", 1)]
    moving = [an_entry("Segment_1", "x", 1), an_entry("Segment_2", "y", 2)]
    found = numbering(fixed, moving)
    assert [found.fixed[entry] for entry in fixed] == [found.moving[entry] for entry in moving]
    assert not found.by_value


def test_values_shared_by_several_segments_are_not_used_for_matching():
    """Segments in layers of their own all have the value 1."""
    fixed = [an_entry("Liver", "a", 1), an_entry("Spleen", "b", 1)]
    moving = [an_entry("Segment_1", "x", 1), an_entry("Segment_2", "y", 2)]
    assert not numbering(fixed, moving).shared


def test_a_single_segment_and_a_single_label_are_the_same_structure():
    fixed, moving = [an_entry("Liver", value=5)], [an_entry("Organ", "x", 1)]
    found = numbering(fixed, moving)
    assert found.fixed[fixed[0]] == found.moving[moving[0]] == 5


def test_initial_transform_chain_is_flattened(nodes, phantom, tmp_path):
    inner = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    outer = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    helpers.set_transform(inner, phantom.truth)
    helpers.set_transform(outer, Transform((TURN,)))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    pair = load(helpers.inputs_of(nodes, initial=inner), tmp_path)
    expected = Transform.of([TURN, phantom.truth])
    points = phantom.pair.fixed_points
    inside = phantom.pair.fixed.grid.contains(TURN.apply(points))
    assert inside.any()
    assert np.abs(pair.initial.apply(points[inside]) - expected.apply(points[inside])).max() < 1e-3


def test_a_snapshot_does_not_depend_on_the_scene(nodes, phantom, tmp_path):
    shot = snapshot(helpers.inputs_of(nodes))
    array_of(nodes.moving)[:] = 0
    slicer.mrmlScene.Clear(0)
    written = []
    thread = threading.Thread(target=lambda: written.append(shot.write(tmp_path)))
    thread.start()
    thread.join(20)
    pair = load_pair(**{role: tmp_path / name for role, name in written[0].items()})
    assert np.array_equal(pair.moving.array, phantom.pair.moving.array)


def test_copying_is_done_in_steps(nodes):
    steps = snapshot_steps(helpers.inputs_of(nodes))
    roles = []
    while True:
        try:
            roles.append(next(steps))
        except StopIteration as end:
            assert end.value.fixed_grid.size == nodes.fixed.GetImageData().GetDimensions()
            break
    assert roles == ["fixed", "moving", "fixed_labels", "moving_labels"]


def test_nothing_in_the_scene_changes(nodes, tmp_path):
    before = helpers.node_ids()
    load(helpers.inputs_of(nodes), tmp_path)
    assert helpers.node_ids() == before


def test_a_missing_folder_is_a_file_error(nodes, tmp_path):
    with pytest.raises(FileError, match="Could not write"):
        snapshot(helpers.inputs_of(nodes)).write(tmp_path / "missing")
