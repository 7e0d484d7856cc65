"""Nodes of every kind come to the other side of a registration: same place, right direction, warnings, refusals."""

from __future__ import annotations

import mrml_helpers as helpers
import numpy as np
import pytest
import slicer
import vtk
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform
from DeepVsClassicRegLib.mrml.apply import apply_transform, nodes_in
from DeepVsClassicRegLib.mrml.geometry import array_of, flipped, grid_of, image_of, place
from DeepVsClassicRegLib.mrml.nodes import add_labels, add_points, add_volume
from vtk.util.numpy_support import vtk_to_numpy

GRID = Grid((24, 24, 24), (2.0, 2.0, 2.0), (-23.0, -23.0, -23.0))
# A quarter turn about z, then 6 mm along x (LPS): fixed (x, y, z) -> moving (6 - y, x, z).
TURN = Transform((Affine([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [6, 0, 0]),))
PLACES = {"fixed": np.array([10.0, 4.0, -2.0]), "moving": np.array([2.0, 10.0, -2.0])}
OTHER = {"fixed": "moving", "moving": "fixed"}


def blob(center, grid=GRID, radius_mm=5.0):
    return np.linalg.norm(grid.points() - center, axis=-1) < radius_mm


def sphere(center):
    source = vtk.vtkSphereSource()
    source.SetCenter(*flipped(center))
    source.SetRadius(5)
    source.Update()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "sphere")
    node.SetAndObserveMesh(source.GetOutput())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetColor(0.1, 0.2, 0.3)
    return node


def curve(center):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "curve")
    for step in ((-3, 0, 0), (3, 0, 0), (0, 4, 0), (0, -4, 0)):
        node.AddControlPointWorld(*flipped(np.array(center) + step).tolist())
    return node


def box(center):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    node.SetCenter(*flipped(center).tolist())
    node.SetSize(10, 4, 6)
    return node


def surface_segmentation(center):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    node.AddSegmentFromClosedSurfaceRepresentation(sphere(center).GetPolyData(), "ball", [1, 0, 0])
    return node


def colors(center):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colors")
    array = np.zeros((*GRID.shape, 3), np.uint8)
    array[blob(center)] = (200, 100, 50)
    place(node, GRID)
    node.SetAndObserveImageData(image_of(array))
    return node


def label_volume(center):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    place(node, GRID)
    node.SetAndObserveImageData(image_of((blob(center) * 5).astype(np.int16)))
    node.CreateDefaultDisplayNodes()
    return node


MAKERS = {
    "volume": lambda center: add_volume(Volume(blob(center).astype(np.float32), GRID), "volume"),
    "label map": label_volume,
    "segmentation": lambda center: add_labels(LabelMap(blob(center).astype(np.int32) * 3, GRID, {3: "Liver"}), "seg"),
    "surface": surface_segmentation,
    "colors": colors,
    "model": sphere,
    "points": lambda center: add_points([center], "points"),
    "curve": curve,
    "box": box,
}


def center_of(node) -> np.ndarray:
    """Return where a node is in the world, LPS mm."""
    if node.IsA("vtkMRMLVolumeNode"):
        array = array_of(node)
        mask = (array if array.ndim == 3 else array[..., 0]) > array.max() / 2
        return grid_of(node).index_to_point(np.argwhere(mask)[:, ::-1]).mean(axis=0)
    if node.IsA("vtkMRMLSegmentationNode") and node.GetSegmentation().ContainsRepresentation("Closed surface"):
        points = vtk_to_numpy(
            node.GetSegmentation().GetNthSegment(0).GetRepresentation("Closed surface").GetPoints().GetData()
        )
        return flipped(points.astype(float)).mean(axis=0)
    if node.IsA("vtkMRMLSegmentationNode"):
        first, volume = node.GetSegmentation().GetNthSegmentID(0), slicer.util.getNode("CT")
        found = np.argwhere(slicer.util.arrayFromSegmentBinaryLabelmap(node, first, volume) > 0)
        return grid_of(volume).index_to_point(found[:, ::-1]).mean(axis=0)
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    return flipped(bounds.reshape(3, 2).mean(axis=1))


@pytest.fixture
def side(slicer_scene):
    """The volumes of both sides and a transform that refers to them."""
    fixed = add_volume(Volume(np.random.default_rng(0).random(GRID.shape, np.float32), GRID), "CT")
    moving = add_volume(Volume(np.random.default_rng(1).random(GRID.shape, np.float32), GRID), "MR")
    return fixed, moving


def new_transform(side, transform):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "T")
    helpers.set_transform(node, transform)
    node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), side[0].GetID())
    node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), side[1].GetID())
    return node


@pytest.mark.parametrize("to", ["fixed", "moving"])
@pytest.mark.parametrize("kind", MAKERS)
def test_hardened_copies_lie_where_they_belong(side, kind, to):
    node = MAKERS[kind](PLACES[OTHER[to]])
    before = center_of(node)
    (done,) = apply_transform(new_transform(side, TURN), [node], to=to)
    assert done.refusal == "" and done.node is not node and done.node.GetClassName() == node.GetClassName()
    assert np.linalg.norm(center_of(done.node) - PLACES[to]) < 0.3
    assert np.linalg.norm(center_of(node) - before) == 0 and node.GetParentTransformNode() is None
    assert done.node.GetName() == f"{node.GetName()} on {'CT' if to == 'fixed' else 'MR'}"
    assert done.notes == (
        () if kind != "box" else ("It keeps its shape and follows the transform as it is at its center.",)
    )


@pytest.mark.parametrize("to", ["fixed", "moving"])
@pytest.mark.parametrize("kind", ["model", "points", "curve"])
def test_nodes_placed_under_the_transform_lie_there_too(side, kind, to):
    node = MAKERS[kind](PLACES[OTHER[to]])
    (done,) = apply_transform(new_transform(side, TURN), [node], to=to, harden=False)
    assert done.node is node and np.linalg.norm(center_of(node) - PLACES[to]) < 0.1
    (again,) = apply_transform(
        node.GetParentTransformNode() if to == "fixed" else slicer.util.getNode("T"), [node], to=to
    )
    assert "already under this transform" in again.refusal


def test_a_turned_box_and_looks_are_kept(side):
    transform = new_transform(side, TURN)
    roi, model, segmentation = (MAKERS[kind](PLACES["moving"]) for kind in ("box", "model", "segmentation"))
    segmentation.GetDisplayNode().SetOpacity2DFill(0.25)
    segmentation.GetDisplayNode().SetVisibility(False)
    done = apply_transform(transform, [roi, model, segmentation])
    assert (
        done[2].node.GetDisplayNode().GetOpacity2DFill() == 0.25 and not done[2].node.GetDisplayNode().GetVisibility()
    )
    bounds = np.zeros(6)
    done[0].node.GetRASBounds(bounds)
    assert np.allclose(np.diff(bounds)[::2], [4, 10, 6], atol=1e-6)
    assert done[1].node.GetDisplayNode().GetColor() == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("harden", [True, False])
def test_own_parent_transforms_come_first(side, harden):
    shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "own")
    helpers.set_transform(shift, Transform((Affine.shift([3.0, 0, 0]),)))  # moves nodes by -3 mm along x
    node = MAKERS["points"](PLACES["moving"] + [3.0, 0, 0])
    node.SetAndObserveTransformNodeID(shift.GetID())
    (done,) = apply_transform(new_transform(side, TURN), [node], harden=harden)
    assert np.linalg.norm(center_of(done.node) - PLACES["fixed"]) < 0.1
    assert shift.GetParentTransformNode() is None


def test_the_library_and_slicer_agree_on_a_deformation(nodes, phantom, result):
    """A hardened model lies where Slicer itself shows it under the transform."""
    run = helpers.publish_truth(nodes, result)
    center = phantom.pair.moving_points[0]
    hard, soft = sphere(center), sphere(center)
    (done,) = apply_transform(run.transform, [hard])
    soft.SetAndObserveTransformNodeID(run.transform.GetID())
    assert soft.HardenTransform()
    found, shown = (vtk_to_numpy(node.GetPolyData().GetPoints().GetData()) for node in (done.node, soft))
    assert np.abs(found - shown).max() < 0.02  # Slicer stops its inverse at 0.01 mm
    (points,) = apply_transform(run.transform, [nodes.moving_points])
    found = flipped(
        [list(points.node.GetNthControlPointPositionWorld(n)) for n in range(points.node.GetNumberOfControlPoints())]
    )
    back = phantom.truth.apply(found)
    assert np.abs(back - phantom.pair.moving_points).max() < 1e-3


def test_segments_keep_names_layers_and_grid(side):
    first = add_labels(LabelMap(blob(PLACES["moving"]).astype(np.int32), GRID, {1: "Liver"}), "seg")
    other = add_labels(LabelMap(blob(PLACES["moving"], radius_mm=3.0).astype(np.int32), GRID, {1: "Tumor"}), "t")
    first.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), "Label_1")
    for interpolation in ("nearest", "smooth"):
        (done,) = apply_transform(new_transform(side, TURN), [first], interpolation=interpolation)
        segmentation = done.node.GetSegmentation()
        names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
        assert names == ["Liver", "Tumor"]
        counts = [
            (slicer.util.arrayFromSegmentBinaryLabelmap(done.node, segmentation.GetNthSegmentID(n), side[0]) > 0).sum()
            for n in range(2)
        ]
        assert counts[0] == pytest.approx(blob(PLACES["moving"]).sum(), rel=0.05) and 0 < counts[1] < counts[0]


def test_folds_and_what_lies_outside_are_noted(side):
    points = GRID.points()
    mirror = np.where(np.abs(points[..., :1]) < 6, -2 * points[..., :1], 0) * [1, 0, 0]
    transform = new_transform(side, Transform((DisplacementField(mirror, GRID),)))
    done = apply_transform(transform, [add_points([[0.5, 0, 0]], "a"), add_points([[0, 90, 0]], "b")], to="moving")
    assert "folds at 100 %" in done[0].notes[0]
    assert "extrapolated" in done[1].notes[0] and done[1].notes[1] == "It lies completely outside 'MR'."


def test_refusals(side):
    transform = new_transform(side, TURN)
    tensor = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLDiffusionTensorVolumeNode", "DTI")
    unknown = colors(PLACES["moving"])
    unknown.SetAndObserveImageData(image_of(np.zeros((*GRID.shape, 3), np.float32)))
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "empty")
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    done = apply_transform(transform, [tensor, unknown, empty, table, side[0], side[1]])
    assert [bool(item.refusal) for item in done] == [True] * 5 + [False]
    texts = ["directions must be turned", "colors or vectors", "contains nothing", "kind Table", "the side to which"]
    for item, text in zip(done, texts, strict=False):
        assert text in item.refusal and item.node is None
    with pytest.raises(RegistrationError, match="Nothing was selected"):
        apply_transform(transform, [])
    lone = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "lone")
    with pytest.raises(RegistrationError, match="fixed volume of 'lone' is not known"):
        apply_transform(lone, [side[1]])


def test_vectors_turn_with_the_tissue(side):
    node = colors(PLACES["moving"])
    array = np.zeros((*GRID.shape, 3), np.float32)
    array[..., 1] = -2.0  # RAS: along +y in LPS
    node.SetAndObserveImageData(image_of(array))
    node.SetVoxelVectorType(node.VoxelVectorTypeSpatial)
    (done,) = apply_transform(new_transform(side, TURN), [node])
    assert np.allclose(array_of(done.node)[12, 12, 12], [-2, 0, 0], atol=1e-5)
    assert done.notes == ("Vectors are turned and stretched with the transform.",)


def test_a_failure_leaves_nothing_behind(side, monkeypatch):
    from DeepVsClassicRegLib.mrml import movable

    transform, nodes = new_transform(side, TURN), [MAKERS["points"](PLACES["moving"]), sphere(PLACES["moving"])]
    before = helpers.node_ids()

    def fail(self, name, reference):
        raise OSError("full")

    monkeypatch.setattr(movable.MovableModel, "publish", fail)
    with pytest.raises(OSError, match="full"):
        apply_transform(transform, nodes)
    assert {name for name in helpers.node_ids() - before if "Storage" not in name} == set()


def test_folders_give_everything_below_them(side):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "plan")
    inner = hierarchy.CreateFolderItem(folder, "structures")
    nodes = [MAKERS[kind](PLACES["moving"]) for kind in ("points", "segmentation", "model")]
    for node, parent in zip(nodes, (folder, inner, inner), strict=True):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), parent)
    transform = new_transform(side, TURN)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(transform), folder)
    assert {node.GetName() for node in nodes_in([folder])} == {"points", "seg", "sphere"}
    assert nodes_in([folder, inner]) == nodes_in([folder])
    done = apply_transform(transform, nodes_in([folder]))
    item = hierarchy.GetItemByDataNode(next(d.node for d in done if d.source is nodes[2]))
    assert hierarchy.GetItemParent(item) == inner
