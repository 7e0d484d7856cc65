"""The phantom pair is offered among the sample data and arrives complete."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.mrml import sample_data
from DeepVsClassicRegLib.mrml.geometry import array_of, grid_of
from DeepVsClassicRegLib.mrml.problems import points_mm


def test_phantom_nodes(nodes, phantom):
    pair = phantom.pair
    assert np.array_equal(array_of(nodes.moving), pair.moving.array)
    assert grid_of(nodes.fixed).same_as(pair.fixed.grid, tolerance_mm=1e-6)
    assert np.allclose(points_mm(nodes.moving_points), pair.moving_points, atol=1e-4)
    segmentation = nodes.fixed_labels.GetSegmentation()
    names = [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]
    assert names == [pair.fixed_labels.names[label] for label in pair.fixed_labels.labels]
    low, high = nodes.fixed.GetDisplayNode().GetLevel(), nodes.fixed.GetDisplayNode().GetWindow()
    assert 0 < low < high


@pytest.fixture
def sample(slicer_scene, phantom, monkeypatch, tmp_path):
    """The head sample, registered twice, with an empty cache."""
    monkeypatch.setattr(sample_data, "generate_phantom", lambda *_args, **_options: phantom)
    cache = slicer_scene.GetCacheManager()
    before = cache.GetRemoteCacheDirectory()
    cache.SetRemoteCacheDirectory(str(tmp_path / "cache"))
    for _ in range(2):
        assert sample_data.register_sample_data()
    sources = slicer.modules.sampleDataSources[sample_data.CATEGORY]
    offered = {source.sampleName: source for source in sources}
    assert len(sources) == len(offered) and set(offered) >= set(sample_data.SAMPLES)
    assert not list((tmp_path / "cache").glob("DeepVsClassicReg*")), "generated at startup"
    yield offered["DeepVsClassicRegPhantom"]
    cache.SetRemoteCacheDirectory(before)


def test_generated_by_the_button(slicer_scene, sample):
    loaded = sample.customDownloader(sample)
    assert [node.GetName() for node in loaded] == ["Phantom head fixed", "Phantom head moving"]
    assert slicer_scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_generated_by_download_sample(slicer_scene, sample, phantom, monkeypatch):
    import SampleData

    fixed, *others = SampleData.SampleDataLogic().downloadSamples("DeepVsClassicRegPhantom")
    named = {node.GetName(): node for node in (fixed, *others)}
    assert set(named) == set(sample_data.node_names("head").values())
    assert fixed.GetName() == "Phantom head fixed"
    # Slicer reverses the slices of a left-handed grid when it reads it.
    assert np.array_equal(array_of(fixed)[::-1], phantom.pair.fixed.array)
    assert np.allclose(grid_of(fixed).points()[::-1], phantom.pair.fixed.grid.points(), atol=1e-4)
    points = named["Phantom head moving landmarks"]
    assert np.allclose(points_mm(points), phantom.pair.moving_points, atol=1e-4)
    segmentation = named["Phantom head moving segmentation"].GetSegmentation()
    names = {segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())}
    assert names == {phantom.pair.moving_labels.names[label] for label in phantom.pair.moving_labels.labels}

    monkeypatch.setattr(sample_data, "generate_phantom", None)  # files in the cache are not generated again
    assert SampleData.SampleDataLogic().downloadSample("DeepVsClassicRegPhantom").GetName() == "Phantom head fixed"


def test_the_first_look_is_at_the_images(nodes):
    """Segmentations are hidden; landmarks are small, of one color a side, and in slices only."""
    for labels in (nodes.fixed_labels, nodes.moving_labels):
        assert not labels.GetDisplayNode().GetVisibility()
    displays = [points.GetDisplayNode() for points in (nodes.fixed_points, nodes.moving_points)]
    for display in displays:
        assert display.GetVisibility() and display.GetVisibility2D() and not display.GetVisibility3D()
        assert display.GetGlyphScale() <= 2.0 and display.GetUseGlyphScale()
        assert not display.GetPointLabelsVisibility() and not display.GetSliceProjection()
        assert display.GetColor() == display.GetSelectedColor()
    fixed, moving = (np.array(display.GetColor()) for display in displays)
    assert np.abs(fixed - moving).max() > 0.5


def test_the_first_look_shows_two_colors(gl, nodes):
    """What a slice shows: the gray image, few amber and few cyan pixels."""
    slicer.util.setSliceViewerLayers(background=nodes.fixed, fit=True)
    place = [0.0, 0.0, 0.0]
    colors = {"amber": 0, "cyan": 0}
    for points in (nodes.fixed_points, nodes.moving_points):
        points.GetNthControlPointPositionWorld(0, place)
        slicer.util.getNode("vtkMRMLSliceNodeRed").JumpSliceByCentering(*place)
        view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        image = view._canvas.grab(400, 400)[:340].astype(int)  # without the corner text
        red, blue = image[..., 0], image[..., 2]
        colors["amber"] += int((red - blue > 60).sum())
        colors["cyan"] += int((blue - red > 60).sum())
        assert (np.ptp(image, axis=-1) > 60).mean() < 0.02, "the drawing covers the image"
    assert colors["amber"] > 5 and colors["cyan"] > 5, colors
