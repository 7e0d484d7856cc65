"""Color photographs of one slice and vector volumes, from the selectors to the warped node, with the real worker."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.mrml.geometry import array_of, image_of
from panel_helpers import choose, settle, shown, wait

SHIFT_MM = 3.0


def blobs(x, y):
    """Return a smooth random pattern, 0 to 1."""
    rng = np.random.default_rng(5)
    total = sum(
        np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * r**2))
        for cx, cy, r in zip(rng.uniform(8, 56, 14), rng.uniform(8, 56, 14), rng.uniform(3, 7, 14), strict=True)
    )
    return np.clip(total, 0, 1.5) / 1.5


def vector_volume(name, array):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", name)
    node.SetAndObserveImageData(image_of(array))
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def photographs(slicer_scene):
    """Two color photographs of one slice, 64 x 64 pixels of 1 mm; the moving one is shifted by 3 mm along x."""
    y, x = np.mgrid[0:64, 0:64].astype(float)

    def photograph(name, shift):
        pattern = blobs(x - shift, y)
        array = np.stack([255 * pattern, 120 * pattern, 255 * (1 - pattern)], axis=-1).astype(np.uint8)[None]
        node = vector_volume(name, array)
        node.SetVoxelVectorType(node.VoxelVectorTypeColorRGB)
        return node

    return photograph("Section 1", 0.0), photograph("Section 2", SHIFT_MM)


def test_photographs_are_registered_in_their_plane_and_stay_colored(widget, panel, ui, photographs):
    fixed, moving = photographs
    ui.fixedSelector.setCurrentNode(fixed)
    ui.movingSelector.setCurrentNode(moving)
    settle()
    assert shown(ui.fixedChannelCombo) and ui.fixedChannelCombo.currentText == "Luminance"
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    wait(lambda: not panel.busy)
    run = panel.results.run
    assert run is not None, ui.stageLabel.text
    assert run.warped.IsA("vtkMRMLVectorVolumeNode")
    assert run.warped.GetVoxelVectorType() == moving.GetVoxelVectorType()
    reference, warped, before = (array_of(node).astype(float) for node in (fixed, run.warped, moving))
    assert warped.shape == (1, 64, 64, 3)
    inside = np.s_[0, 8:-8, 8:-8]
    for channel in range(3):
        error = np.abs(warped[inside][..., channel] - reference[inside][..., channel]).mean()
        assert error < 0.3 * np.abs(before[inside][..., channel] - reference[inside][..., channel]).mean()
    points = [run.transform.GetTransformFromParent().TransformPoint(-30.0, -30.0, 0.0)]
    assert points[0][2] == pytest.approx(0.0, abs=1e-3), "the transform leaves the plane"
    for view in ("blend", "checkerboard", "redCyan", "difference", "sideBySide"):
        getattr(ui, f"{view}Button").click()
        wait(lambda: not panel.busy)
        assert panel.qa.view and not shown(ui.locationLabel), ui.locationLabel.text


def test_the_channel_is_a_choice_that_the_scene_keeps(widget, panel, ui, photographs):
    fixed, moving = photographs
    ui.fixedSelector.setCurrentNode(fixed)
    ui.movingSelector.setCurrentNode(moving)
    choose(ui.movingChannelCombo, "2")
    settle()
    assert ui.movingChannelCombo.currentText == "Blue"
    assert panel.inputs.inputs().moving_channel == "2"
    ui.swapButton.click()
    assert (ui.fixedChannelCombo.currentData, ui.movingChannelCombo.currentData) == ("2", "")
    panel.set_parameter_node(None)
    panel.set_parameter_node(widget.logic.getParameterNode())
    assert panel.inputs.inputs().fixed_channel == "2"


def test_vectors_wait_for_a_channel(panel, ui, pair):
    rng = np.random.default_rng(2)
    vectors = vector_volume("Strain", rng.normal(size=(16, 16, 16, 3)).astype(np.float32))
    ui.fixedSelector.setCurrentNode(pair.fixed)
    ui.movingSelector.setCurrentNode(vectors)
    wait(lambda: not panel.checking)
    assert not shown(ui.fixedChannelCombo) and shown(ui.movingChannelCombo)
    assert not ui.registerButton.enabled and "Select the channel" in ui.problemsLabel.text
    choose(ui.movingChannelCombo, "1")
    wait(lambda: ui.registerButton.enabled)


def test_a_slice_and_a_volume_are_no_pair(panel, ui, pair, photographs):
    ui.fixedSelector.setCurrentNode(photographs[0])
    ui.movingSelector.setCurrentNode(pair.moving)
    wait(lambda: not panel.checking)
    assert not ui.registerButton.enabled and "is a single slice" in ui.problemsLabel.text


def test_a_scalar_node_cannot_take_a_warped_photograph(panel, ui, pair, photographs):
    fixed, moving = photographs
    ui.fixedSelector.setCurrentNode(fixed)
    ui.movingSelector.setCurrentNode(moving)
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.warpedTarget.setCurrentNode(pair.moving)
    wait(lambda: not panel.checking and not ui.registerButton.enabled)
    assert "cannot hold the warped volume" in ui.registerButton.toolTip
    ui.warpedTarget.setCurrentNode(None)
    wait(lambda: ui.registerButton.enabled)


def test_the_console_names_a_channel(widget, photographs, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "DeepVsClassicRegLib.ui.console.Console.queue", lambda _self, inputs, *_a, **_k: asked.append(inputs)
    )
    widget.logic.register(*photographs, movingChannel=2, wait=False)
    assert (asked[0].fixed_channel, asked[0].moving_channel) == ("", "2")


def test_the_worker_gets_the_chosen_channel(photographs, tmp_path):
    from DeepVsClassicRegLib.core.images.io import read_volume
    from DeepVsClassicRegLib.mrml.inputs import Inputs
    from DeepVsClassicRegLib.mrml.snapshot import snapshot

    fixed, moving = photographs
    files = snapshot(Inputs(fixed=fixed, moving=moving, moving_channel="2")).write(tmp_path)
    assert files == {"fixed": "fixed.nrrd", "moving": "moving.nrrd#channel=2"}
    assert np.array_equal(read_volume(tmp_path / files["moving"]).array, array_of(moving)[..., 2])
    luminance = array_of(fixed).astype(float) @ [0.299, 0.587, 0.114]
    assert np.allclose(read_volume(tmp_path / files["fixed"]).array, luminance, atol=0.01)
