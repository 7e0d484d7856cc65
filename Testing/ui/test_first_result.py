"""A run is shown as soon as its verdict is known; measures that take long are added without changing what is seen."""

from __future__ import annotations

import json

import pytest
import slicer
from panel_helpers import choose, compare, node_ids, press, settle, shown, table_texts, wait, worker_processes

SURFACES = "distances of surfaces"


@pytest.fixture
def first(panel, picked, ui, fake):
    """A run whose first result is shown; measures follow."""
    press(panel)
    fake.process.first()
    wait(lambda: panel.results.run is not None)
    settle()
    return panel.results.run


def hd95(ui) -> list[str]:
    """The values of the row HD95: before, after."""
    return next(row[1:] for row in table_texts(ui.measuresTable) if row[0].startswith("HD95"))


def look(ui) -> dict:
    """What the user looks at: tab, open sections, the view that is shown, and what the slice views show."""
    found = {name: getattr(ui, name).collapsed for name in dir(ui) if hasattr(getattr(ui, name), "collapsed")}
    for name in ("Red", "Yellow", "Green"):
        widget = slicer.app.layoutManager().sliceWidget(name)
        composite, node = widget.mrmlSliceCompositeNode(), widget.mrmlSliceNode()
        found[name] = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity(), node.GetSliceOffset()
    checked = [name for name in dir(ui) if name.endswith("Button") and getattr(getattr(ui, name), "checked", False)]
    return {**found, "checked": checked}


def test_the_result_is_shown_before_all_measures_are_known(panel, first, ui, fake):
    assert panel.runner.busy and panel.runner.measures(first)
    assert shown(ui.resultButton) and not ui.resultButton.collapsed and ui.inputsButton.collapsed
    assert "landmark error" in ui.verdictLabel.text
    assert f"Still measuring: {SURFACES}" in ui.verdictLabel.text
    assert hd95(ui) == ["–", "–"]
    assert first.transform is not None and first.warped is not None and ui.blendButton.checked
    assert ui.registerButton.text == "Cancel" and shown(ui.progressBar)
    assert "the result stays" in ui.registerButton.toolTip


def test_a_table_of_what_is_missing_is_empty_at_first(panel, first, ui, fake):
    ui.structuresButton.collapsed = False
    choose(ui.structureMeasureCombo, "hd95_mm_per_label")
    settle()
    assert table_texts(ui.structuresTable) == []
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert len(table_texts(ui.structuresTable)) > 1


def test_the_other_measures_are_added_without_changing_what_is_seen(panel, first, ui, fake):
    verdict = ui.verdictLabel.text.partition("Still measuring")[0]
    panel.qa.show("checkerboard")
    wait(lambda: not panel.qa.busy)
    ui.inputsButton.collapsed, ui.structuresButton.collapsed = False, False
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().JumpSliceByCentering(3.0, -4.0, 5.0)
    settle()
    nodes, before, rows = node_ids(), look(ui), ui.measuresTable.model().rowCount()
    fake.process.finish()
    wait(lambda: not panel.busy)
    settle()
    assert (node_ids(), look(ui), ui.measuresTable.model().rowCount()) == (nodes, before, rows)
    assert panel.results.runs == [first] and first.missing == ""
    assert "easuring" not in ui.verdictLabel.text and "easured" not in ui.verdictLabel.text
    assert ui.verdictLabel.text.startswith(verdict.rpartition("<br>")[0])
    assert all(float(value) > 0 for value in hd95(ui))
    table = first.node("report_table").GetTable()
    titles = [table.GetValue(row, 0).ToString() for row in range(table.GetNumberOfRows())]
    assert "95 % Hausdorff distance, mean" in titles
    assert ui.registerButton.text == "Register" and not shown(ui.progressBar)


def test_another_run_stays_selected(panel, finish, ui, fake):
    former = finish()
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    press(panel)
    wait(lambda: len(fake.processes) == 2 and fake.process.started)
    fake.process.first()
    wait(lambda: len(panel.results.runs) == 2)
    settle()
    panel.results.choose(former)
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert panel.results.run == former and "easur" not in ui.verdictLabel.text


def test_the_report_says_what_is_missing_as_long_as_it_is(panel, first, ui, fake, tmp_path):
    for name, is_missing in (("early", True), ("late", False)):
        path = tmp_path / f"{name}.html"
        panel.results.save_page(str(path))
        assert (f"Not measured: {SURFACES}" in path.read_text(encoding="utf-8")) == is_missing
        if is_missing:
            fake.process.finish()
            wait(lambda: not panel.busy)


def test_a_cancel_keeps_the_run_and_says_what_is_missing(panel, first, ui, fake):
    folder = fake.process.folder
    ui.registerButton.click()
    wait(lambda: not panel.busy)
    assert fake.process.cancelled and not folder.exists()
    assert panel.results.run == first and first.warped is not None
    assert f"Not measured: {SURFACES}" in ui.verdictLabel.text and hd95(ui) == ["–", "–"]
    assert f"The result is there; not measured: {SURFACES}" in ui.stageLabel.text
    assert ui.registerButton.enabled and ui.registerButton.text == "Register"


def test_a_worker_that_is_killed_afterwards_keeps_the_run(panel, first, ui, fake):
    fake.process.end("failed", "The registration process was killed.", "It may have run out of memory.")
    wait(lambda: not panel.busy)
    assert panel.results.run == first and f"Not measured: {SURFACES}" in ui.verdictLabel.text
    assert "was killed" in ui.stageLabel.text and "The result is there" in ui.stageLabel.text


def test_a_complete_report_that_cannot_be_read_keeps_the_run(panel, first, ui, fake):
    process = fake.process
    process.first(broken=True)  # what a full disk leaves
    (process.folder / "first.json").replace(process.folder / "result.json")
    process.answer(files={})
    wait(lambda: not panel.busy)
    assert panel.results.run == first and f"Not measured: {SURFACES}" in ui.verdictLabel.text
    assert "The result is there" in ui.stageLabel.text


def test_a_closed_scene_ends_the_measuring(panel, first, ui, fake):
    folder = fake.process.folder
    slicer.mrmlScene.Clear(0)
    wait(lambda: not panel.busy)
    assert fake.process.cancelled and not folder.exists()
    assert not first.exists and panel.results.run is None and not shown(ui.resultButton)
    assert "The scene was closed" in ui.stageLabel.text and "The result is there" not in ui.stageLabel.text


def test_a_run_may_be_removed_meanwhile(panel, first, ui, fake):
    panel.results.forget()
    nodes = node_ids()
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert node_ids() == nodes and panel.results.run is None


def test_the_table_may_be_deleted_meanwhile(panel, first, ui, fake):
    slicer.mrmlScene.RemoveNode(first.node("report_table"))
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert first.missing == "" and float(hd95(ui)[1]) > 0


@pytest.mark.usefixtures("only_the_hierarchy_complains")
def test_a_scene_saved_meanwhile_says_what_was_not_measured(panel, first, ui, fake, tmp_path):
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    fake.process.finish()
    wait(lambda: not panel.busy)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    settle()
    wait(lambda: not panel.busy)
    assert panel.results.run.warped is not None
    assert f"Not measured: {SURFACES}" in ui.verdictLabel.text and hd95(ui) == ["–", "–"]


def test_compared_runs_are_shown_one_by_one_and_the_best_is_chosen_once(panel, picked, ui, fake):
    compare(panel, "sitk-demons", "sitk-bspline")
    press(panel)
    for count in (1, 2):
        wait(lambda count=count: len(fake.processes) == count and fake.processes[-1].started)
        fake.process.first()
        wait(lambda count=count: len(panel.results.runs) == count)
        settle()
        if count == 1:
            fake.process.finish()
    assert panel.results.run == panel.results.runs[0], "the best of equal runs is the first"
    panel.results.choose(panel.results.runs[1])
    fake.process.finish()
    wait(lambda: not panel.busy)
    settle()
    assert panel.results.run == panel.results.runs[1] and not any(run.missing for run in panel.results.runs)


def test_a_queued_run_starts_when_everything_is_measured(panel, first, ui, fake):
    wait(lambda: not panel.checking)
    ui.queueButton.click()
    assert len(fake.processes) == 1
    fake.processes[0].finish()
    wait(lambda: len(fake.processes) == 2)
    assert first.missing == ""
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 2


def test_a_cancel_before_the_first_result_is_read_leaves_no_run(panel, picked, ui, fake):
    nodes = node_ids()
    press(panel)
    process = fake.process
    process.first()
    ui.registerButton.click()
    wait(lambda: not panel.busy)
    settle()
    assert panel.results.run is None and node_ids() == nodes
    assert "The result is there" not in ui.stageLabel.text


def test_a_worker_that_ends_while_the_first_result_is_read(panel, picked, ui, fake):
    press(panel)
    process = fake.process
    process.first()
    process.end("failed", "The registration process was killed.")
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 1 and f"Not measured: {SURFACES}" in ui.verdictLabel.text


@pytest.mark.parametrize("how", ["unreadable", "unpublishable"])
def test_a_first_result_that_cannot_be_shown_waits_for_the_last_one(panel, picked, ui, fake, monkeypatch, caplog, how):
    from DeepVsClassicRegLib.ui import tasks

    press(panel)
    process, publish, calls = fake.process, tasks.publish, []

    def failing_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no table today")
        return publish(*arguments, **options)

    if how == "unpublishable":
        monkeypatch.setattr(tasks, "publish", failing_once)
    process.first(broken=how == "unreadable")
    wait(lambda: "could not be shown" in caplog.text)
    assert panel.results.run is None and panel.runner.busy
    process.finish()
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 1 and panel.results.run.missing == ""


def test_the_console_gets_complete_runs_only(widget, picked, fake):
    handle = widget.logic.register(picked.fixed, picked.moving, engine="sitk-demons", wait=False)
    assert "first" not in json.loads((fake.process.folder / "job.json").read_text(encoding="utf-8"))["options"]
    fake.process.finish()
    wait(lambda: handle.over)
    assert handle.runs[0].missing == ""


def test_the_real_worker_delivers_twice(panel, picked, ui):
    seen = []
    panel.runner.published.connect(lambda task: seen.append((task.run.missing, task.run.report["verdict"])))
    press(panel)
    wait(lambda: not panel.busy)
    run = panel.results.run
    ((missing, verdict),) = seen
    assert SURFACES in missing and verdict == run.report["verdict"]
    assert run.missing == "" and run.measures["hd95_mm_mean"] > 0 and run.measures["hd95_mm_per_label"]


def test_the_real_worker_is_killed_after_the_first_result(panel, picked, ui):
    from DeepVsClassicRegLib.worker.processes import kill_groups

    panel.runner.published.connect(lambda task: kill_groups(task.process.session.groups))
    press(panel)
    wait(lambda: not panel.busy)
    wait(lambda: not worker_processes())
    run = panel.results.run
    assert run.warped is not None and run.report["verdict"]["headline"] in ui.verdictLabel.text
    # It may have been done before it was killed.
    assert not run.missing or f"Not measured: {SURFACES}" in ui.verdictLabel.text


def test_without_segmentations_there_is_nothing_to_wait_for(panel, pair, pick, ui):
    pick(pair, ("fixed", "moving"))
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    seen = []
    panel.runner.published.connect(seen.append)
    press(panel)
    wait(lambda: not panel.busy)
    assert not seen and panel.results.run.missing == ""
