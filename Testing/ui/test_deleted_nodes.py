"""Any node of a run deleted, then every view, button and link: it works, or a message says what was deleted."""

from __future__ import annotations

import json

import pytest
import slicer
from panel_helpers import settle, shown, wait

UPPER = {"fixed", "warped"}
MODES = {"blend": UPPER, "flicker": UPPER, "checkerboard": UPPER, "difference": UPPER, "contours": UPPER,
         "redCyan": UPPER, "grid": {*UPPER, "transform"}, "arrows": {*UPPER, "transform"},
         "jacobian": {"fixed", "jacobian"}}  # fmt: skip
# Jumps, and what they need: the places stand in the report, so nothing.
JUMPS = {"fold": set(), "disagreement": set(), "structure": set()}
ROLES = ["fixed", "moving", "warped", "transform", "jacobian", "fixed_labels", "moving_labels", "warped_labels",
         "fixed_points", "moving_points", "report_table"]  # fmt: skip
# Whatever else is deleted, most buttons act alike; `make test-slow` deletes the others too.
QUICK = ("fixed", "warped", "transform", "jacobian")
EACH_ROLE = [role if role in QUICK else pytest.param(role, marks=pytest.mark.slow) for role in ROLES]
HELPERS = ["summary.table", "structures.table", "measures.table", "plot.table", "structures.chart"]
# The contours are drawn from these; without them they are shown, with a remark.
OUTLINES = {"fixed_labels", "warped_labels"}


@pytest.fixture
def run(panel, picked, ui, fake):
    """A finished run, with a link in its verdict, that is not shown yet."""
    ui.registerButton.click()
    fake.process.finish(worse=True)
    wait(lambda: not panel.busy)
    found = panel.results.run
    report = {**found.report, "look_at": [{"point_mm": [3.0, -4.0, 5.0], "voxel": [1, 2, 3], "text": "Here"}]}
    found.record.SetParameter("report", json.dumps(report))
    panel.results.refresh()
    ui.closeViewButton.click()
    settle()
    return found


def press(panel, name) -> None:
    getattr(panel.ui, f"{name}Button").click()
    rest(panel)


def rest(panel) -> None:
    settle()
    wait(lambda: not panel.busy and not panel.checking)


def message(ui) -> str:
    return ui.locationLabel.text if shown(ui.locationLabel) else ""


def shown_mode(ui) -> str | None:
    found = [mode for mode in MODES if getattr(ui, f"{mode}Button").checked]
    assert len(found) < 2
    return found[0] if found else None


def expect(ui, mode, role, needed, run) -> None:
    """Either the mode is shown, or nothing is and a message names the node."""
    from DeepVsClassicRegLib.mrml.runs import ROLE_TITLES

    if role in needed:
        assert f"The {ROLE_TITLES[role]} of" in message(ui) and "was deleted" in message(ui), (mode, role)
        assert shown_mode(ui) is None, (mode, role)
    else:
        assert shown_mode(ui) == mode, (mode, role)
        remarked = mode == "contours" and role in OUTLINES
        assert ("was deleted" in message(ui)) is remarked, (mode, role)


def background() -> str | None:
    return slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID()


@pytest.mark.parametrize("role", EACH_ROLE)
def test_every_button_after_a_node_was_deleted(panel, run, ui, role):
    slicer.mrmlScene.RemoveNode(run.node(role))
    rest(panel)
    for mode, needed in MODES.items():
        before = background()
        press(panel, mode)
        expect(ui, mode, role, needed, run)
        if role in needed:
            assert background() == before, "the views changed although nothing can be shown"
        press(panel, "closeView")
    press_the_rest(panel, run, ui, role)


def press_the_rest(panel, run, ui, role) -> None:
    """Press whatever is no mode."""
    for jump, needed in JUMPS.items():
        press(panel, jump)
        assert message(ui), jump
        assert ("was deleted" in message(ui)) == (role in needed), (jump, message(ui))
    assert ui.beforeButton.enabled
    press(panel, "before")  # begins to blend the moving volume as it was
    if role in ("fixed", "moving"):
        assert "was deleted" in message(ui) and shown_mode(ui) is None and not ui.beforeButton.checked
    else:
        assert shown_mode(ui) == "blend" and ui.beforeButton.checked
        press(panel, "before")
        if role == "warped":  # there is no after; the moving volume stays
            assert "was deleted" in message(ui)
            assert shown_mode(ui) == "blend" and ui.beforeButton.checked
        else:
            assert shown_mode(ui) == "blend" and not ui.beforeButton.checked
    press(panel, "linked")
    press(panel, "closeView")
    ui.verdictLabel.linkActivated.emit("0")
    rest(panel)
    assert message(ui) == "Here"
    for name in ("plot", "copy"):
        press(panel, name)
    ui.structuresButton.collapsed = False
    for index in range(ui.structureMeasureCombo.count):
        ui.structureMeasureCombo.currentIndex = index
        rest(panel)
    ui.structuresButton.collapsed = True
    assert "Dice, mean over labels" in slicer.app.clipboard().text()
    assert ui.measuresTable.model().rowCount() > 3
    press(panel, "closeView")
    press(panel, "forget")
    assert panel.results.run is None and not shown(ui.resultButton)


def twin(node):
    """Add a copy of a node that was removed."""
    made = slicer.mrmlScene.AddNewNodeByClass(node.GetClassName(), node.GetName())
    made.CopyContent(node)
    if node.IsA("vtkMRMLDisplayableNode"):
        made.CreateDefaultDisplayNodes()
    return made


@pytest.mark.parametrize("role", EACH_ROLE)
def test_a_node_deleted_while_it_is_looked_at(panel, run, ui, role):
    """The comparison ends with a message when it showed the node, and goes on when it did not."""
    before = background()
    for mode, needed in MODES.items():
        press(panel, mode)
        assert shown_mode(ui) == mode
        node = run.node(role)
        slicer.mrmlScene.RemoveNode(node)
        rest(panel)
        if role in needed:
            expect(ui, mode, role, needed, run)
            if before is None or slicer.mrmlScene.GetNodeByID(before) is not None:
                assert background() == before, "the views were not put back"
        else:
            assert shown_mode(ui) == mode, "views jump to another mode"
            assert "was deleted" not in message(ui)
        for slider in ("opacity", "tile", "spacing", "flicker"):
            widget = getattr(ui, f"{slider}Slider")
            widget.value = widget.value * 0.9
        rest(panel)
        run.record.SetNodeReferenceID(role, twin(node).GetID())
        press(panel, "closeView")


@pytest.mark.parametrize("purpose", HELPERS)
def test_deleted_tables_and_plots_of_the_panel_are_created_again(panel, run, ui, dialogs, tmp_path, purpose):
    page = tmp_path / "report.html"
    ui.structuresButton.collapsed = False
    for name in ("plot", "copy"):
        press(panel, name)
    node = panel.parameter_node.GetNodeReference(f"Shown.{purpose}")
    assert node is not None
    slicer.mrmlScene.RemoveNode(node)
    rest(panel)
    assert ui.measuresTable.model().rowCount() > 3
    dialogs.answer("getSaveFileName", str(page))
    press(panel, "html")
    assert "Landmark error" in page.read_text(encoding="utf-8")
    press_the_rest(panel, run, ui, purpose)


def test_plot_series_deleted(panel, run, ui):
    press(panel, "plot")
    for node in slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode"):
        slicer.mrmlScene.RemoveNode(node)
    rest(panel)
    press(panel, "plot")
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")) == 2


def test_the_record_deleted(panel, run, ui):
    press(panel, "blend")
    slicer.mrmlScene.RemoveNode(run.record)
    rest(panel)
    assert panel.results.run is None and shown_mode(ui) is None and not shown(ui.resultButton)


@pytest.mark.parametrize("role", ["warped", "jacobian"])
def test_switching_to_a_run_that_lost_what_is_shown(panel, run, ui, fake, role):
    wait(lambda: ui.registerButton.enabled)
    ui.registerButton.click()
    wait(lambda: len(fake.processes) == 2 and fake.process.started)
    fake.process.finish(engine="other")
    rest(panel)
    press(panel, "jacobian" if role == "jacobian" else "difference")
    slicer.mrmlScene.RemoveNode(run.node(role))
    rest(panel)
    assert shown_mode(ui) is not None
    panel.results.tabs.currentIndex = 0
    rest(panel)
    assert panel.results.run == run
    assert shown_mode(ui) is None and "was deleted" in message(ui)


def test_an_emptied_volume(panel, run, ui):
    run.warped.SetAndObserveImageData(None)
    press(panel, "checkerboard")
    assert "contains no image" in message(ui) and shown_mode(ui) is None


def test_what_a_run_was_made_without_cannot_be_pressed(panel, picked, ui, fake):
    ui.jacobianCheck.checked = False
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    fake.process.finish()
    rest(panel)
    assert not ui.jacobianButton.enabled  # places to go to stand in the report and need no volume
    assert ui.blendButton.enabled
