"""*Make segmentations*: starts a job, adds marked nodes, selects them; gray with the reason otherwise."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.core.engines import segmentation
from DeepVsClassicRegLib.core.engines.base import Requirement
from DeepVsClassicRegLib.core.images.io import read_volume, write_labels
from DeepVsClassicRegLib.core.images.volume import TAG, LabelMap, Segment, tag_entry
from DeepVsClassicRegLib.core.job import SEGMENTED, SIDES, Job
from DeepVsClassicRegLib.mrml.inputs import Inputs
from DeepVsClassicRegLib.mrml.segmentations import has_estimated
from DeepVsClassicRegLib.mrml.snapshot import snapshot
from panel_helpers import wait


@pytest.fixture
def model(monkeypatch):
    """A model seems to be installed; the fake worker segments."""
    from DeepVsClassicRegLib.ui import segmentation_button

    monkeypatch.setattr(segmentation_button, "segmentation_model", lambda: None)


@pytest.fixture
def volumes(panel, picked, model):
    """Both volumes are selected, without segmentations."""
    inputs = panel.inputs.inputs()
    panel.inputs.pick(Inputs(fixed=inputs.fixed, moving=inputs.moving))
    wait(lambda: panel.ui.segmentButton.enabled)
    return panel.inputs.inputs()


def answer(process):
    """Write the segmentations a worker makes, and end."""
    job = Job.read(process.folder)
    (process.folder / "out").mkdir()
    for side in job.options[SIDES]:
        grid = read_volume(job.input_paths(process.folder)[side]).grid
        array = np.zeros(grid.shape, np.int32)
        array[3:6, 3:6, 3:6], array[8:11, 3:6, 3:6] = 17, 53
        segments = {
            17: Segment("Left-Hippocampus", {"Color": "0.86 0.85 0.08", "Tags": tag_entry("m")}),
            53: Segment("Right-Hippocampus", {"Color": "0.1 0.2 0.3", "Tags": tag_entry("m")}),
        }
        write_labels(LabelMap(array, grid, segments=segments), process.folder / "out" / SEGMENTED[side])
    result = {"files": {side: SEGMENTED[side] for side in job.options[SIDES]}, "notes": []}
    (process.folder / "result.json").write_text(json.dumps(result))
    process.answer(**result)
    return job


def test_segmentations_are_made_marked_and_selected(panel, ui, volumes, fake):
    ui.segmentButton.click()
    assert ui.segmentButton.text == "Cancel segmentation"
    job = answer(fake.process)
    wait(lambda: not panel.busy)
    assert job.task == "segment" and job.options[SIDES] == ["fixed", "moving"]
    made = panel.inputs.inputs()
    assert "estimated" in made.fixed_labels.GetName() and has_estimated(made.moving_labels)
    segment = made.fixed_labels.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "Left-Hippocampus" and segment.HasTag(TAG)
    assert np.allclose(segment.GetColor(), (0.86, 0.85, 0.08), atol=1e-3)
    names = snapshot(made).label_names
    assert set(names.values()) == {"Left-Hippocampus (estimated)", "Right-Hippocampus (estimated)"}
    wait(lambda: not panel.checking)
    assert not ui.segmentButton.enabled and "have a segmentation" in ui.segmentButton.toolTip


def test_only_the_side_without_a_segmentation_is_segmented(panel, ui, picked, model, fake):
    inputs = panel.inputs.inputs()
    panel.inputs.pick(Inputs(fixed=inputs.fixed, moving=inputs.moving, fixed_labels=inputs.fixed_labels))
    wait(lambda: ui.segmentButton.enabled)
    ui.segmentButton.click()
    assert answer(fake.process).options[SIDES] == ["moving"]
    wait(lambda: not panel.busy)
    assert panel.inputs.inputs().fixed_labels is inputs.fixed_labels and panel.inputs.inputs().moving_labels is not None


def test_cancel_and_failure_are_reported(panel, ui, volumes, fake):
    ui.segmentButton.click()
    process = fake.process
    ui.segmentButton.click()
    assert process.cancelled and ui.segmentButton.text == "Make segmentations"
    assert "Canceled" in ui.stageLabel.text
    ui.segmentButton.click()
    wait(lambda: len(fake.processes) == 2)
    fake.process.end("rejected", "No model of that kind.", "Add one.")
    assert "No model of that kind." in ui.stageLabel.text and panel.inputs.inputs().fixed_labels is None


def test_it_is_canceled_with_its_scene(panel, ui, volumes, fake):
    ui.segmentButton.click()
    process = fake.process
    slicer.mrmlScene.Clear(0)
    assert process.cancelled
    wait(lambda: not panel.busy)
    assert "scene was closed" in ui.stageLabel.text and ui.segmentButton.text == "Make segmentations"


def test_segmentations_of_a_removed_volume_are_dropped(panel, ui, volumes, fake):
    ui.segmentButton.click()
    process = fake.process
    slicer.mrmlScene.RemoveNode(volumes.moving)
    answer(process)
    wait(lambda: not panel.busy)
    assert "no longer in the scene" in ui.stageLabel.text
    assert not slicer.util.getNodes("*estimated*")


@pytest.fixture
def undo(widget):
    """Switches Slicer's undo on."""
    slicer.mrmlScene.SetUndoOn()
    yield slicer.mrmlScene
    slicer.mrmlScene.SetUndoOff()
    slicer.mrmlScene.ClearUndoStack()


def test_they_are_one_step_of_undo(undo, panel, ui, volumes, fake):
    ui.segmentButton.click()
    answer(fake.process)
    wait(lambda: not panel.busy)
    assert undo.GetNumberOfUndoLevels() == 1


def test_it_is_gray_with_a_remedy(panel, ui, volumes, monkeypatch):
    lacking = Requirement(name="no_such_package", package="torch", title="PyTorch", how="install PyTorch")
    monkeypatch.setattr(segmentation, "MODEL_REQUIRES", (lacking,))
    panel.validate()
    assert not ui.segmentButton.enabled and "Install PyTorch." in ui.segmentButton.toolTip
