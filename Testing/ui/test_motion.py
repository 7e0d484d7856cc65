"""*Motion over time*: a sequence is corrected by the worker, its results play in the browser; cancel keeps frames."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from DeepVsClassicRegLib.core.errors import Cancelled
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.mrml.nodes import add_volume
from DeepVsClassicRegLib.mrml.sequences import problem_of_sequence, sequence_of
from DeepVsClassicRegLib.worker.moving import correct_frames
from panel_helpers import settle, shown, wait


def blob(shift_mm: float) -> Volume:
    """Return a body that is shifted along x."""
    grid = Grid((20, 18, 16), (2.0, 2.0, 2.0), (-19.0, -17.0, -15.0))
    outer = np.sqrt((((grid.points() - [shift_mm, 0, 0]) / [13.0, 9.0, 10.0]) ** 2).sum(-1))
    return Volume((500 / (1 + np.exp(9 * (outer - 1)))).astype(np.float32), grid, "frame")


@pytest.fixture
def sequence(widget):
    """A sequence of three volumes with a browser, as Slicer loads a 4D volume."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Breathing")
    node.SetIndexName("time")
    node.SetIndexUnit("s")
    for number in range(3):
        volume = add_volume(blob(1.5 * number))
        node.SetDataNodeAtValue(volume, f"{0.5 * number:g}")
        slicer.mrmlScene.RemoveNode(volume)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(node.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return node


@pytest.fixture
def started(panel, ui, sequence, fake):
    """A correction that the user has started with the rigid engine."""
    wait(lambda: shown(ui.motionButton))
    ui.engineCombo.currentIndex = ui.engineCombo.findData("linear")
    ui.motionButton.collapsed = False
    assert ui.motionCombo.count == 1
    ui.motionCyclicCheck.checked = True
    ui.motionNowButton.click()
    assert ui.motionNowButton.text == "Cancel"
    return fake.process


def frames_finished(process):
    """Let the worker finish one frame of three, then stop."""
    seen = []
    stop = Progress(
        lambda update: seen.append(update.stage) if "frame" in update.stage else None, cancelled=lambda: bool(seen)
    )
    with pytest.raises(Cancelled):
        correct_frames(Job.read(process.folder), process.folder, stop)


def browser_of(sequence):
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)


def test_the_results_play_with_the_original(panel, ui, started, sequence):
    job = Job.read(started.folder)
    assert job.task == "motion" and job.options["motion"]["cyclic"] and len(job.options["frames"]) == 3
    browser_of(sequence).GetProxyNode(sequence).GetDisplayNode().SetWindowLevel(320, 210)
    started.answer(**correct_frames(job, started.folder, Progress()))
    wait(lambda: not panel.busy)
    assert "plays in the sequence browser" in ui.motionMessageLabel.text
    browser = browser_of(sequence)
    names = {"Breathing motion", "Breathing motion-compensated"}
    results = {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode")}
    assert names <= set(results)
    motion, volumes = (results[name] for name in sorted(names))
    assert motion.GetNthIndexValue(2) == volumes.GetNthIndexValue(2) == "1" and volumes.GetIndexUnit() == "s"
    display = browser.GetProxyNode(volumes).GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (320, 210)
    shifts = []
    for number in range(3):
        browser.SetSelectedItemNumber(number)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        to_frame = browser.GetProxyNode(motion).GetTransformFromParent().TransformPoint(0.0, 0.0, 0.0)
        shifts.append(-to_frame[0])  # RAS
        shown = slicer.util.arrayFromVolume(browser.GetProxyNode(volumes))
        assert np.abs(shown - blob(0.0).array)[3:-3, 3:-3, 4:-4].mean() < 12
    assert shifts == pytest.approx([0.0, 1.5, 3.0], abs=0.3)
    assert not panel.parameter_node.GetScene().IsBatchProcessing()
    table = next(iter(slicer.util.getNodesByClass("vtkMRMLTableNode")))
    assert table.GetNumberOfRows() == 3 and float(table.GetCellText(2, 1)) == pytest.approx(3.0, abs=0.3)


def test_cancel_keeps_the_finished_frames(panel, ui, started, sequence):
    frames_finished(started)
    ui.motionNowButton.click()
    wait(lambda: not panel.busy)
    assert started.cancelled and "1 finished frames are kept" in ui.motionMessageLabel.text
    nodes = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    motion = next(node for node in nodes if node.GetName() == "Breathing motion")
    assert motion.GetNumberOfDataNodes() == 1 and motion.GetNthIndexValue(0) == "0.5"
    assert not started.folder.exists(), "the job folder is left"
    assert ui.motionNowButton.text == "Correct motion" and ui.motionNowButton.enabled


def test_a_proxy_node_stands_for_its_sequence(panel, ui, sequence):
    proxy = browser_of(sequence).GetProxyNode(sequence)
    assert sequence_of(proxy) is sequence and sequence_of(None) is None
    panel.motion.content.pick(proxy)
    assert ui.motionCombo.currentData == sequence.GetID()
    ui.motionReferenceCombo.currentIndex = ui.motionReferenceCombo.findData("current")
    browser_of(sequence).SetSelectedItemNumber(2)
    assert panel.motion.content.options()["reference"] == "2"


def test_only_sequences_of_volumes_are_offered(panel, ui, widget):
    wait(lambda: not panel.checking)
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Points")
    for number in range(2):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        points.SetDataNodeAtValue(node, str(number))
    assert "not a scalar volume" in problem_of_sequence(points)
    assert "at least 2" in problem_of_sequence(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode"))
    panel.validate()
    assert not shown(ui.motionButton)
    ui.motionButton.collapsed = False
    assert ui.motionCombo.count == 0 and not ui.motionNowButton.enabled


def test_results_of_a_removed_sequence_are_dropped(panel, ui, started, sequence):
    found = correct_frames(Job.read(started.folder), started.folder, Progress())
    slicer.mrmlScene.RemoveNode(sequence)
    started.answer(**found)
    wait(lambda: not panel.busy)
    assert "no longer in the scene" in ui.motionMessageLabel.text
    assert not slicer.util.getNodesByClass("vtkMRMLSequenceNode")


def test_it_is_canceled_with_its_scene(panel, ui, started, sequence):
    frames_finished(started)
    slicer.mrmlScene.Clear(0)
    assert started.cancelled
    wait(lambda: not panel.busy)
    assert "scene was closed" in ui.motionMessageLabel.text and ui.motionNowButton.text == "Correct motion"
    assert not slicer.util.getNodesByClass("vtkMRMLSequenceNode")


def test_nothing_is_added_after_the_panel_was_closed(widget, started, sequence):
    frames_finished(started)
    widget.cleanup()
    settle()
    assert started.was_shut_down and len(slicer.util.getNodesByClass("vtkMRMLSequenceNode")) == 1
