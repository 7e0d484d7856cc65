"""*Serial sections*: the slices of a volume are aligned by the real worker, in gray and in color."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.core.files import write_json
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.job import RESULT_FILE, Job
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.mrml.geometry import array_of, image_of
from DeepVsClassicRegLib.mrml.nodes import add_volume
from DeepVsClassicRegLib.worker.stacking import align_stack
from panel_helpers import choose, shown, wait

SHIFTS = (0, 3, -2, 2, -3)


def pattern(shift):
    """Return a body with two spots, shifted along x by pixels."""
    y, x = np.mgrid[:40, :44].astype(float)
    body = 200 / (1 + np.exp(4 * (np.hypot((y - 19) / 12, (x - 21 - shift) / 14) - 1) * 6))
    return body - 120 * (np.hypot(y - 25, x - 27 - shift) < 4) + 40 * (np.hypot(y - 13, x - 16 - shift) < 3)


@pytest.fixture
def sections(widget):
    """Five sections that are shifted against each other."""
    array = np.stack([pattern(shift) for shift in SHIFTS]).astype(np.float32)
    return add_volume(Volume(array, Grid((44, 40, 5), (0.5, 0.5, 2.0), (3.0, -4.0, 5.0)), "Histology"))


def spread(array):
    """Return how far the sections are from their mean, in intensities."""
    return float(np.abs(array - array.mean(axis=0))[:, 8:-8, 8:-8].mean())


def aligned(panel, ui):
    """Press the button and return the new nodes by class."""
    before = set(slicer.util.getNodes("*").values())
    wait(lambda: ui.stackNowButton.enabled)
    ui.stackNowButton.click()
    assert ui.stackNowButton.text == "Cancel"
    wait(lambda: not panel.busy)
    assert "mean correlation" in ui.stackMessageLabel.text, ui.stackMessageLabel.text
    return {node.GetClassName(): node for node in set(slicer.util.getNodes("*").values()) - before}


def test_sections_are_aligned_without_reading_anything(panel, ui, sections):
    wait(lambda: shown(ui.stackButton))
    assert ui.stackButton.collapsed
    ui.stackButton.collapsed = False
    ui.stackSelector.setCurrentNode(sections)
    choose(ui.stackDeformCombo, "none")
    found = aligned(panel, ui)
    volume = found["vtkMRMLScalarVolumeNode"]
    assert volume.GetName() == "Histology aligned"
    assert spread(array_of(volume)) < 0.5 * spread(array_of(sections))
    table = found["vtkMRMLTableNode"]
    assert table.GetNumberOfRows() == 5 and float(table.GetCellText(0, 3)) > float(table.GetCellText(0, 2))
    layers = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert layers.GetBackgroundVolumeID() == volume.GetID()
    # A drawing on the given sections follows through the transform.
    drawn = [-(3.0 + 27 * 0.5 + SHIFTS[1] * 0.5), -(-4.0 + 25 * 0.5), 5.0 + 2.0]
    moved = np.zeros(3)
    found["vtkMRMLTransformNode"].GetTransformToParent().TransformPoint(drawn, moved)
    at = np.round([(-moved[0] - 3.0) / 0.5, (-moved[1] + 4.0) / 0.5]).astype(int)
    region = array_of(volume)[1, at[1] - 1 : at[1] + 2, at[0] - 1 : at[0] + 2]
    assert region.max() < 110, "the dark spot of section 1 is where the transform puts it"


def test_color_sections_stay_colored(panel, ui, sections):
    gray = np.clip(array_of(sections), 0, 255)
    color = np.stack([gray, 0.5 * gray, 255 - gray], axis=-1).astype(np.uint8)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Stained")
    node.SetAndObserveImageData(image_of(color))
    node.SetVoxelVectorType(node.VoxelVectorTypeColorRGB)
    node.CreateDefaultDisplayNodes()
    ui.stackButton.collapsed = False
    ui.stackSelector.setCurrentNode(node)
    assert shown(ui.stackChannelCombo) and ui.stackChannelCombo.currentText == "Luminance"
    choose(ui.stackChannelCombo, "0")
    choose(ui.stackDeformCombo, "none")
    volume = aligned(panel, ui)["vtkMRMLVectorVolumeNode"]
    assert volume.GetVoxelVectorType() == node.GetVoxelVectorType()
    found = array_of(volume)
    assert found.shape == color.shape and found.dtype == np.uint8
    for channel in range(3):
        assert spread(found[..., channel].astype(float)) < 0.6 * spread(color[..., channel].astype(float))


def test_the_job_has_what_was_chosen(panel, ui, sections, fake):
    ui.stackButton.collapsed = False
    ui.stackSelector.setCurrentNode(sections)
    choose(ui.stackAxisCombo, "j")
    assert ui.stackReferenceSpin.maximum == 39
    ui.stackReferenceSpin.value = 7
    ui.stackTurnSpin.value = 180
    ui.stackDriftSpin.value = 0
    choose(ui.stackLinearCombo, "affine")
    choose(ui.engineCombo, "sitk-demons")
    for deform, engine, preset in (
        ("instance", "instance", "sections"),
        ("none", "none", "default"),
        ("chosen", "sitk-demons", "default"),
    ):
        choose(ui.stackDeformCombo, deform)
        ui.stackNowButton.click()
        job = Job.read(fake.process.folder)
        assert (job.task, job.engine, job.preset, job.options["axis"]) == ("stack", engine, preset, "j")
        assert job.options["stack"] == {"reference": 7, "linear": "affine", "turn_deg": 180.0, "drift": 0.0}
        ui.stackNowButton.click()
        wait(lambda: not panel.busy)
        assert ui.stackNowButton.text == "Align sections" and "Canceled" in ui.stackMessageLabel.text
        fake.processes.clear()
    assert not slicer.util.getNodes("Histology aligned*")


def test_what_cannot_be_aligned_is_said_on_the_button(panel, ui, sections):
    ui.stackButton.collapsed = False
    ui.stackSelector.setCurrentNode(None)
    assert not ui.stackNowButton.enabled and "Select a volume" in ui.stackNowButton.toolTip
    single = add_volume(Volume(np.ones((1, 20, 20), np.float32), Grid((20, 20, 1)), "One"))
    ui.stackSelector.setCurrentNode(single)
    assert not ui.stackNowButton.enabled and "at least 2 of" in ui.stackNowButton.toolTip
    ui.stackSelector.setCurrentNode(sections)
    choose(ui.stackLinearCombo, "none")
    choose(ui.stackDeformCombo, "none")
    assert not ui.stackNowButton.enabled and "Choose a linear alignment" in ui.stackNowButton.toolTip
    choose(ui.stackLinearCombo, "rigid")
    assert ui.stackNowButton.enabled


@pytest.fixture
def started(ui, sections, fake):
    """An alignment that the user has started."""
    ui.stackButton.collapsed = False
    ui.stackSelector.setCurrentNode(sections)
    choose(ui.stackDeformCombo, "none")
    ui.stackNowButton.click()
    return fake.process


def test_results_of_removed_sections_are_dropped(panel, ui, started, sections):
    found = align_stack(Job.read(started.folder), started.folder, Progress())
    write_json(started.folder / RESULT_FILE, found)
    slicer.mrmlScene.RemoveNode(sections)
    started.answer(**found)
    wait(lambda: not panel.busy)
    assert "no longer in the scene" in ui.stackMessageLabel.text
    assert not slicer.util.getNodes("Histology*")


def test_it_is_canceled_with_its_scene(panel, ui, started):
    slicer.mrmlScene.Clear(0)
    assert started.cancelled
    wait(lambda: not panel.busy)
    assert "scene was closed" in ui.stackMessageLabel.text and ui.stackNowButton.text == "Align sections"
