"""Each way of looking sets the layers it promises, computes off the nodes, and puts everything back."""

from __future__ import annotations

import dataclasses
import json
import threading
from types import SimpleNamespace

import mrml_helpers as helpers
import numpy as np
import pytest
import slicer
import vtk
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.evaluation.error_map import ErrorMap
from DeepVsClassicRegLib.core.evaluation.locations import Location, worst_folds
from DeepVsClassicRegLib.core.evaluation.views.catalogue import panel_views
from DeepVsClassicRegLib.core.evaluation.views.jacobian import FOLD_CODE
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.mrml import geometry, overlays
from DeepVsClassicRegLib.mrml.display import Inspection
from DeepVsClassicRegLib.mrml.geometry import array_of, flipped, grid_of
from DeepVsClassicRegLib.mrml.outputs import WANTED, Targets
from DeepVsClassicRegLib.mrml.slice_display import composite_nodes, slice_nodes
from DeepVsClassicRegLib.mrml.views.catalogue import SLICE_VIEWS, get_slice_view

MODES = [view.name for view in panel_views()]
IN_ALL_VIEWS = [name for name in MODES if name != "side-by-side"]  # that has three views of its own
STATE = ("BackgroundVolumeID", "ForegroundVolumeID", "LabelVolumeID", "ForegroundOpacity", "LabelOpacity",
         "Compositing", "LinkedControl", "HotLinkedControl")  # fmt: skip


@pytest.fixture(scope="module")
def judged(result):
    """The result with an estimated error: 0 in the middle, more outward, on a grid of its own."""
    grid = result.pair.fixed.grid.with_spacing(4.0)
    distance = np.linalg.norm(grid.points() - grid.center_mm, axis=-1)
    estimate = ErrorMap(Volume((distance / 8).astype(np.float32), grid), np.ones(grid.shape, bool))
    evaluation = dataclasses.replace(result.evaluation, error_map=estimate)
    return SimpleNamespace(pair=result.pair, result=result.result, evaluation=evaluation)


@pytest.fixture
def run(nodes, judged):
    return helpers.publish_truth(nodes, judged, targets=Targets(wanted=WANTED | {"error"}))


@pytest.fixture
def inspection(run):
    made = Inspection()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def views_of_side_by_side(run):
    """Make the views of that layout: Slicer makes the views of a layout once and keeps them."""
    made = Inspection()
    made.show(run, "side-by-side")
    made.close()


def state():
    views = [[getattr(node, f"Get{name}")() for name in STATE] for node in composite_nodes()]
    displays = slicer.mrmlScene.GetNodesByClass("vtkMRMLSegmentationDisplayNode")
    displays.UnRegister(None)
    shown = [displays.GetItemAsObject(index).GetVisibility() for index in range(displays.GetNumberOfItems())]
    outlines = [node.GetUseLabelOutline() for node in slice_nodes()]
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairMode()
    return views, shown, outlines, crosshair


def layers():
    composite = composite_nodes()[0]
    ids = [composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID()]
    return [slicer.mrmlScene.GetNodeByID(node_id) if node_id else None for node_id in ids]


@pytest.mark.parametrize("mode", MODES)
def test_closing_puts_everything_back(run, nodes, mode):
    for composite in composite_nodes():
        composite.SetBackgroundVolumeID(nodes.moving.GetID())
        composite.SetForegroundOpacity(0.3)
    before, ids = state(), helpers.node_ids()
    inspection = Inspection()
    inspection.show(run, mode)
    inspection.set_linked(True)
    inspection.jump(Location((1.0, 2.0, 3.0), (0, 0, 0), "here"))
    assert state() != before
    inspection.show(run, "blend")
    inspection.show(run, mode, before=mode != "jacobian")
    inspection.close()
    assert state() == before
    assert helpers.node_ids() == ids


@pytest.mark.parametrize("mode", IN_ALL_VIEWS)
def test_all_views_have_the_same_interface(run, inspection, mode):
    inspection.show(run, mode)
    used = {(node.GetBackgroundVolumeID(), node.GetForegroundVolumeID()) for node in composite_nodes()}
    assert len(used) == 1


def test_only_named_views_are_used(run, nodes):
    inspection = Inspection(["Red"])
    inspection.show(run, "blend")
    used = [node.GetLayoutName() for node in composite_nodes() if node.GetForegroundVolumeID()]
    assert used == ["Red"]
    inspection.close()


def test_blend_and_flicker(run, nodes, inspection):
    inspection.show(run, "blend", opacity=0.25)
    assert layers() == [nodes.fixed, run.warped, None]
    inspection.set_opacity(0.75)
    assert {node.GetForegroundOpacity() for node in composite_nodes()} == {0.75}
    inspection.show(run, "blend", before=True)
    assert layers() == [nodes.fixed, nodes.moving, None]
    inspection.show(run, "flicker", before=False)
    seen = [inspection.flicker() for _ in range(3)]
    assert seen == [False, True, False]


def test_checkerboard_alternates_both_volumes(run, nodes, inspection):
    inspection.show(run, "checkerboard", tile_mm=40)
    shown = array_of(layers()[0])
    windows = [node.GetDisplayNode() for node in (nodes.fixed, run.warped)]
    fixed, warped = (
        geometry.windowed(array_of(node), display.GetWindow(), display.GetLevel())
        for node, display in zip((nodes.fixed, run.warped), windows, strict=True)
    )
    tiles = [round(40 / spacing) for spacing in grid_of(nodes.fixed).spacing_mm[::-1]]
    for place in [(0, 0, 0), (tiles[0], 0, 0), (0, tiles[1], tiles[2]), (tiles[0], tiles[1], tiles[2])]:
        odd = sum(p // t for p, t in zip(place, tiles, strict=True)) % 2
        part = tuple(slice(p, p + t) for p, t in zip(place, tiles, strict=True))
        assert np.array_equal(shown[part], (warped if odd else fixed)[part])
    assert grid_of(layers()[0]).same_as(grid_of(nodes.fixed))


def test_preparing_in_a_thread_leaves_nothing_to_compute(run, inspection, monkeypatch):
    work = inspection.preparation(run, "difference")
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert inspection.preparation(run, "difference") is None
    monkeypatch.setattr(geometry, "windowed", lambda *_: pytest.fail("computed again"))
    inspection.show(run, "difference")


def test_difference_before_and_after(run, inspection):
    spread = []
    for before in (True, False):
        inspection.show(run, "difference", before=before)
        spread.append(np.abs(array_of(layers()[0])).mean())
    assert spread[1] < 0.5 * spread[0]


def test_red_and_cyan_share_the_voxels(run, nodes, inspection):
    inspection.show(run, "red-cyan")
    red, cyan, _ = layers()
    assert red.GetImageData() is nodes.fixed.GetImageData()
    assert cyan.GetImageData() is run.warped.GetImageData()
    assert composite_nodes()[0].GetCompositing() == slicer.vtkMRMLSliceCompositeNode.Add


def test_contours_without_a_segmentation(run, nodes, inspection):
    slicer.mrmlScene.RemoveNode(nodes.fixed_labels)
    inspection.show(run, "contours")
    label = layers()[2]
    assert label.IsA("vtkMRMLLabelMapVolumeNode")
    assert set(np.unique(array_of(label))) == {0, 1, 2}
    assert all(node.GetUseLabelOutline() for node in slice_nodes())


def test_outlines_leave_every_voxel_of_a_segmentation(run, nodes, inspection):
    def voxels(node):
        segmentation = node.GetSegmentation()
        ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        return [int(np.count_nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(node, name))) for name in ids]

    segmentations = nodes.fixed_labels, nodes.moving_labels, run.warped_labels
    before = [voxels(node) for node in segmentations]
    assert len(before[0]) > 1 and all(min(counts) > 0 for counts in before)
    for mode in ("contours", "blend", "contours"):
        inspection.show(run, mode)
    inspection.show(run, "contours", before=True)
    inspection.close()
    assert [voxels(node) for node in segmentations] == before


def test_removed_outlines_have_no_voxels_left_to_erase(run, inspection):
    inspection.show(run, "contours")
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    shown = [slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode") for index in range(count)]
    outlines = [node for node in shown if node.GetName().startswith("Comparison")]
    segments = [node.GetSegmentation().GetNthSegment(0) for node in outlines]
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    assert len(segments) == 2 and all(segment.GetRepresentation(name).GetNumberOfPoints() for segment in segments)
    inspection.show(run, "blend")
    assert not any(segment.GetRepresentation(name).GetNumberOfPoints() for segment in segments)


def test_arrows_are_drawn_as_long_as_their_distance_allows(run, nodes, inspection):
    for length_mm, scale in ((0.5, 10.0), (4.0, 2.0), (30.0, 1.0)):
        moved = vtk.vtkTransform()
        moved.Translate(0, length_mm, 0)
        assert overlays.arrow_scale(run, moved, spacing_mm=10.0) == scale


def test_warp_is_the_deformable_part_from_fixed_to_moving(run, nodes, phantom, inspection):
    inspection.show(run, "grid")
    node = slicer.mrmlScene.GetFirstNodeByName("Comparison warp")
    points = phantom.pair.fixed.grid.index_to_point(np.random.default_rng(0).uniform(6, 18, (200, 3)))
    shown = helpers.map_points(node.GetTransformToParent(), points) - points
    deformation = phantom.warp.displacement(points)
    # Apart from an affine map, which is taken out, the arrows are those of the phantom's warp.
    design = np.hstack([points, np.ones((len(points), 1))])
    rest = [field - design @ np.linalg.lstsq(design, field, rcond=None)[0] for field in (shown, deformation)]
    assert np.corrcoef(rest[0].ravel(), rest[1].ravel())[0, 1] > 0.98
    assert np.abs(shown).mean() < 6


def test_jacobian_marks_folds(run, inspection):
    array = array_of(run.jacobian)
    array[10, 12, 14] = -0.5
    array[11, 1, 1] = 0.0  # more than 15 voxels, the unit of so coarse a volume, away
    inspection.show(run, "jacobian")
    shown = array_of(layers()[1])
    assert shown[10, 12, 14] == shown[11, 1, 1] == FOLD_CODE
    assert (shown == FOLD_CODE).sum() == 2
    assert shown[0, 0, 0] == pytest.approx(np.log(array[0, 0, 0]), abs=1e-6)
    grid = grid_of(run.jacobian)
    found = worst_folds(Volume(array, grid), np.ones(grid.shape, dtype=bool))
    assert [place.text for place in found] == ["Folded: Jacobian -0.50.", "Folded: Jacobian 0.00."]
    assert np.allclose(found[0].point_mm, grid.index_to_point([14, 12, 10]))
    assert found[0].voxel == (14, 12, 10)


def test_jumping_centers_all_views(run, inspection):
    inspection.show(run, "blend")
    inspection.jump(Location((11.0, -7.0, 5.0), (0, 0, 0), "here"))
    for node in slice_nodes():
        matrix = node.GetSliceToRAS()
        center = [matrix.GetElement(axis, 3) for axis in range(3)]
        assert np.allclose(flipped(center), (11, -7, 5))


def test_lowest_dice_comes_first(run, inspection):
    found = run.locations("structure")
    scores = [float(place.text.removesuffix(".").rsplit(" ", 1)[1]) for place in found]
    assert len(found) == len(run.measures["dice_per_label"])
    assert scores == sorted(scores)


def test_the_panel_jumps_to_the_locations_of_the_report(run, result):
    evaluation = result.evaluation
    for kind in ("fold", "match", "structure"):
        points = np.array([place.point_mm for place in run.locations(kind)])
        expected = np.array([place.point_mm for place in getattr(evaluation.locations, kind)])
        assert points.shape == expected.shape and np.allclose(points, expected, atol=1e-3), kind
    assert run.locations("match") and run.locations("structure")
    firsts = [places[0].text for kind in ("structure", "match") if (places := run.locations(kind))]
    assert set(firsts) <= {place.text for place in run.look_at}


def test_runs_of_the_former_version_have_no_locations(run):
    report = {key: value for key, value in run.report.items() if key != "locations"}
    run.record.SetParameter("report", json.dumps(report))
    assert run.locations("fold") is None
    assert run.look_at


def test_every_view_of_the_panel_has_a_file():
    for name in MODES:
        assert callable(get_slice_view(name).show)
    assert set(SLICE_VIEWS) == set(MODES)


def test_the_estimated_error_is_shown_in_its_own_lengths(run, inspection, judged):
    inspection.show(run, "error", opacity=0.5)
    fixed, shown, _ = layers()
    assert fixed is run.fixed and shown.GetDisplayNode().GetWindow() == 10.0
    assert grid_of(shown).same_as(judged.evaluation.error_map.volume.grid)
    assert np.array_equal(array_of(shown), judged.evaluation.error_map.volume.array)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(shown)
    assert "Estimated error" in legend.GetTitleText() and "mm" in legend.GetTitleText()


def test_runs_without_an_estimate_say_so(nodes, result, inspection):
    plain = helpers.publish_truth(nodes, result, targets=Targets(wanted=WANTED | {"error"}))
    assert plain.node("error") is None and not plain.had("error")
    with pytest.raises(RegistrationError, match="has no estimated error"):
        inspection.show(plain, "error")


def test_switching_runs_with_one_call(run, nodes, result, inspection):
    second = helpers.publish_truth(nodes, result)
    inspection.show(run, "checkerboard")
    count = len(helpers.node_ids())
    inspection.show(second, "checkerboard")
    assert len(helpers.node_ids()) == count


def test_deleted_nodes_are_named(run, nodes, inspection):
    slicer.mrmlScene.RemoveNode(run.warped)
    with pytest.raises(RegistrationError, match=r"warped volume of 'Phantom.*' was deleted"):
        inspection.show(run, "blend")
    inspection.show(run, "jacobian")


def test_scene_closed_while_a_view_is_open(run):
    inspection = Inspection()
    inspection.show(run, "difference")
    slicer.mrmlScene.Clear(0)
    inspection.close()
    assert inspection.view is None


def test_helper_nodes_of_views_are_not_saved(run, inspection, tmp_path):
    for mode in MODES:
        inspection.show(run, mode)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Commit()
    assert "Comparison" not in (tmp_path / "scene.mrml").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", MODES)
def test_views_show_something(gl, run, nodes, inspection, mode):
    for landmarks in (nodes.fixed_points, nodes.moving_points):
        landmarks.GetDisplayNode().SetVisibility(False)
    array_of(run.jacobian)[:] **= 3  # volume changes of half the scale and more; the phantom's own are faint
    inspection.show(run, mode, before=mode == "red-cyan")  # what fits is gray there
    name = "Red" if mode in IN_ALL_VIEWS else "RegistrationOverlay"
    view = slicer.app.layoutManager().sliceWidget(name).sliceView()
    image = view._canvas.grab(200, 200)[:170].astype(int)  # without the corner text
    assert image.std() > 10
    colored = (np.ptp(image, axis=-1) > 60).mean() > 0.005
    plain = mode in ("blend", "flicker", "checkerboard", "side-by-side")
    assert colored != plain
