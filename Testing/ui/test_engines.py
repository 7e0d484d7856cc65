"""Engines, presets and settings: all come from the catalogue; what is missing is reported and can be installed."""

from __future__ import annotations

import dataclasses

import pytest
from DeepVsClassicRegLib.core.job import Job
from panel_helpers import choose, settle, shown, wait
from slicer_standin import extras


@pytest.fixture
def missing(panel, monkeypatch):
    """Pretends that packages are not installed; returns a function that takes engine -> (package, is program)."""
    from DeepVsClassicRegLib.core.engines.base import Requirement
    from DeepVsClassicRegLib.ui import dependencies

    lacking: dict[str, Requirement] = {}
    real = dependencies.get_engine

    class Lacking:
        def __init__(self, engine):
            need = lacking.get(engine.info.name)
            self.info = dataclasses.replace(engine.info, requires=(need,)) if need else engine.info

    monkeypatch.setattr(dependencies, "get_engine", lambda name: Lacking(real(name)))

    def lack(name, **requirement):
        lacking[name] = Requirement(name=requirement.pop("module", "no_such_module_anywhere"), **requirement)
        panel.engines.refresh()

    yield lack
    monkeypatch.undo()
    panel.engines.refresh()


def test_every_engine_of_the_catalogue_is_offered(panel, ui):
    from DeepVsClassicRegLib.ui.dependencies import engine_availability

    names = [ui.engineCombo.itemData(index) for index in range(ui.engineCombo.count)]
    assert {entry.info.name for entry in engine_availability()} <= set(names)
    assert names[-1] == "compare"


def test_the_first_choice_is_the_best_that_is_ready():
    from DeepVsClassicRegLib.core.engines.catalogue import get_engine
    from DeepVsClassicRegLib.ui.dependencies import EngineAvailability, default_engine

    found = [EngineAvailability(get_engine(name).info, ()) for name in ("sitk-demons", "elastix", "linear")]
    assert default_engine(found) == "elastix"
    assert default_engine(found[:1] + found[2:]) == "sitk-demons"
    assert default_engine(found[2:]) == "linear"
    assert default_engine([]) == ""


def test_presets_and_settings_follow_the_engine(panel, picked, ui):
    choose(ui.engineCombo, "sitk-demons")
    presets = [ui.presetCombo.itemData(index) for index in range(ui.presetCombo.count)]
    assert presets[0] == "default" and "paper" in presets
    iterations = panel.engines.form.fields["iterations"].widget
    assert iterations.text == "100, 60, 30"
    choose(ui.presetCombo, "paper")
    assert panel.engines.form.fields["iterations"].widget.text == "200"
    assert panel.engines.form.changes() == {}


def test_every_engine_has_a_form_that_gives_its_preset_back(panel, picked, ui):
    from DeepVsClassicRegLib.core.settings import presets
    from DeepVsClassicRegLib.ui.dependencies import engine_availability

    for entry in engine_availability():
        if not entry.ready and not entry.installable:
            continue
        choose(ui.engineCombo, entry.info.name)
        for preset in presets(entry.info.name):
            choose(ui.presetCombo, preset)
            assert panel.engines.form.problem() == "", (entry.info.name, preset)
            assert panel.engines.form.changes() == {}, (entry.info.name, preset)


def test_changed_settings_are_counted_restored_and_passed_on(panel, picked, ui, fake):
    form = panel.engines.form
    form.fields["sigma_vox"].widget.value = 2.5
    assert "1 changed" in ui.settingsButton.text
    ui.restoreButton.click()
    assert ui.settingsButton.text == "Settings"
    assert not ui.restoreButton.enabled
    form.fields["sigma_vox"].widget.value = 2.5
    field = form.fields["iterations"].widget
    field.text = "10, 5, 2"
    field.editingFinished.emit()
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    from DeepVsClassicRegLib.core.job import Job

    job = Job.read(fake.process.folder)
    assert job.settings == {"sigma_vox": 2.5, "iterations": [10, 5, 2]}
    assert job.engine == "sitk-demons"


def test_a_wrong_setting_is_reported_and_stops_the_run(panel, picked, ui):
    field = panel.engines.form.fields["iterations"].widget
    field.text = "many"
    field.editingFinished.emit()
    wait(lambda: not ui.registerButton.enabled)
    assert "iterations" in ui.settingsNote.text
    assert "iterations" in ui.registerButton.toolTip
    ui.restoreButton.click()
    wait(lambda: ui.registerButton.enabled)


def test_device_threads_and_seed_reach_the_job(panel, picked, ui, fake):
    choose(ui.deviceCombo, "cpu")
    ui.threadsSpin.value = 2
    ui.seedSpin.value = 7
    ui.registerButton.click()
    compute = Job.read(fake.process.folder).compute
    assert (compute.device, compute.threads, compute.seed) == ("cpu", 2, 7)
    choose(ui.deviceCombo, "auto")


def test_a_missing_package_grays_the_engine_and_can_be_installed(panel, picked, ui, missing, packages, fake):
    missing("sitk-demons", package="antspyx")
    choose(ui.engineCombo, "sitk-demons")
    assert "needs antspyx" in ui.engineCombo.currentText
    assert "antspyx" in ui.engineNote.text
    assert shown(ui.installButton)
    wait(lambda: ui.registerButton.enabled)
    packages.missing.add("antspyx")
    packages.refuse = True
    ui.registerButton.click()
    assert "antspyx" in ui.stageLabel.text
    assert not panel.runner.busy
    assert packages.calls == [("pip_ensure", ["antspyx>=0.5"])]
    choose(ui.engineCombo, "sitk-bspline")  # a refusal leaves the panel usable
    wait(lambda: ui.registerButton.enabled)
    ui.registerButton.click()
    assert fake.process.started


def test_an_installed_package_lets_the_run_start(panel, picked, ui, missing, packages, fake, monkeypatch):
    from DeepVsClassicRegLib.core.engines.base import Requirement

    there = []
    monkeypatch.setattr(Requirement, "found", lambda self: bool(there) or not self.package)
    missing("sitk-demons", package="antspyx")
    packages.missing.add("antspyx")
    packages.on_install = lambda names: there.append(names)
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled)
    ui.registerButton.click()
    assert there == [["antspyx>=0.5"]]
    assert fake.process.started


def test_a_package_whose_dependencies_would_move_others_is_installed_alone(
    panel, picked, ui, missing, packages, monkeypatch
):
    import slicer

    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_options: asked.append(text) or True)
    missing("sitk-demons", package="antspyx", no_deps=True)
    choose(ui.engineCombo, "sitk-demons")
    ui.installButton.click()
    assert len(asked) == 1 and "antspyx" in asked[0]
    assert packages.calls == [("pip_install", ["--no-deps", "antspyx>=0.5"])]


def test_slicer_5_10_installs_after_asking(panel, picked, ui, missing, packages, dialogs):
    import slicer

    missing("sitk-demons", package="antspyx")
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled)
    with extras.as_slicer_5_10():
        ui.registerButton.click()  # testing mode answers every question with no
    assert packages.calls == []
    assert "declined" in ui.stageLabel.text
    assert slicer.app.testingEnabled()


def test_torch_comes_from_the_pytorch_extension_only(panel, picked, ui, missing, packages):
    missing("sitk-demons", package="torch")
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled)
    ui.registerButton.click()
    assert "extension" in ui.stageLabel.text and "PyTorch" in ui.stageLabel.text
    extras.set_pytorch_extension(True, refuse=True)
    ui.registerButton.click()
    assert extras.torch_extension.calls[0]["askConfirmation"] is True
    assert "torch" in ui.stageLabel.text
    assert packages.calls == []


def test_a_missing_program_cannot_be_chosen(panel, picked, ui, missing):
    missing("sitk-demons", program=True, how="install NiftyReg and put it on PATH")
    index = ui.engineCombo.findData("sitk-demons")
    assert not ui.engineCombo.model().item(index).isEnabled()
    import qt

    assert "NiftyReg" in ui.engineCombo.itemData(index, qt.Qt.ToolTipRole)


def test_comparing_lists_the_engines_that_are_ready(panel, picked, ui):
    choose(ui.engineCombo, "compare")
    settle()
    assert shown(ui.compareFrame)
    assert not shown(ui.presetCombo) and not shown(ui.settingsButton)
    assert len(panel.engines.chosen()) >= 2
    for check, _combo in panel.engines.compare_list.rows.values():
        check.checked = False
    wait(lambda: not ui.registerButton.enabled)
    assert "compare" in ui.registerButton.toolTip


def test_a_choice_with_free_text_takes_a_model(panel, ui):
    """The similarity of `instance` is one of a list, or a trained metric by name."""
    choose(ui.engineCombo, "instance")
    settle()
    form = panel.engines.form
    combo = form.fields["similarity"].widget
    assert combo.editable and form.changes().get("similarity", "auto") == "auto"
    combo.setCurrentText("metric:my-model")
    assert form.changes()["similarity"] == "metric:my-model" and not form.problem()
    combo.setCurrentText("nonsense")
    assert "similarity" in form.problem()
    choose(combo, "mind")
    assert form.changes()["similarity"] == "mind"
