"""The advice box: requested in the background, shown in one sentence, accepted with one click, never in the way."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import ENGINE, PRESET, advise, choose, settle, shown, some_advice, wait


@pytest.fixture
def query(panel, pair, pick, fake):
    """A selected pair whose advice is requested; returns the process that will answer."""
    advise(panel, on=True)
    pick(pair)
    return fake.process


@pytest.fixture
def advised(panel, query):
    """The panel once the answer is there."""
    query.answer(advice=some_advice())
    settle()
    return panel


def test_it_is_requested_as_soon_as_a_pair_is_selected(panel, ui, query, fake):
    from DeepVsClassicRegLib.core.job import Job

    job = Job.read(query.folder)
    assert job.task == "recommend"
    assert job.options["training_labels"] == 0 and job.options["time_budget_s"] is None
    assert {"fixed", "moving", "fixed_labels"} <= set(job.inputs)
    assert shown(ui.adviceProgress) and not shown(ui.useAdviceButton)
    query.progress(0.5, "Aligning linearly")
    assert "Aligning linearly" in ui.adviceLabel.text
    assert ui.adviceProgress.value > 400
    assert ui.registerButton.enabled and ui.registerButton.text == "Register"
    assert len(fake.processes) == 1


def test_the_advice_can_be_applied_without_opening_its_reasons(advised, ui):
    text = ui.adviceLabel.text
    assert "Use Demons (SimpleITK) (paper)" in text
    assert "0.78–0.86" in text and "10 s" in text
    assert not shown(ui.adviceProgress)
    assert ui.whyButton.collapsed and ui.limitsButton.collapsed
    assert "B-spline" in ui.runnerUpButton.toolTip and "Runner-up: B-spline" in ui.adviceLabel.text
    assert "&lt;so&gt;" in ui.reasonsLabel.text and "section 7" in ui.reasonsLabel.text
    assert ui.reasonsLabel.text.count("<li>") == 2
    assert "heart" in ui.limitsLabel.text
    table = ui.adviceTable.mrmlTableNode().GetTable()
    rows = [[table.GetValue(row, column).ToString() for column in range(3)] for row in range(3)]
    assert rows == [
        ["Demons (SimpleITK) (paper)", "0.78–0.86", "10 s"],
        [rows[1][0], "0.70–0.80", "–"],
        [rows[2][0], "–", "2 min"],
    ]


def test_recommended_is_the_first_choice_and_follows_the_advice(advised, ui, fake):
    from DeepVsClassicRegLib.core.job import Job

    assert ui.engineCombo.currentIndex == 0 and ui.engineCombo.currentData == "recommended"
    assert "Demons" in ui.engineCombo.currentText
    assert not shown(ui.presetCombo) and not shown(ui.settingsButton)
    ui.registerButton.click()
    wait(lambda: len(fake.processes) == 2)
    job = Job.read(fake.process.folder)
    assert (job.task, job.engine, job.preset, dict(job.settings)) == ("register", ENGINE, PRESET, {})
    fake.process.finish()
    wait(lambda: not advised.busy)
    assert advised.results.run.engine == ENGINE


def test_one_click_selects_the_advice_or_the_runner_up(advised, ui):
    choose(ui.engineCombo, "linear")
    ui.useAdviceButton.click()
    assert (ui.engineCombo.currentData, ui.presetCombo.currentData) == (ENGINE, PRESET)
    assert shown(ui.settingsButton)
    ui.runnerUpButton.click()
    assert (ui.engineCombo.currentData, ui.presetCombo.currentData) == ("sitk-bspline", "default")


def test_insufficient_evidence_is_shown(panel, ui, query):
    query.answer(advice=some_advice(sure=False, predicted_dice={}, runner_up=""))
    settle()
    assert "No clear recommendation" in ui.adviceLabel.text and "start with" in ui.adviceLabel.text
    assert "no Dice can be predicted" in ui.adviceLabel.text
    assert not shown(ui.runnerUpButton)


def test_a_failure_is_reported_and_leaves_every_engine_usable(panel, ui, query, fake):
    query.end("rejected", "The volumes do not overlap.", "Give an initial transform.")
    settle()
    assert "do not overlap" in ui.adviceLabel.text and "initial transform" in ui.adviceLabel.text
    wait(lambda: not panel.checking)
    assert len(fake.processes) == 1, "it must not be requested again by itself"
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    wait(lambda: len(fake.processes) == 2)
    fake.process.end("failed", "It broke.")
    wait(lambda: not panel.busy)


def test_another_pair_cancels_the_query_and_starts_another(panel, pair, ui, query, fake):
    ui.swapButton.click()
    wait(lambda: query.cancelled)
    wait(lambda: len(fake.processes) == 2)
    fake.process.answer(advice=some_advice())
    settle()
    assert panel.advice.advice is not None
    ui.fixedSelector.setCurrentNode(None)
    wait(lambda: panel.advice.advice is None)
    assert "Select both volumes" in ui.adviceLabel.text
    assert ui.engineCombo.currentText == "Recommended"


def test_names_and_display_do_not_request_new_advice(advised, pair, fake):
    pair.fixed.SetName("Another name")
    pair.fixed.GetDisplayNode().SetWindow(12.0)
    advised.validate()
    settle()
    assert advised.advice.advice is not None and len(fake.processes) == 1


def test_changed_voxels_request_new_advice(advised, pair, fake):
    slicer.util.arrayFromVolume(pair.fixed)[...] += 1
    slicer.util.arrayFromVolumeModified(pair.fixed)
    wait(lambda: len(fake.processes) == 2 and fake.process)
    assert advised.advice.advice is None


def test_it_can_be_stopped_and_requested_by_hand(panel, ui, query, fake):
    ui.askButton.click()
    assert query.cancelled and not panel.advice.asking
    panel.validate()
    settle()
    assert len(fake.processes) == 1
    ui.askButton.click()
    wait(lambda: len(fake.processes) == 2 and fake.process)
    fake.process.answer(advice=some_advice())
    settle()
    assert shown(ui.useAdviceButton)


def test_registering_without_advice_requests_it_first(panel, picked, ui, fake):
    choose(ui.engineCombo, "recommended")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    query = fake.process
    assert ui.registerButton.text == "Cancel" and panel.busy and not panel.runner.busy
    query.progress(0.5, "Aligning linearly")
    assert "Aligning linearly" in ui.stageLabel.text
    query.answer(advice=some_advice())
    wait(lambda: len(fake.processes) == 2 and fake.process)
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert panel.results.run.engine == ENGINE and panel.results.run.preset == PRESET


def test_the_start_that_waits_for_advice_can_be_canceled_and_can_fail(panel, picked, ui, fake):
    choose(ui.engineCombo, "recommended")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    query = fake.process
    ui.registerButton.click()
    assert query.cancelled and not panel.busy
    assert ui.registerButton.text == "Register" and "ancel" in ui.stageLabel.text
    ui.registerButton.click()
    wait(lambda: len(fake.processes) == 2 and fake.process)
    fake.process.end("failed", "It broke.")
    assert "It broke." in ui.stageLabel.text and "Select an engine" in ui.stageLabel.text
    assert not panel.busy


def test_a_registration_has_the_processor_for_itself(panel, ui, query, fake):
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    wait(lambda: query.cancelled and len(fake.processes) == 2)
    assert not panel.advice.asking
    fake.process.finish()
    wait(lambda: not panel.busy)
    wait(lambda: len(fake.processes) == 3)  # it is requested again afterwards
    assert panel.advice.asking


def test_the_case_shapes_the_question_and_is_kept_in_the_scene(advised, widget, ui, fake):
    from DeepVsClassicRegLib.core.job import Job

    ui.trainingLabelsSpin.value = 300
    ui.timeBudgetSpin.value = 20
    choose(ui.representativeCombo, "yes")
    wait(lambda: len(fake.processes) == 2 and fake.process)
    options = Job.read(fake.process.folder).options
    assert (options["training_labels"], options["time_budget_s"], options["representative"]) == (300, 20.0, True)
    advised.set_parameter_node(None)
    assert ui.trainingLabelsSpin.value == 0
    advised.set_parameter_node(widget.logic.getParameterNode())
    assert ui.trainingLabelsSpin.value == 300 and ui.representativeCombo.currentData == "yes"


def test_the_plot_is_made_of_slicers_own_nodes(advised, widget, ui):
    ui.advicePlotButton.click()
    chart = widget.logic.getParameterNode().GetNodeReference("Shown.advice.chart")
    series = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    names = [node.GetName() for node in series]
    assert names == ["Lower limit", "Upper limit", "Expected", "Measured pairs", "Structures", "This pair"]
    table = series[-1].GetTableNode().GetTable()
    case = series[-1]
    assert table.GetColumnByName(case.GetXColumnName()).GetValue(0) == pytest.approx(0.35)
    assert table.GetColumnByName(case.GetYColumnName()).GetValue(0) == pytest.approx(0.7)
    assert chart.GetXAxisRange() == chart.GetYAxisRange() == (0.0, 1.0)


def test_the_scene_may_be_closed_while_the_query_runs(panel, query, ui):
    slicer.mrmlScene.Clear(0)
    settle()
    assert query.cancelled and not panel.advice.asking
    assert "Select both volumes" in ui.adviceLabel.text


@pytest.mark.slow  # the documented example of the console asks the worker, too
def test_the_worker_computes_real_advice(widget, pair):
    """The console's way, with the real worker and the shipped calibration."""
    advice = widget.logic.recommend(
        pair.fixed,
        pair.moving,
        fixedSegmentation=pair.fixed_labels,
        movingSegmentation=pair.moving_labels,
        trainingLabels=5,
        threads=1,
    )
    assert advice["engine"] in widget.logic.engines()
    keys = "preset runner_up sure reasons mutual_information predicted_dice seconds domain limits plot"
    assert set(keys.split()) <= set(advice)
    assert any("5 segmented cases" in reason["text"] for reason in advice["reasons"])
