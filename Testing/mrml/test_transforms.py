"""The library's map and Slicer's transform node are the same map, wherever it comes from."""

from __future__ import annotations

import mrml_helpers as helpers
import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from DeepVsClassicRegLib.core.images.resample import warp_volume
from DeepVsClassicRegLib.core.phantom.warp import random_warp
from DeepVsClassicRegLib.core.transforms.transform import Affine, BSpline, DisplacementField, Transform, VelocityField
from DeepVsClassicRegLib.mrml.geometry import array_of, flipped_matrix
from DeepVsClassicRegLib.mrml.nodes import add_volume
from DeepVsClassicRegLib.mrml.transforms import use_linear_interpolation
from testing_grids import GRIDS, oblique_grid

EXACT_MM = 1e-4
TURN = Affine.about([[0.9, 0.2, 0.0], [-0.1, 1.0, 0.1], [0.0, 0.1, 1.1]], [1, 2, 3], [5, -3, 2])


def field_on(grid, seed=1, amplitude_mm=4.0):
    warp = random_warp(seed, size_mm=float(grid.extent_mm.min()), amplitude_mm=amplitude_mm, affine=Affine.identity())
    return DisplacementField(warp.displacement(grid.points()), grid)


def spline(seed=3):
    grid = oblique_grid((10, 9, 8), (12.0, 14.0, 16.0), seed=seed)
    return BSpline(np.random.default_rng(seed).normal(size=(8, 9, 10, 3)) * 2, grid)


def inner_points(grid, *, margin=2.5, count=300):
    return grid.index_to_point(np.random.default_rng(0).uniform(margin, np.array(grid.size) - 1 - margin, (count, 3)))


def from_world(node):
    mapping = vtk.vtkGeneralTransform()
    node.GetTransformFromWorld(mapping)
    return mapping


def new_node(transform):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    helpers.set_transform(node, transform)
    return node


CHAINS = {
    "identity": lambda grid: (),
    "affine": lambda grid: (TURN,),
    "field": lambda grid: (field_on(grid),),
    "field then affine": lambda grid: (field_on(grid), TURN),
    "affine, field, affine": lambda grid: (Affine.shift([0.4, -0.3, 0.2]), field_on(grid), TURN),
    "two fields": lambda grid: (field_on(grid, amplitude_mm=1.0), field_on(grid, 2, 1.0)),
    "velocity": lambda grid: (VelocityField(field_on(grid).array_mm, grid),),
}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("name", GRIDS)
def test_node_maps_points_as_the_library_does(slicer_scene, name, chain):
    grid = GRIDS[name]
    transform = Transform(CHAINS[chain](grid))
    points = inner_points(grid)
    mapped = helpers.map_points(from_world(new_node(transform)), points)
    assert np.abs(mapped - transform.apply(points)).max() < EXACT_MM


@pytest.mark.parametrize("chain", CHAINS)
def test_node_gives_the_transform_back(slicer_scene, chain):
    grid = GRIDS["left-handed"]
    transform = Transform(CHAINS[chain](grid))
    back = helpers.transform_of(new_node(transform), grid)
    points = inner_points(grid)
    assert np.abs(back.apply(points) - transform.apply(points)).max() < EXACT_MM


def test_spline_is_exact_inside_its_domain(slicer_scene):
    part = spline()
    transform = Transform((part, TURN))
    node = new_node(transform)
    points = inner_points(part.grid, margin=1.05)
    assert np.abs(helpers.map_points(from_world(node), points) - transform.apply(points)).max() < EXACT_MM
    back = helpers.transform_of(node, part.grid)
    assert [type(item) for item in back.parts] == [BSpline, Affine]
    assert np.abs(back.apply(points) - transform.apply(points)).max() < EXACT_MM


@pytest.mark.parametrize("parts", [(TURN,), "field", ("field", TURN), (spline(), TURN)])
def test_saved_file_is_read_exactly_by_simpleitk(slicer_scene, tmp_path, parts):
    grid = GRIDS["left-handed"]
    parts = (parts,) if isinstance(parts, str) else parts
    transform = Transform(tuple(field_on(grid) if part == "field" else part for part in parts))
    node = new_node(transform)
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)
    storage.SetScene(slicer_scene)
    storage.SetFileName(str(tmp_path / "saved.h5"))
    assert storage.WriteData(node)
    read = sitk.ReadTransform(str(tmp_path / "saved.h5"))
    points = inner_points(grid)
    mapped = np.array([read.TransformPoint(point) for point in points.tolist()])
    assert np.abs(mapped - transform.apply(points)).max() < EXACT_MM


def test_field_ends_in_zero_displacement(slicer_scene):
    grid = GRIDS["left-handed"]
    node = new_node(Transform((field_on(grid),)))
    beyond = grid.index_to_point([[-3.0, 5, 5], [grid.size[0] + 3.0, 8, 8], [5, grid.size[1] + 50.0, 5]])
    assert np.abs(helpers.map_points(from_world(node), beyond) - beyond).max() < EXACT_MM


def test_field_is_exact_in_the_outermost_half_voxel(slicer_scene):
    grid = GRIDS["oblique"]
    transform = Transform((field_on(grid),))
    border = grid.index_to_point([[-0.4, 5, 5], [3, grid.size[1] - 0.6, 3], [10, 10, grid.size[2] - 0.6]])
    mapped = helpers.map_points(from_world(new_node(transform)), border)
    assert np.abs(mapped - transform.apply(border)).max() < EXACT_MM


def test_chain_of_parents_is_flattened(slicer_scene):
    grid = GRIDS["oblique"]
    inner, outer = new_node(Transform((field_on(grid), TURN))), new_node(Transform((Affine.shift([1, 2, 3]),)))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    points = inner_points(grid)
    expected = helpers.transform_of(inner, grid).apply(points)
    # World to local goes through the outer transform first.
    by_hand = Transform((Affine.shift([1, 2, 3]), field_on(grid), TURN)).apply(points)
    assert np.abs(expected - by_hand).max() < EXACT_MM


def test_inverted_node_is_inverted_numerically(slicer_scene):
    grid = GRIDS["oblique"]
    transform = Transform((field_on(grid, amplitude_mm=2.0),))
    node = new_node(transform)
    node.Inverse()
    points = inner_points(grid, margin=5)
    there = helpers.transform_of(node, grid).apply(transform.apply(points))
    # The inverse is a field on the same coarse grid, interpolated linearly between its nodes.
    assert np.abs(there - points).max() < 0.15


def test_thin_plate_spline_is_sampled(slicer_scene):
    grid = GRIDS["canonical"]
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    rng = np.random.default_rng(0)
    for point in rng.uniform(-20, 0, (8, 3)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point + rng.normal(size=3))
    plate = vtk.vtkThinPlateSplineTransform()
    plate.SetBasisToR()
    plate.SetSourceLandmarks(source)
    plate.SetTargetLandmarks(target)
    node = slicer_scene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformFromParent(plate)
    points = inner_points(grid)
    mapped = helpers.map_points(plate, points)
    assert np.abs(helpers.transform_of(node, grid).apply(points) - mapped).max() < 0.05


def test_linear_result_is_a_linear_node(slicer_scene):
    node = new_node(Transform((TURN,)))
    assert node.IsLinear()
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformFromParent(matrix)
    assert np.allclose(flipped_matrix(TURN.homogeneous).ravel(), [matrix.GetElement(i // 4, i % 4) for i in range(16)])


def test_slicer_resamples_as_the_library_does(slicer_scene, phantom):
    pair = phantom.pair
    fixed, moving = add_volume(pair.fixed, "fixed"), add_volume(pair.moving, "moving")
    node = new_node(phantom.truth)
    moving.SetAndObserveTransformNodeID(node.GetID())
    shown = slicer.vtkSlicerVolumesLogic.ResampleVolumeToReferenceVolume(moving, fixed)
    expected = warp_volume(pair.moving, pair.fixed.grid, phantom.truth, fill=0).array
    low, high = pair.moving.value_range
    difference = np.abs(array_of(shown) - expected) / (high - low)
    # The outermost voxels differ in how the two programs treat the moving volume's border.
    assert difference[2:-2, 2:-2, 2:-2].max() < 0.01


def test_scene_round_trip_keeps_the_map(slicer_scene, tmp_path):
    grid = GRIDS["left-handed"]
    transform = Transform((field_on(grid), TURN))
    new_node(transform).SetName("kept")
    assert slicer_scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer_scene.Clear(0)
    assert slicer_scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    node = slicer_scene.GetFirstNodeByName("kept")
    points = inner_points(grid)
    cubic = helpers.map_points(from_world(node), points)
    use_linear_interpolation(node)
    linear = helpers.map_points(from_world(node), points)
    assert np.abs(linear - transform.apply(points)).max() < EXACT_MM
    assert np.abs(cubic - linear).max() > 1e-3  # else the remedy is not needed any more
