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


@pytest.fixture
def offer(monkeypatch):
    """What pip would install, without pip; each call is recorded."""
    from DeepVsClassicRegLib.ui import dependencies
    from DeepVsClassicRegLib.worker.installing import Package

    asked = []
    found = [Package("antspyx", "0.6.3", "Apache-2.0", 22_400_000), Package("webcolors", "24.11", "", None)]

    def packages_to_add(lines, alone):
        asked.append((lines, alone))
        return tuple(found)

    monkeypatch.setattr(dependencies, "packages_to_add", packages_to_add)
    return asked


@pytest.fixture
def questions(monkeypatch):
    """The questions, which are all answered with yes unless `questions.answer` is False."""
    import slicer

    class Questions(list):
        answer = True

    asked = Questions()
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, **_options: asked.append(text) or asked.answer
    )
    return asked


def test_a_missing_package_grays_the_engine_and_can_be_installed(
    panel, picked, ui, missing, packages, fake, offer, questions
):
    missing("sitk-demons", package="antspyx")
    choose(ui.engineCombo, "sitk-demons")
    assert "needs antspyx" in ui.engineCombo.currentText
    assert "antspyx" in ui.engineNote.text
    assert shown(ui.installButton)
    wait(lambda: ui.registerButton.enabled)
    questions.answer = False
    ui.registerButton.click()
    assert "declined" in ui.stageLabel.text and "antspyx" in ui.stageLabel.text
    assert not panel.runner.busy
    assert offer == [(["antspyx>=0.5"], [])]
    assert packages.calls == []
    choose(ui.engineCombo, "sitk-bspline")  # a refusal leaves the panel usable
    wait(lambda: ui.registerButton.enabled)
    ui.registerButton.click()
    assert fake.process.started


def test_an_installed_package_lets_the_run_start(
    panel, picked, ui, missing, packages, fake, offer, questions, monkeypatch
):
    from DeepVsClassicRegLib.core.engines.base import Requirement

    there = []
    monkeypatch.setattr(Requirement, "found", lambda self: bool(there) or not self.package)
    missing("sitk-demons", package="antspyx")
    packages.on_install = lambda names: there.append(names)
    choose(ui.engineCombo, "sitk-demons")
    wait(lambda: ui.registerButton.enabled)
    ui.registerButton.click()
    assert there == [["--no-deps", "antspyx==0.6.3", "webcolors==24.11"]]
    assert fake.process.started


def test_a_package_whose_dependencies_would_move_others_is_installed_alone(
    panel, picked, ui, missing, packages, offer, questions
):
    missing("sitk-demons", package="antspyx", no_deps=True)
    choose(ui.engineCombo, "sitk-demons")
    ui.installButton.click()
    assert offer == [([], ["antspyx>=0.5"])]
    assert packages.calls == [("pip_install", ["--no-deps", "antspyx==0.6.3", "webcolors==24.11"])]


def test_the_question_has_version_size_and_license(panel, picked, ui, missing, packages, offer, questions):
    missing("greedy", package="antspyx")
    choose(ui.engineCombo, "greedy")
    questions.answer = False
    ui.installButton.click()
    (text,) = questions
    assert "antspyx 0.6.3, 22.4 MB, Apache-2.0" in text
    assert "webcolors 24.11, size not known, license not stated" in text
    assert "greedy has the license GPL-3.0" in text
    assert "numpy, scipy and SimpleITK, are not changed" in text


@pytest.mark.parametrize("engine, text", [("fireants", "FireANTs License 1.0"), ("greedy", "GPL-3.0")])
def test_an_engine_with_a_license_of_its_own_says_so(engine, text):
    from DeepVsClassicRegLib.core.engines.catalogue import get_engine
    from DeepVsClassicRegLib.ui.dependencies import consent_text
    from DeepVsClassicRegLib.worker.installing import Package

    one = [Package("a", "1", "MIT", 2_000)]
    assert f"has the license {text}" in consent_text(get_engine(engine).info, one)
    assert "has the license" not in consent_text(get_engine("ants").info, one)
    assert "a 1, 2 kB, MIT" in consent_text(get_engine("ants").info, one)


def test_what_pip_cannot_resolve_is_reported_before_any_question(
    panel, picked, ui, missing, packages, questions, monkeypatch
):
    from DeepVsClassicRegLib.core.errors import EngineUnavailable
    from DeepVsClassicRegLib.ui import dependencies

    def conflict(_lines, _alone):
        raise EngineUnavailable("antspyx depends on scipy<1.16", hint="Choose another engine.")

    monkeypatch.setattr(dependencies, "packages_to_add", conflict)
    missing("sitk-demons", package="antspyx")
    choose(ui.engineCombo, "sitk-demons")
    ui.installButton.click()
    assert "scipy&lt;1.16" in ui.stageLabel.text
    assert questions == [] and packages.calls == []


def test_slicer_5_10_installs_after_asking(panel, picked, ui, missing, packages, offer, dialogs):
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
