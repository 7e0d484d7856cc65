"""Results: verdict, tables, tabs, plots, copying, saving, deleting, and the views that show where to look."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import settle, shown, table_texts, wait


def node_ids() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def test_the_verdict_and_the_overlay_come_by_themselves(panel, finish, ui):
    finish()
    assert "Better aligned" in ui.verdictLabel.text
    assert ui.blendButton.checked
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == panel.results.run.warped.GetID()


def test_what_the_engine_remarked_is_reported(panel, finish, ui):
    finish()
    assert "Sigma &lt;2&gt;." in ui.notesLabel.text and shown(ui.notesLabel)


def test_a_bad_result_is_called_bad(panel, finish, ui):
    finish(worse=True)
    assert "Not improved" in ui.verdictLabel.text


def test_runs_are_switched_with_one_click_and_the_best_is_marked(panel, finish, ui):
    first = finish()
    assert not shown(ui.runFrame)
    second = finish(engine="other", worse=True)
    assert shown(ui.runFrame)
    assert panel.results.run == second
    panel.results.tabs.currentIndex = 0
    settle()
    assert panel.results.run == first
    assert "Better aligned" in ui.verdictLabel.text
    rows = table_texts(ui.measuresTable)
    dice = next(row for row in rows if row[0].startswith("Dice"))
    assert dice[2].endswith("★") and not dice[3].endswith("★")
    assert "↑" in dice[0]
    error = next(row for row in rows if row[0].startswith("TRE"))
    assert "mm" in error[0] and "↓" in error[0]


def test_switching_runs_keeps_the_view(panel, finish, ui):
    finish()
    finish(engine="other", worse=True)
    ui.differenceButton.click()
    wait(lambda: not panel.busy)
    panel.results.tabs.currentIndex = 0
    wait(lambda: not panel.busy)
    assert ui.differenceButton.checked
    assert panel.qa.inspection.run == panel.results.runs[0]


def test_segmentations_of_other_runs_do_not_cover_the_shown_one(panel, finish, ui):
    first = finish()
    ui.closeViewButton.click()
    first.warped_labels.GetDisplayNode().SetVisibility(1)
    finish(engine="other")
    assert not first.warped_labels.GetDisplayNode().GetVisibility()
    ui.closeViewButton.click()
    assert first.warped_labels.GetDisplayNode().GetVisibility()


def test_per_structure_table_and_plot(panel, finish, ui):
    run = finish()
    ui.structuresButton.collapsed = False
    settle()
    rows = table_texts(ui.structuresTable)
    assert len(rows) == len(run.measures["dice_per_label"])
    assert all(len(cell) <= 6 for row in rows for cell in row[2:]), "too many digits"
    before = node_ids()
    ui.plotButton.click()
    settle()
    assert slicer.app.layoutManager().plotViewCount == 1
    ui.plotButton.click()
    made = node_ids() - before
    ui.plotButton.click()
    assert len(node_ids() - before) == len(made), "every press leaves more nodes"


def test_copy_csv_and_page(panel, finish, ui, dialogs, tmp_path):
    finish()
    ui.copyButton.click()
    assert "Dice, mean over labels" in slicer.app.clipboard().text()
    csv, page = tmp_path / "measures.csv", tmp_path / "report.html"
    dialogs.answer("getSaveFileName", str(csv))
    ui.csvButton.click()
    assert csv.read_text(encoding="utf-8").startswith("Measure,Unit,Better,Before,sitk-demons")
    dialogs.answer("getSaveFileName", str(page))
    ui.htmlButton.click()
    text = page.read_text(encoding="utf-8")
    assert "Better aligned" in text and "data:image/png;base64," in text and "Landmark error" in text
    dialogs.answer("getSaveFileName", "")
    ui.csvButton.click()  # the user changed their mind


def test_deleting_a_run_removes_what_it_made(panel, picked, finish, ui):
    ui.closeViewButton.click()
    before = node_ids()
    finish()
    ui.closeViewButton.click()
    ui.forgetButton.click()
    settle()
    left = {slicer.mrmlScene.GetNodeByID(node).GetName() for node in node_ids() - before}
    assert all(name in ("Registration summary", "Registration structures") for name in left), left
    assert not shown(ui.resultButton)
    assert picked.fixed.GetScene() is not None


MODES = ["blend", "flicker", "checkerboard", "difference", "contours", "redCyan", "grid", "arrows", "jacobian"]


@pytest.mark.parametrize("mode", MODES)
def test_every_view_can_be_shown_and_closed(panel, finish, ui, mode):
    finish()
    ui.closeViewButton.click()
    settle()
    before = node_ids()
    button = getattr(ui, f"{mode}Button")
    button.click()
    wait(lambda: not panel.busy)
    assert button.checked
    ui.beforeButton.click()
    wait(lambda: not panel.busy)
    ui.beforeButton.click()
    wait(lambda: not panel.busy)
    ui.closeViewButton.click()
    settle()
    assert not button.checked
    assert not ui.beforeButton.checked
    assert node_ids() == before


def test_each_view_shows_its_own_slider(panel, finish, ui):
    finish()
    sliders = {"blend": "opacity", "flicker": "flicker", "checkerboard": "tile", "grid": "spacing", "redCyan": None}
    for mode, name in sliders.items():
        getattr(ui, f"{mode}Button").click()
        wait(lambda: not panel.busy)
        seen = [other for other in ("opacity", "tile", "spacing", "flicker") if shown(getattr(ui, f"{other}Slider"))]
        assert seen == ([name] if name else []), mode


def test_the_blend_slider_fades(panel, finish, ui):
    finish()
    ui.opacitySlider.value = 0.2
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)


def test_flicker_goes_back_and_forth_until_left(panel, finish, ui):
    finish()
    ui.flickerSlider.value = 0.1
    ui.flickerButton.click()
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    seen = set()
    wait(lambda: seen.add(composite.GetForegroundOpacity()) or len(seen) == 2)
    ui.blendButton.click()
    assert not panel.qa.flicker_timer.active


def test_jumps_go_to_the_worst_and_then_on(panel, finish, ui):
    finish()
    ui.structureButton.click()
    first = ui.locationLabel.text
    assert "1 of" in first and "Dice" in first
    ui.structureButton.click()
    assert "2 of" in ui.locationLabel.text
    ui.disagreementButton.click()
    wait(lambda: not panel.busy)
    assert ui.locationLabel.text != first
    ui.foldButton.click()
    assert "Nothing folds" in ui.locationLabel.text


def test_linking_the_views(panel, finish, ui):
    finish()
    ui.linkedButton.click()
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetLinkedControl() == 1
    ui.closeViewButton.click()


def test_leaving_the_module_puts_the_views_back(widget, panel, finish, ui):
    finish()
    widget.exit()
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() is None
    widget.enter()


def test_a_deleted_output_is_reported_not_a_crash(panel, finish, ui):
    run = finish()
    ui.closeViewButton.click()
    slicer.mrmlScene.RemoveNode(run.warped)
    slicer.mrmlScene.RemoveNode(run.moving)
    ui.blendButton.click()
    settle()
    assert "was deleted" in ui.locationLabel.text and shown(ui.locationLabel)
    assert not ui.blendButton.checked


def test_the_verdict_has_reasons_and_locations(panel, picked, ui, fake):
    """What the library's judgment says reaches the panel; a click on a place moves the views there."""
    import json

    ui.registerButton.click()
    fake.process.finish(worse=True)
    wait(lambda: not panel.busy)
    run = panel.results.run
    report = run.report
    report["measures"]["after"]["folding_percent"] = 7.0
    report["measures"]["after"]["implausible_percent"] = 12.0
    report["look_at"] = [{"point_mm": [3.0, -4.0, 5.0], "voxel": [1, 2, 3], "text": "Folded <most>"}]
    run.record.SetParameter("report", json.dumps(report))
    panel.results.refresh()
    text = ui.verdictLabel.text
    assert "12 % of the voxels shrink or grow" in text
    assert text.count("folded") == 1, "the gravest reason is shown once"
    assert '<a href="0">Folded &lt;most&gt;</a>' in text
    ui.verdictLabel.linkActivated.emit("0")
    settle()
    slice_node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    assert slice_node.GetSliceToRAS().GetElement(2, 3) == pytest.approx(5.0)
    assert "Folded" in ui.locationLabel.text
    ui.verdictLabel.linkActivated.emit("9")  # a record that has changed meanwhile


def test_the_transform_is_saved_for_dicom_only_with_dicom_volumes(panel, ui, finish, tmp_path):
    run = finish()
    assert not ui.dicomButton.enabled and "DICOM module" in ui.dicomButton.toolTip
    for volume in (run.fixed, run.moving):
        volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    panel.results.refresh()
    assert ui.dicomButton.enabled
    with pytest.raises(Exception, match="was not loaded from Slicer's DICOM database"):
        panel.results.save_dicom(str(tmp_path / "reg.dcm"))
    assert not (tmp_path / "reg.dcm").exists()
