"""What is remembered: a saved scene brings everything back, preferences stay with the computer."""

from __future__ import annotations

from pathlib import Path

import pytest
import slicer
from panel_helpers import choose, settle, shown, wait


@pytest.mark.usefixtures("only_the_hierarchy_complains")
def test_a_saved_scene_restores_everything(widget, panel, picked, ui, fake, tmp_path):
    choose(ui.presetCombo, "paper")
    ui.seedSpin.value = 5
    ui.jacobianCheck.checked = False
    panel.engines.form.fields["sigma_vox"].widget.value = 2.25
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    fake.process.finish()
    wait(lambda: not panel.busy)
    assert ui.blendButton.checked
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    assert ui.blendButton.checked, "looking goes on after saving"
    slicer.mrmlScene.Clear(0)
    settle()
    assert ui.fixedSelector.currentNode() is None
    assert not shown(ui.resultButton)
    assert ui.seedSpin.value == 0
    slicer.util.loadScene(str(path))
    settle()
    wait(lambda: not panel.busy)
    assert ui.fixedSelector.currentNode().GetName() == "Phantom head fixed"
    assert ui.movingPointsSelector.currentNode() is not None
    assert ui.engineCombo.currentData == "sitk-demons"
    assert ui.presetCombo.currentData == "paper"
    assert ui.seedSpin.value == 5
    assert not ui.jacobianCheck.checked
    assert panel.engines.form.changes() == {"sigma_vox": 2.25}
    assert len(panel.results.runs) == 1
    assert "Better aligned" in ui.verdictLabel.text
    run = panel.results.run
    assert run.warped is not None and run.transform is not None
    ui.checkerboardButton.click()
    wait(lambda: not panel.busy)
    ui.closeViewButton.click()


@pytest.mark.usefixtures("only_the_hierarchy_complains")
def test_a_scene_of_the_former_version_opens(panel, ui):
    """Saved by the panel of commit b29dc97 after a registration of the phantom with the engine `linear`."""
    slicer.util.loadScene(str(Path(__file__).parent / "data" / "former_version.mrb"))
    settle()
    wait(lambda: not panel.busy)
    assert ui.fixedSelector.currentNode().GetName() == "Phantom head fixed"
    assert ui.engineCombo.currentData == "linear"
    assert len(panel.results.runs) == 1
    run = panel.results.run
    assert run.warped is not None and run.transform is not None
    report = run.typed_report
    assert report.engine == "linear"
    assert report.measures.after["dice_mean"] > 0.7 > report.measures.before["dice_mean"]
    assert "Better aligned" in ui.verdictLabel.text
    ui.checkerboardButton.click()
    wait(lambda: not panel.busy)
    ui.closeViewButton.click()


def test_helper_nodes_of_views_are_not_saved(panel, picked, ui, fake, tmp_path):
    ui.registerButton.click()
    fake.process.finish()
    wait(lambda: not panel.busy)
    ui.closeViewButton.click()
    before = names()
    ui.redCyanButton.click()
    wait(lambda: not panel.busy)
    made = {name for name in names() - before if name.startswith("Comparison")}
    assert made
    path = tmp_path / "scene.mrml"
    slicer.util.saveScene(str(path))
    text = path.read_text(encoding="utf-8")
    assert not [name for name in made if f'name="{name}"' in text]
    assert ui.redCyanButton.checked


def names() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetName() or "" for index in range(scene.GetNumberOfNodes())}


def test_compared_engines_are_stored_in_the_preferences(widget, panel, picked, ui):
    choose(ui.engineCombo, "compare")
    for name, (check, _combo) in panel.engines.compare_list.rows.items():
        check.checked = name == "sitk-demons"
    _check, combo = panel.engines.compare_list.rows["sitk-demons"]
    choose(combo, "paper")
    panel.set_parameter_node(None)
    panel.set_parameter_node(widget.logic.getParameterNode())
    assert panel.engines.comparing
    assert panel.engines.compare_list.checked() == [("sitk-demons", "paper")]


def test_machine_preferences_stay_out_of_the_scene(widget, panel, picked, ui):
    import qt

    ui.threadsSpin.value = 3
    choose(ui.deviceCombo, "cpu")
    assert int(qt.QSettings().value("DeepVsClassicReg/threads")) == 3
    node = widget.logic.getParameterNode()
    assert "cpu" not in [node.GetParameter(name) for name in node.GetParameterNames()]
    choose(ui.deviceCombo, "auto")
    ui.threadsSpin.value = 1


def test_an_older_scene_with_unknown_settings_still_opens(widget, panel, picked, ui):
    node = widget.logic.getParameterNode()
    panel.set_parameter_node(None)
    node.SetParameter("Engine", "engine-of-tomorrow")
    node.SetParameter("Settings", "{broken")
    panel.set_parameter_node(node)
    assert panel.engines.recommended
    assert "engine-of-tomorrow" in ui.engineNote.text and "recommended" in ui.engineNote.text
    choose(ui.engineCombo, "linear")
    assert "engine-of-tomorrow" not in ui.engineNote.text
    node.SetParameter("Engine", "sitk-demons")
    node.SetParameter("Settings", '{"no_such_setting": 1, "sigma_vox": 2.0}')
    panel.set_parameter_node(node)
    assert panel.engines.form.changes() == {"sigma_vox": 2.0}


def test_closing_and_opening_the_module_again_changes_nothing(widget, panel, picked, ui):
    widget.exit()
    widget.enter()
    assert ui.fixedSelector.currentNode() is picked.fixed
    assert panel.engines.engine == "sitk-demons"


def test_another_scene_may_be_set(module, widget):
    other = slicer.vtkMRMLScene()
    module.widgetRepresentation().setMRMLScene(other)  # the generic test of every module does this
    module.widgetRepresentation().setMRMLScene(slicer.mrmlScene)
