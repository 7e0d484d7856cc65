"""Side by side: three linked views in a layout of their own, which is left again with the view mode."""

from __future__ import annotations

import mrml_helpers as helpers
import pytest
import slicer
from slicer_standin import screenshots

NAMES = ("RegistrationFixed", "RegistrationMoving", "RegistrationOverlay")
FOUR_UP = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def composite(name):
    found = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return next(node for node in found if node.GetLayoutName() == name)


def layers(name):
    node = composite(name)
    return node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetForegroundOpacity()


def view(name):
    return slicer.app.layoutManager().sliceWidget(name)


def shown_views():
    return {node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.IsMappedInLayout()}


@pytest.fixture
def run(nodes, result):
    return helpers.publish_truth(nodes, result)


@pytest.fixture
def inspection(run):
    from DeepVsClassicRegLib.mrml.display import Inspection

    made = Inspection()
    yield made
    made.close()


def test_three_views_show_both_volumes_and_their_overlay(run, inspection):
    inspection.show(run, "side-by-side", opacity=0.3)
    assert shown_views() == set(NAMES)
    fixed, warped = run.fixed.GetID(), run.warped.GetID()
    assert layers(NAMES[0])[:2] == (fixed, None)
    assert layers(NAMES[1])[:2] == (warped, None)
    assert layers(NAMES[2]) == (fixed, warped, pytest.approx(0.3))
    inspection.show(run, "side-by-side", before=True)
    assert layers(NAMES[1])[0] == run.moving.GetID() == layers(NAMES[2])[1]


def test_node_ids_can_be_listed_in_a_scene_file(run, inspection):
    inspection.show(run, "side-by-side")
    assert not [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if " " in node.GetID()]


def test_the_views_are_linked_with_each_other_only(run, inspection):
    red = slicer.util.getNode("vtkMRMLSliceNodeRed")
    inspection.show(run, "side-by-side")
    before = red.GetSliceOffset()
    view(NAMES[0]).sliceController().setSliceOffsetValue(12.0)
    screenshots.settle()
    offsets = [view(name).mrmlSliceNode().GetSliceOffset() for name in NAMES]
    assert offsets == [pytest.approx(12.0)] * 3
    assert red.GetSliceOffset() == before


def test_they_begin_at_the_slice_of_the_user(run, inspection):
    slicer.util.setSliceViewerLayers(background=run.fixed, fit=True)
    slicer.util.getNode("vtkMRMLSliceNodeRed").SetSliceOffset(7.0)
    inspection.show(run, "side-by-side")
    inspection.fit_new_views()
    assert view(NAMES[2]).mrmlSliceNode().GetSliceOffset() == pytest.approx(7.0)


def test_another_view_mode_and_the_end_bring_back_the_layout(run, inspection):
    node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    inspection.show(run, "side-by-side")
    inspection.show(run, "side-by-side", opacity=0.9)  # the same again changes no layout
    assert node.GetViewArrangement() != FOUR_UP
    inspection.show(run, "blend")
    assert node.GetViewArrangement() == FOUR_UP
    inspection.show(run, "side-by-side")
    inspection.close(places=False)  # the user leaves the module
    assert node.GetViewArrangement() == FOUR_UP


def test_a_layout_chosen_meanwhile_stays(run, inspection):
    inspection.show(run, "side-by-side")
    conventional = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    slicer.app.layoutManager().setLayout(conventional)
    inspection.close(places=False)
    assert slicer.app.layoutManager().layout == conventional
