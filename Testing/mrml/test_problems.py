"""Every unfit input is named, with a remedy, before anything runs."""

from __future__ import annotations

import mrml_helpers as helpers
import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.mrml.geometry import array_of, image_of, to_vtk
from DeepVsClassicRegLib.mrml.inputs import Inputs
from DeepVsClassicRegLib.mrml.nodes import add_points, add_volume
from DeepVsClassicRegLib.mrml.problems import problems
from DeepVsClassicRegLib.mrml.snapshot import snapshot


def found(inputs, role):
    """Return the texts of the problems of one input; all hints must say something."""
    items = [problem for problem in problems(inputs) if problem.role == role]
    assert all(problem.message.endswith(".") and problem.hint.endswith(".") for problem in items)
    return " ".join(problem.message for problem in items)


def errors(inputs):
    return [problem for problem in problems(inputs) if problem.is_error]


def volume_of(array):
    return add_volume(Volume(array, Grid(array.shape[::-1])), "odd")


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_good_inputs_have_no_problem(nodes):
    assert problems(helpers.inputs_of(nodes)) == []


def test_nothing_chosen():
    assert [problem.role for problem in problems(Inputs())] == ["fixed", "moving"]


def test_same_volume_twice(nodes):
    assert "same volume" in found(Inputs(fixed=nodes.fixed, moving=nodes.fixed), "moving")


def test_deleted_nodes(nodes):
    inputs = helpers.inputs_of(nodes)
    for role in ("moving", "fixed_labels", "moving_points"):
        slicer.mrmlScene.RemoveNode(getattr(nodes, role))
        assert "was deleted" in found(inputs, role)
    assert len(errors(inputs)) == 4  # and the fixed landmarks have lost their partner


def test_no_image(nodes):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert "contains no image" in found(Inputs(fixed=empty, moving=nodes.moving), "fixed")


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (noise(1, 20, 20), "single slice"),
        (noise(5, 20, 20), "only 5 voxels"),
        (np.full((20, 20, 20), 7, np.float32), "constant (every voxel is 7)"),
    ],
)
def test_unfit_volumes(nodes, array, text):
    assert text in found(Inputs(fixed=nodes.fixed, moving=volume_of(array)), "moving")


def test_one_odd_voxel_is_not_constant(nodes):
    array = np.zeros((20, 20, 20), np.float32)
    array[3, 3, 3] = 1
    assert found(Inputs(fixed=nodes.fixed, moving=volume_of(array)), "moving") == ""


def vectors_of(array):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode")
    node.SetAndObserveImageData(image_of(array))
    return node


def test_color_volumes_are_judged_by_what_is_registered(nodes):
    array = np.zeros((12, 12, 12, 3), np.uint8)
    array[..., 1] = 50 * (np.arange(12) % 3)  # green varies, the others are constant
    color = vectors_of(array)
    assert found(Inputs(fixed=color, moving=nodes.moving), "fixed") == ""
    assert found(Inputs(fixed=color, moving=nodes.moving, fixed_channel="1"), "fixed") == ""
    assert "constant" in found(Inputs(fixed=color, moving=nodes.moving, fixed_channel="0"), "fixed")


def test_a_vector_volume_needs_a_channel(nodes):
    vectors = vectors_of(np.random.default_rng(1).normal(size=(12, 12, 12, 3)).astype(np.float32))
    text = found(Inputs(fixed=vectors, moving=nodes.moving), "fixed")
    assert "3 values per voxel" in text
    assert found(Inputs(fixed=vectors, moving=nodes.moving, fixed_channel="2"), "fixed") == ""


def test_two_single_slices_are_a_pair():
    fixed, moving = volume_of(noise(1, 20, 20)), volume_of(noise(1, 30, 20))
    assert found(Inputs(fixed=fixed, moving=moving), "moving") == ""
    assert "only 5 voxels" in found(Inputs(fixed=fixed, moving=volume_of(noise(1, 5, 20))), "moving")


def test_label_map_as_volume(nodes):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    labels.SetAndObserveImageData(image_of(np.arange(1728, dtype=np.int16).reshape(12, 12, 12)))
    assert "is a segmentation" in found(Inputs(fixed=labels, moving=nodes.moving), "fixed")


def test_sheared_axes(nodes):
    matrix = np.eye(4)
    matrix[0, 2] = 0.3
    nodes.moving.SetIJKToRASMatrix(to_vtk(matrix))
    assert "not at right angles" in found(helpers.inputs_of(nodes), "moving")


def test_sheared_by_its_parent_transform(nodes):
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    matrix = np.eye(4)
    matrix[0, 2] = 0.3
    parent.SetMatrixTransformToParent(to_vtk(matrix))
    nodes.moving.SetAndObserveTransformNodeID(parent.GetID())
    assert "not at right angles" in found(helpers.inputs_of(nodes), "moving")


def test_under_a_nonlinear_transform(nodes, phantom):

    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    helpers.set_transform(parent, phantom.truth)
    nodes.fixed.SetAndObserveTransformNodeID(parent.GetID())
    nodes.moving_labels.SetAndObserveTransformNodeID(parent.GetID())
    assert "non-linear transform" in found(helpers.inputs_of(nodes), "fixed")
    assert "non-linear transform" in found(helpers.inputs_of(nodes), "moving_labels")


def test_segmentations(nodes):
    gone = helpers.inputs_of(nodes, fixed_segment="no such segment")
    assert "no longer has the selected segment" in found(gone, "fixed_labels")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert "is empty" in found(helpers.inputs_of(nodes, moving_labels=empty), "moving_labels")
    assert errors(helpers.inputs_of(nodes, moving_labels=empty)) == []
    assert "Only one" in found(helpers.inputs_of(nodes, fixed_labels=None), "fixed_labels")
    same = helpers.inputs_of(nodes, moving_labels=nodes.fixed_labels)
    assert "are the same" in found(same, "moving_labels")


def test_segmentations_without_a_common_name(nodes):
    segmentation = nodes.moving_labels.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segmentation.GetNthSegment(index).SetName(f"Other {index}")
    assert "have no segment name in common" in found(helpers.inputs_of(nodes), "moving_labels")


def test_masks(nodes):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    inputs = helpers.inputs_of(nodes, fixed_mask=empty)
    assert "is empty" in found(inputs, "fixed_mask")
    assert errors(inputs)
    array_of(blank := _blank_mask(nodes))[:] = 0
    assert "is empty" in found(helpers.inputs_of(nodes, moving_mask=blank), "moving_mask")
    far = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    far.SetMatrixTransformToParent(to_vtk(np.block([[np.eye(3), np.full((3, 1), 900.0)], [np.zeros(3), 1]])))
    nodes.fixed_labels.SetAndObserveTransformNodeID(far.GetID())
    assert "completely outside" in found(helpers.inputs_of(nodes, fixed_mask=nodes.fixed_labels), "fixed_mask")


def test_an_empty_segment_beside_a_drawn_one_is_reported(nodes):
    """Segments share one label map, so the empty one has the bounds of its neighbor."""
    mask = nodes.fixed_labels
    added = mask.GetSegmentation().AddEmptySegment("fresh")
    inputs = helpers.inputs_of(nodes, fixed_mask=mask, fixed_mask_segment=added)
    assert "is empty" in found(inputs, "fixed_mask")


def _blank_mask(nodes):
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    mask.SetAndObserveImageData(image_of(np.ones((12, 12, 12), np.int16)))
    return mask


def test_landmarks(nodes):
    few = add_points([[0, 0, 0], [1, 2, 3]], "few")
    assert "have different lengths" in found(helpers.inputs_of(nodes, moving_points=few), "moving_points")
    assert "one side only" in found(helpers.inputs_of(nodes, fixed_points=None), "fixed_points")
    nothing = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    assert "is empty" in found(helpers.inputs_of(nodes, fixed_points=nothing), "fixed_points")
    same = helpers.inputs_of(nodes, moving_points=nodes.fixed_points)
    assert "the same list" in found(same, "moving_points")
    astray = add_points([[900, 0, 0], [1, 2, 3]], "astray")
    inputs = helpers.inputs_of(nodes, fixed_points=astray, moving_points=few)
    assert "1 of the fixed landmarks are outside" in found(inputs, "fixed_points")
    assert errors(inputs) == []


def test_initial_transform(nodes):
    initial = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    assert problems(helpers.inputs_of(nodes, initial=initial)) == []
    nodes.moving.SetAndObserveTransformNodeID(initial.GetID())
    assert "applied twice" in found(helpers.inputs_of(nodes, initial=initial), "initial")
    nodes.moving.SetAndObserveTransformNodeID(None)
    initial.SetMatrixTransformToParent(to_vtk(np.diag([1.0, 1.0, 0.0, 1.0])))
    assert "cannot be inverted" in found(helpers.inputs_of(nodes, initial=initial), "initial")


def test_errors_come_first_and_forbid_the_snapshot(nodes):
    inputs = helpers.inputs_of(nodes, fixed=None, fixed_labels=None)
    severities = [problem.severity for problem in problems(inputs)]
    assert severities == sorted(severities)
    with pytest.raises(RegistrationError, match="No fixed volume"):
        snapshot(inputs)


def test_swapping(nodes):
    inputs = helpers.inputs_of(nodes, fixed_segment="a", moving_mask=nodes.moving_labels, initial=nodes.fixed)
    swapped = inputs.swapped()
    assert (swapped.fixed, swapped.moving) == (nodes.moving, nodes.fixed)
    assert (swapped.moving_segment, swapped.fixed_mask, swapped.initial) == ("a", nodes.moving_labels, None)
    assert swapped.swapped() == inputs.without("initial")
