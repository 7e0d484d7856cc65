"""Training on the page of models: set up, live, stopped, resumed after a restart, and what prevents it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import qt
import slicer
from panel_helpers import choose, settle, wait

pytest.importorskip("torch")
pytest.importorskip("safetensors")

METHODS = [
    {"name": name, "title": title, "summary": f"{title} learns.", "citation": "Someone 2020", "kind": kind,
     "supervision": ["none", "labels"][: 2 if name != "flow" else 1], "dimensions": [2, 3]}
    for name, title, kind in (
        ("voxelmorph", "VoxelMorph", "field"), ("vfa", "VFA", "field"), ("flow", "Flow", "field"),
        ("haskins", "Haskins", "metric"), ("lapirn", "LapIRN", "field"),
    )
]  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return the user's empty folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("DeepVsClassicRegLib.core.files.sys.platform", "linux")
    monkeypatch.delenv("DVCREG_MODELS", raising=False)
    return tmp_path / "home" / "DeepVsClassicReg"


@pytest.fixture
def page(panel, home):
    panel.models.show()
    wait(lambda: not panel.models.trainings.busy)
    yield panel.models
    if panel.runner.training is not None:
        panel.runner.training.cancel()
    wait(lambda: panel.runner.training is None)
    panel.models.close()


@pytest.fixture
def heads(widget):
    """Return five small volumes with segmentations of the same name in the scene."""
    from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
    from DeepVsClassicRegLib.mrml.sample_data import add_labels, add_volume
    from training_cases import GRID, star

    found = []
    for number in range(5):
        image = star(number // 2 % 2)
        volume = add_volume(Volume(image, GRID), f"Head {number}")
        label_map = LabelMap((image > 50).astype(np.int16), GRID, {1: "Star"})
        found.append((volume, add_labels(label_map, f"Head {number} seg", reference=None)))
    return found


def open_dialog(page, fake=None, model=None):
    """Open the window, with the list of methods from a fake worker."""
    page.train_dialog.show(model)
    if fake is not None and model is None:
        fake.process.answer(methods=METHODS)
    settle()
    return page.train_dialog


def job_of(process):
    return json.loads((process.folder / "job.json").read_text(encoding="utf-8"))


def test_cases_of_the_scene_become_a_training(page, heads, fake, home, panel):
    page.ui.trainButton.click()
    dialog = page.train_dialog
    assert not dialog.ui.startButton.enabled  # the methods are still read
    fake.process.answer(methods=METHODS)
    ui = dialog.ui
    assert [ui.casesTable.item(row, 0).text() for row in range(5)] == [f"Head {number}" for number in range(5)]
    assert ui.casesTable.cellWidget(3, 1).currentText == "Head 3 seg", "found by name"
    assert [ui.methodCombo.itemData(index) for index in range(ui.methodCombo.count)] == ["vfa", "lapirn", "voxelmorph"]
    assert "VFA learns." in ui.methodLabel.text
    assert ui.startButton.enabled and "5 cases" in ui.casesLabel.text
    ui.casesTable.cellWidget(0, 1).currentIndex = 0
    assert "1 of 5 cases have no segmentation" in ui.casesLabel.text and not ui.startButton.enabled
    choose(ui.supervisionCombo, "none")
    assert ui.startButton.enabled
    assert ui.methodCombo.currentData == "vfa" and ui.methodCombo.findData("flow") > 0
    choose(ui.supervisionCombo, "labels")
    ui.casesTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert ui.startButton.enabled and "4 cases" in ui.casesLabel.text
    ui.casesTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert "at least 4" in ui.casesLabel.text and not ui.startButton.enabled
    ui.casesTable.item(1, 0).setCheckState(qt.Qt.Checked)
    ui.nameEdit.text = "stars/1"
    assert "cannot be the name" in ui.trainNote.text and not ui.startButton.enabled
    ui.nameEdit.text = "stars"
    ui.hoursSpin.value = 0.5
    ui.startButton.click()
    wait(lambda: len(fake.processes) == 2 and fake.processes[-1].started)
    job = job_of(fake.processes[-1])
    assert (job["task"], job["options"]["folder"]) == ("train", str(home / "Trainings" / "stars"))
    training = job["options"]["training"]
    assert (training["method"], training["supervision"], training["train"]["hours"]) == ("vfa", "labels", 0.5)
    assert training["settings"] == {"label_weight": 3.0}
    written = json.loads((home / "Trainings" / "stars" / "cases" / "dataset.json").read_text())
    assert written["labels"] == {"1": "Star"} and len(written["training"]) == 4
    slicer.mrmlScene.Clear(0)
    assert panel.runner.training is not None, "the copies do not need the scene"
    page.ui.holdButton.click()
    wait(lambda: panel.runner.training is None)
    assert not (home / "Trainings" / "stars").exists(), "without a configuration nothing can be resumed"


def test_a_folder_is_checked_before_the_start(page, widget, fake, tmp_path, dialogs):
    from training_cases import write_cases

    dialog = open_dialog(page, fake)
    ui = dialog.ui
    assert ui.dataCombo.currentData == "folder" and not ui.startButton.enabled, "the scene is empty"
    for count, unlabeled, words in ((3, 0, "no pair"), (5, 2, "2 of 5 cases have no segmentation"), (5, 0, "5 cases")):
        folder = write_cases(tmp_path / f"of{count}-{unlabeled}", count, unlabeled=unlabeled)
        dialogs.answer("getExistingDirectory", str(folder))
        ui.browseButton.click()
        wait(lambda: not dialog.waiting)
        assert words in ui.casesLabel.text
        assert ui.startButton.enabled == (words == "5 cases")
    ui.pathEdit.text = str(tmp_path / "nowhere")
    wait(lambda: not dialog.waiting)
    assert "no dataset" in ui.casesLabel.text
    choose(ui.dataCombo, "list")
    listed = tmp_path / "list.csv"
    listed.write_text("image\n" + "\n".join(str(path) for path in sorted(folder.glob("*.nii.gz"))))
    dialogs.answer("getOpenFileName", str(listed))
    ui.browseButton.click()
    wait(lambda: not dialog.waiting)
    assert "5 of 5 cases have no segmentation" in ui.casesLabel.text
    choose(ui.supervisionCombo, "none")
    assert ui.startButton.enabled
    assert dialog.request().options["data"] == str(listed)


def test_without_torch_the_buttons_say_what_to_do(panel, home, monkeypatch):
    from DeepVsClassicRegLib.core.engines.base import Requirement

    monkeypatch.setattr(Requirement, "found", lambda self: self.name != "torch")
    panel.models.show()
    ui = panel.models.ui
    assert not ui.trainButton.enabled and not ui.adaptButton.enabled
    assert "PyTorch" in ui.modelsNote.text and "PyTorch" in ui.trainButton.toolTip
    assert not ui.prepareButton.isHidden()
    ui.prepareButton.click()  # there is no extension PyTorch here
    assert "Extensions Manager" in ui.modelsNote.text
    monkeypatch.undo()
    ui.refreshButton.click()
    assert ui.trainButton.enabled and ui.prepareButton.isHidden()
    panel.models.close()


def test_trained_stopped_resumed_after_a_restart_and_used(page, panel, heads, home, monkeypatch):
    """The real worker on tiny cases: live curves, a checkpoint, a killed worker, and a model in the end."""
    from DeepVsClassicRegLib.core.networks.model_store import get_model
    from training_cases import TINY, TINY_TRAIN

    logic = panel_logic()
    options = {**TINY, "train": TINY_TRAIN}
    nodes = [list(side) for side in zip(*heads, strict=True)]
    handle = logic.train(*nodes, name="stars", hours=1, options=options, wait=False, device="cpu", threads=1)
    task, ui = panel.runner.training, page.ui
    wait(lambda: len(task.curves.objective) > 5 and len(task.curves.dice) > 1, 300)
    wait(lambda: "left" in ui.trainingLabel.text and ui.trainingCombo.currentText.startswith("stars"))
    assert "Step" in ui.trainingLabel.text and ui.holdButton.enabled and not ui.resumeButton.enabled
    wait(lambda: page.trainings.objective.points > 5 and page.trainings.dice.points > 1)
    ui.holdButton.click()
    wait(lambda: handle.over, 300)
    wait(lambda: not page.trainings.busy and "Paused at step" in ui.trainingLabel.text)
    page.close()  # a restart: everything is read from the disk
    page.show()
    wait(lambda: not page.trainings.busy)
    ui = page.ui
    assert "Paused at step" in ui.trainingLabel.text and ui.resumeButton.enabled and ui.deleteButton.enabled
    before = page.trainings.chosen.step
    ui.resumeButton.click()
    task = panel.runner.training
    wait(lambda: task.is_over or (task.curves.objective and task.curves.objective[-1][0] > before), 300)
    task.process.kill()
    wait(lambda: panel.runner.training is None)
    wait(lambda: not page.trainings.busy and "killed" in ui.trainingLabel.text)
    assert ui.resumeButton.enabled and ui.stopButton.enabled
    ui.stopButton.click()
    wait(lambda: not page.trainings.busy and "was added" in ui.modelsNote.text)
    card = get_model("stars").card
    assert card.supervised_labels == {"1": "Star"} and card.training["command"] == "the panel of Slicer"
    assert page.model.card.name == "stars" and logic.trainings() == {"stars": "interrupted"}
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_: True)
    ui.deleteButton.click()
    wait(lambda: not page.trainings.busy)
    assert logic.trainings() == {} and ui.trainingsBox.isHidden()


def panel_logic():
    return slicer.util.getModuleLogic("DeepVsClassicReg") or slicer.modules.DeepVsClassicRegWidget.logic


def test_what_the_console_refuses(panel, home, heads):
    from DeepVsClassicRegLib.core.errors import RegistrationError

    logic = slicer.modules.DeepVsClassicRegWidget.logic
    volumes = [volume for volume, _labels in heads]
    for arguments, words in (
        ((), "either as volume nodes or as data"),
        ((volumes, volumes[:2]), "2 segmentations for 5 volumes"),
        ((volumes[:2],), "at least 4"),
    ):
        with pytest.raises(RegistrationError, match=words):
            logic.train(*arguments, name="new")
    with pytest.raises(RegistrationError, match="no training 'x'"):
        logic.resumeTraining("x")
    assert not home.exists() or not list(home.iterdir())


def test_the_windows_fit_the_width_of_the_panel(page, heads, fake):
    dialog = open_dialog(page, fake)
    dialog.ui.advancedButton.collapsed = False
    page.ui.trainingsBox.visible = True
    settle()
    for window in (dialog.dialog, page.dialog):
        assert window.minimumSizeHint.width() <= 430, window.objectName


@pytest.mark.slow
def test_a_model_is_adapted_by_clicks(page, panel, heads, home):
    """The real worker: a small network is trained, chosen on the page, adapted to the cases of the scene, and added."""
    from DeepVsClassicRegLib.core.networks.model_store import get_model
    from training_cases import TINY, TINY_TRAIN

    logic, ui = panel_logic(), page.ui
    nodes = [list(side) for side in zip(*heads, strict=True)]
    options = {**TINY, "train": TINY_TRAIN}
    handle = logic.train(*nodes, name="stars", hours=1, options=options, wait=False, device="cpu", threads=1)
    wait(lambda: len(panel.runner.training.curves.dice) > 1)
    ui.holdButton.click()
    wait(lambda: handle.over and not page.trainings.busy and ui.stopButton.enabled)
    ui.stopButton.click()
    wait(lambda: not page.trainings.busy and "was added" in ui.modelsNote.text)
    assert page.model.card.name == "stars" and ui.adaptButton.enabled

    ui.adaptButton.click()
    dialog = page.train_dialog.ui
    assert (
        page.train_dialog.dialog.windowTitle == "Adapt a model" and "Continues the training" in dialog.trainIntro.text
    )
    assert dialog.nameEdit.text == "my-stars" and dialog.methodCombo.isHidden() and "5 cases" in dialog.casesLabel.text
    dialog.rateSpin.value = TINY_TRAIN["learning_rate"]
    dialog.startButton.click()
    wait(lambda: panel.runner.training is not None and len(panel.runner.training.curves.objective) > 2)
    assert panel.runner.training.request.model.endswith("stars")
    assert ui.trainingCombo.currentText.startswith("my-stars")
    ui.holdButton.click()
    wait(lambda: panel.runner.training is None and not page.trainings.busy)
    assert "Paused at step" in ui.trainingLabel.text and ui.resumeButton.enabled
    if not ui.stopButton.enabled:
        assert "no better" in ui.stopButton.toolTip
        return
    ui.stopButton.click()
    wait(lambda: not page.trainings.busy and "'my-stars' was added" in ui.modelsNote.text)
    assert page.model.card.name == "my-stars" and get_model("my-stars").card.method == get_model("stars").card.method
