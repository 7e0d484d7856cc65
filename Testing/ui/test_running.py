"""Runs from the button: progress, log, cancel, failures, comparing, and what happens when things vanish meanwhile."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import choose, compare, node_ids, press, shown, wait


def test_progress_is_shown_and_the_result_comes(panel, picked, ui, fake):
    press(panel)
    process = fake.process
    assert ui.registerButton.text == "Cancel"
    assert shown(ui.progressBar)
    process.progress(0.5, "Affine, level 2 of 3", -0.8)
    assert 450 < ui.progressBar.value < 550
    assert "Affine, level 2 of 3" in ui.stageLabel.text
    process.tell("log", text="metric -0.8")
    process.finish()
    wait(lambda: not panel.busy)
    assert ui.registerButton.text == "Register"
    assert not shown(ui.progressBar)
    assert "metric -0.8" in ui.logText.plainText
    run = panel.results.run
    assert run.transform is not None and run.warped is not None
    assert shown(ui.resultButton)
    assert "landmark error" in ui.verdictLabel.text


def test_the_log_stays_short(panel, picked, ui, fake):
    press(panel)
    for number in range(10000):
        fake.process.tell("log", text=f"line {number}")
    fake.process.end("failed", "It broke.")
    wait(lambda: not panel.busy)
    assert ui.logText.blockCount <= 2000
    assert "line 9999" in ui.logText.plainText


def test_the_metric_is_drawn_while_it_is_seen(panel, picked, ui, fake):
    slicer.util.mainWindow().show()
    ui.progressButton.collapsed = False
    press(panel)
    for step in range(20):
        fake.process.progress(step / 20, "Deform", -step / 20)
    wait(lambda: ui.metricPlot.pixmap is not None and ui.metricPlot.pixmap.width() > 0)
    ui.progressButton.collapsed = True
    slicer.util.mainWindow().hide()


def test_cancel_asks_the_worker_and_changes_nothing(panel, picked, ui, fake):
    before = node_ids()
    press(panel)
    process = fake.process
    ui.registerButton.click()
    wait(lambda: not panel.busy)
    assert process.cancelled
    assert "ancel" in ui.stageLabel.text
    assert ui.registerButton.enabled
    assert node_ids() == before


@pytest.mark.parametrize("state", ["rejected", "failed"])
def test_failures_are_shown_with_their_remedy(panel, picked, ui, fake, state):
    press(panel)
    fake.process.end(state, "The demons diverged.", "Raise the field smoothing.")
    wait(lambda: not panel.busy)
    assert "The demons diverged." in ui.stageLabel.text
    assert "Raise the field smoothing." in ui.stageLabel.text
    assert ui.registerButton.enabled


def test_a_bug_while_publishing_leaves_no_node(panel, picked, ui, fake, monkeypatch, caplog):
    from DeepVsClassicRegLib.mrml import outputs

    press(panel)
    process = fake.process
    before = node_ids()

    def broken(*_arguments, **_options):
        raise ValueError("no table today")

    monkeypatch.setattr(outputs, "update_measures_table", broken)
    process.finish()
    wait(lambda: not panel.busy)
    assert "no table today" in ui.stageLabel.text
    assert node_ids() == before
    assert "no table today" in caplog.text


def test_compared_engines_run_sequentially(panel, picked, ui, fake):
    compare(panel, "sitk-demons", "sitk-bspline")
    press(panel)
    first = fake.process
    first.progress(0.5, "Working")
    assert "1 of 2" in ui.stageLabel.text
    first.finish()
    wait(lambda: len(fake.processes) == 2)
    second = fake.process
    second.progress(0.5, "Working")
    assert "2 of 2" in ui.stageLabel.text
    second.finish(worse=True)
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 2
    assert {run.engine for run in panel.results.runs} == {"sitk-demons", "sitk-bspline"}


def test_compared_engines_share_one_linear_start(panel, picked, ui, fake):
    from DeepVsClassicRegLib.core.job import Job

    compare(panel, "sitk-demons", "sitk-bspline", "elastix")
    press(panel)
    assert Job.read(fake.process.folder).options == {"first": True, "share_start": True}
    fake.process.end("failed", "It broke before the start was found.")
    wait(lambda: len(fake.processes) == 2)
    assert Job.read(fake.process.folder).options == {"first": True, "share_start": True}
    fake.process.finish()
    wait(lambda: len(fake.processes) == 3)
    third = fake.process
    assert Job.read(third.folder).options == {"first": True, "start": {"file": "start.h5", "facts": {}}}
    assert (third.folder / "start.h5").read_bytes() == b"a start"
    third.finish()
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 2


def test_a_start_is_not_shared_when_the_pair_changed_meanwhile(panel, picked, ui, fake):
    from DeepVsClassicRegLib.core.job import Job

    compare(panel, "sitk-demons", "sitk-bspline")
    press(panel)
    slicer.util.arrayFromVolume(picked.fixed)[...] += 1
    slicer.util.arrayFromVolumeModified(picked.fixed)
    fake.process.finish()
    wait(lambda: len(fake.processes) == 2)
    assert Job.read(fake.process.folder).options == {"first": True, "share_start": True}
    fake.process.finish()
    wait(lambda: not panel.busy)


def test_one_failure_among_compared_engines_does_not_stop_the_others(panel, picked, ui, fake):
    compare(panel, "sitk-demons", "sitk-bspline")
    press(panel)
    fake.process.end("rejected", "Too little overlap.")
    wait(lambda: len(fake.processes) == 2)
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 1
    assert "Too little overlap." in ui.stageLabel.text


def queue(ui) -> list[str]:
    return [ui.queueList.item(row).text() for row in range(ui.queueList.count)]


def test_more_runs_can_be_queued_and_removed(panel, picked, ui, fake):
    assert not shown(ui.queueButton) and not shown(ui.queueFrame)
    press(panel)
    first = fake.process
    assert shown(ui.queueButton) and not shown(ui.queueFrame)
    for preset in ("paper", "default"):
        choose(ui.presetCombo, preset)
        wait(lambda: not panel.checking)
        ui.queueButton.click()
    assert shown(ui.queueFrame)
    pair = "Phantom head moving to Phantom head fixed"
    assert queue(ui) == [
        f"Running: sitk-demons, {pair}", f"Waiting: sitk-demons:paper, {pair}", f"Waiting: sitk-demons, {pair}"
    ]  # fmt: skip
    assert not ui.removeRunButton.enabled
    ui.queueList.setCurrentRow(1)
    ui.removeRunButton.click()
    assert queue(ui) == [f"Running: sitk-demons, {pair}", f"Waiting: sitk-demons, {pair}"]
    ui.queueList.setCurrentRow(0)
    ui.removeRunButton.click()  # what runs can be skipped, too
    assert first.cancelled
    wait(lambda: len(fake.processes) == 2)
    assert not shown(ui.queueFrame)
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 1 and panel.results.run.preset == "default"
    assert not shown(ui.queueButton)


def test_cancel_empties_the_queue(panel, picked, ui, fake):
    press(panel)
    assert fake.process
    ui.queueButton.click()
    ui.registerButton.click()
    wait(lambda: not panel.busy)
    assert len(fake.processes) == 1 and not shown(ui.queueFrame) and not panel.runner.waiting


def test_a_run_that_needs_advice_first_cannot_be_queued(panel, picked, ui, fake):
    press(panel)
    assert fake.process
    choose(ui.engineCombo, "recommended")
    wait(lambda: not panel.checking)
    assert shown(ui.queueButton) and not ui.queueButton.enabled
    ui.registerButton.click()
    wait(lambda: not panel.busy)


def test_the_log_can_be_copied_and_cleared(panel, picked, ui, fake):
    press(panel)
    fake.process.tell("log", text="metric -0.8")
    fake.process.end("failed", "It broke.")
    wait(lambda: not panel.busy)
    ui.copyLogButton.click()
    copied = slicer.app.clipboard().text()
    assert "sitk-demons" in copied and "metric -0.8" in copied and "It broke." in copied
    ui.clearLogButton.click()
    assert ui.logText.plainText == ""


def test_inputs_may_be_deleted_in_mid_run(panel, picked, ui, fake):
    press(panel)
    process = fake.process
    for node in (picked.fixed, picked.moving, picked.fixed_labels, picked.moving_labels):
        slicer.mrmlScene.RemoveNode(node)
    process.finish()
    wait(lambda: not panel.busy)
    assert panel.results.run.warped is not None
    wait(lambda: "No fixed volume" in ui.problemsLabel.text)
    assert "No moving volume" in ui.problemsLabel.text
    assert not ui.registerButton.enabled


def test_the_scene_may_be_closed_in_mid_run(panel, picked, ui, fake):
    press(panel)
    process = fake.process
    slicer.mrmlScene.Clear(0)
    wait(lambda: not panel.busy)
    assert process.cancelled
    assert "scene was closed" in ui.stageLabel.text
    assert not shown(ui.resultButton)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_the_scene_may_be_closed_while_inputs_are_copied(panel, picked, ui, fake):
    ui.registerButton.click()
    slicer.mrmlScene.Clear(0)
    wait(lambda: not panel.busy)
    assert not fake.processes


def test_chosen_nodes_are_overwritten(panel, picked, ui, fake):
    node = ui.transformTarget.addNode()
    ui.transformTarget.setCurrentNode(node)
    ui.jacobianCheck.checked = False
    press(panel)
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert panel.results.run.transform is node
    assert panel.results.run.jacobian is None
    assert node.GetTransformFromParent() is not None


def test_an_unwritable_temporary_folder_is_reported(panel, picked, ui, fake, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setattr(type(slicer.app), "temporaryPath", str(blocked), raising=False)
    press(panel)
    wait(lambda: not panel.busy)
    assert "Could not create a folder" in ui.stageLabel.text
    assert not fake.processes


def test_a_full_disk_while_writing_is_reported(panel, picked, ui, fake, monkeypatch):
    from DeepVsClassicRegLib.core import job

    def full(*_arguments):
        from DeepVsClassicRegLib.core.errors import FileError

        raise FileError("Could not write job.json: No space left on device.", hint="Check the free space.")

    monkeypatch.setattr(job, "write_json", full)
    press(panel)
    wait(lambda: not panel.busy)
    assert "No space left on device" in ui.stageLabel.text
    assert not fake.processes


def test_kept_files_stay_and_are_named(panel, picked, ui, fake):
    import shutil

    ui.keepFilesCheck.checked = True
    press(panel)
    process = fake.process
    process.finish()
    wait(lambda: not panel.busy)
    ui.keepFilesCheck.checked = False
    assert process.folder.is_dir()
    assert str(process.folder) in ui.logText.plainText
    shutil.rmtree(process.folder)
