"""A user's way through the panel on a real pair, by clicks alone; the folder of volumes comes from DVCREG_DATA."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import slicer
from panel_helpers import choose, settle, shown, wait, worker_processes

LOOKS = ("blend", "flicker", "checkerboard", "difference", "contours", "redCyan", "grid", "arrows", "jacobian")
PAIR = os.environ.get("DVCREG_PAIR", "hippo 015->014")  # small; any id of the manifest with label maps


@pytest.fixture
def real_pair():
    """Files of one pair of the manifest."""
    folder = Path(os.environ.get("DVCREG_DATA", "")).resolve()
    if not (folder / "manifest.json").is_file():
        pytest.skip("DVCREG_DATA names no folder with volumes")
    pair = next(
        pair for pair in json.loads((folder / "manifest.json").read_text(encoding="utf-8")) if pair["id"] == PAIR
    )
    return {role: folder / pair[role] for role in ("fixed", "moving", "fixed_label", "moving_label")}


@pytest.mark.slow
def test_a_complete_session_with_the_panel(widget, panel, ui, real_pair, tmp_path):
    fixed = slicer.util.loadVolume(str(real_pair["fixed"]), properties={"name": "Fixed"})
    moving = slicer.util.loadVolume(str(real_pair["moving"]), properties={"name": "Moving"})
    for side in ("fixed", "moving"):
        path = str(real_pair[f"{side}_label"])
        node = slicer.util.loadLabelVolume(path, properties={"name": f"{side} labels"})
        getattr(ui, f"{side}LabelsSelector").setCurrentNode(node)
    ui.fixedSelector.setCurrentNode(fixed)
    ui.movingSelector.setCurrentNode(moving)
    choose(ui.engineCombo, "elastix")
    wait(lambda: ui.registerButton.enabled, 600)

    ui.registerButton.click()
    wait(lambda: panel.runner.current is not None and panel.runner.current.fraction > 0.06, 600)
    ui.registerButton.click()
    wait(lambda: not panel.busy, 300)
    assert "ancel" in ui.stageLabel.text
    assert not panel.results.runs and not worker_processes()

    ui.registerButton.click()
    wait(lambda: not panel.busy, 1800)
    assert len(panel.results.runs) == 1, ui.stageLabel.text
    measures, before = panel.results.run.measures, panel.results.run.measures_before
    assert measures["dice_mean"] > before["dice_mean"]

    choose(ui.engineCombo, "compare")
    for name, (check, _combo) in panel.engines.compare_list.rows.items():
        check.checked = name in ("linear", "sitk-demons")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    wait(lambda: not panel.busy, 3600)
    assert [run.engine for run in panel.results.runs] == ["elastix", *panel.engines.compare_list.choices()]

    for look in LOOKS:
        getattr(ui, f"{look}Button").click()
        wait(lambda: not panel.busy, 600)
        assert getattr(ui, f"{look}Button").checked
    for run in range(3):
        panel.results.tabs.currentIndex = run
        wait(lambda: not panel.busy, 600)
    for button in (ui.structureButton, ui.disagreementButton, ui.foldButton):
        button.click()
        wait(lambda: not panel.busy, 600)
        assert ui.locationLabel.text
    ui.closeViewButton.click()

    path = tmp_path / "journey.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    settle()
    assert not shown(ui.resultButton)
    slicer.util.loadScene(str(path))
    wait(lambda: len(panel.results.runs) == 3)
    assert ui.fixedSelector.currentNode().GetName() == "Fixed"
    assert ui.movingLabelsSelector.currentNode() is not None
    assert panel.engines.comparing
    assert {run.engine for run in panel.results.runs} == {"elastix", "linear", "sitk-demons"}
    assert all(run.warped is not None and run.transform is not None for run in panel.results.runs)
    ui.checkerboardButton.click()
    wait(lambda: not panel.busy, 600)
