"""Presets of the user in the panel: saved, shared as files and in scenes, deleted."""

from __future__ import annotations

import json

import pytest
import slicer
from panel_helpers import choose, settle


@pytest.fixture
def own(panel, ui, tmp_path, monkeypatch):
    """An empty folder of the user, and the engine sitk-demons with changed settings."""
    for name in ("XDG_DATA_HOME", "APPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    choose(ui.engineCombo, "sitk-demons")
    choose(ui.presetCombo, "paper")
    panel.engines.form.fields["iterations"].show("7")
    panel.engines.form.fields["shrink"].show("2")
    settle()
    yield panel.engines
    choose(ui.engineCombo, "linear")


def names(ui) -> list[str]:
    return [ui.presetCombo.itemData(index) for index in range(ui.presetCombo.count)]


def save(ui, dialogs, title="My lab"):
    dialogs.answer("getText", title)
    ui.savePresetButton.click()
    settle()


def test_settings_are_saved_chosen_and_deleted(own, ui, dialogs, monkeypatch):
    assert own.form.changes() and not ui.deletePresetButton.enabled
    save(ui, dialogs)
    assert (own.preset, own.form.changes()) == ("my-lab", {}) and names(ui)[-1] == "my-lab"
    assert ui.presetCombo.currentText == "My lab" and ui.deletePresetButton.enabled
    ((_entry, preset, changes),) = own.chosen()
    assert (preset, changes) == ("my-lab", {})
    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or True)
    ui.deletePresetButton.click()
    settle()
    assert asked == ["Delete the preset 'My lab'?"]
    assert own.preset == "default" and "my-lab" not in names(ui)


def test_a_file_brings_it_back(own, ui, dialogs, tmp_path):
    save(ui, dialogs)
    dialogs.answer("getSaveFileName", str(tmp_path / "lab.json"))
    ui.exportPresetButton.click()
    assert json.loads((tmp_path / "lab.json").read_text())["settings"]["iterations"] == [7]
    (tmp_path / "user" / "DeepVsClassicReg" / "Presets" / "sitk-demons" / "my-lab.json").unlink()
    choose(ui.engineCombo, "linear")
    dialogs.answer("getOpenFileName", str(tmp_path / "lab.json"))
    ui.importPresetButton.click()
    settle()
    assert (own.engine, own.preset) == ("sitk-demons", "my-lab")


def test_a_scene_brings_its_settings_to_another_computer(own, panel, ui, dialogs, widget, tmp_path, monkeypatch):
    save(ui, dialogs)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    panel.set_parameter_node(widget.logic.getParameterNode())
    assert own.preset == "default" and "My lab" in ui.engineNote.text
    ((_entry, _preset, changes),) = own.chosen()
    assert list(changes["iterations"]) == [7]
    choose(ui.presetCombo, "paper")
    assert "My lab" not in ui.engineNote.text
