"""The page of models, and choosing a model for the network engines."""

from __future__ import annotations

import pytest
from panel_helpers import choose, shown, wait

pytest.importorskip("torch")
pytest.importorskip("safetensors")

CARD = {
    "training": {"data": {"kind": "generated shapes"}, "data_licence": "none needed"},
    "validation": {"dice_mean": 0.71},
    "anatomy": "brain",
    "citation": "Nobody, 2026",
}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A model that ships, one to add, and an empty user's folder."""
    from DeepVsClassicRegLib.core.networks import model_store as found
    from testing_models import known_methods, write_shift

    home = tmp_path / "models"
    monkeypatch.setattr(found, "user_models_folder", lambda: home / "own")
    monkeypatch.setattr(found, "resource_folder", lambda: home / "shipped")
    monkeypatch.delenv("DVCREG_MODELS", raising=False)
    with known_methods():
        write_shift(home / "shipped" / "Models" / "core", (0.0, 0.0, 0.0), name="core", title="Core model")
        write_shift(home / "made", (1.0, 0.0, 0.0), name="mine", title="My <model>", **CARD)
        yield home


@pytest.fixture
def page(panel, models):
    panel.models.show()
    yield panel.models
    panel.models.close()


def rows(page) -> list[str]:
    table = page.ui.modelsTable
    return [table.item(row, 0).text() for row in range(table.rowCount)]


def test_every_model_is_listed_with_its_card(page):
    assert rows(page) == ["Core model"]
    card = page.ui.cardBrowser.toPlainText()
    assert "1.8 mm" in card
    assert "bundled with the extension" in card
    assert not page.ui.removeButton.enabled


def test_add_choose_remove(page, panel, models, dialogs, picked, ui, monkeypatch):
    import slicer

    choose(ui.engineCombo, "network")
    dialogs.answer("getExistingDirectory", str(models / "made"))
    page.ui.addButton.click()
    assert rows(page) == ["Core model", "My <model>"]
    card = page.ui.cardBrowser.toPlainText()
    for text in ("My <model>", "generated shapes", "none needed", "dice mean 0.71", "Nobody, 2026"):
        assert text in card
    combo = panel.engines.form.fields["model"].widget
    assert [combo.itemText(index) for index in range(combo.count)] == ["auto", "core", "mine"]
    combo.currentIndex = 2
    assert panel.engines.form.changes() == {"model": "mine"}
    assert page.ui.removeButton.enabled
    page.ui.removeButton.click()  # testing mode answers every question with no
    assert "My <model>" in rows(page)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_: True)
    page.ui.removeButton.click()
    assert rows(page) == ["Core model"]
    assert (models / "made" / "card.json").is_file()
    assert combo.currentText == "mine", "what was chosen is not changed behind the user's back"


def test_what_cannot_be_added_is_reported_on_the_page(page, models, dialogs):
    (models / "made" / "weights.safetensors").write_bytes(b"swapped")
    dialogs.answer("getExistingDirectory", str(models / "made"))
    page.ui.addButton.click()
    assert "sha256" in page.ui.modelsNote.text
    dialogs.answer("getExistingDirectory", "")  # canceled
    page.ui.addButton.click()
    assert rows(page) == ["Core model"]


def test_open_the_folder(page, models, dialogs):
    page.ui.folderButton.click()
    assert dialogs.shown[-1][0] == "openUrl"
    assert dialogs.shown[-1][1].endswith("shipped/Models/core")


def test_every_method_is_listed(page, monkeypatch):
    import importlib.util

    from DeepVsClassicRegLib.core.networks.catalogue import method_infos

    page.ui.methodsButton.click()
    assert "Reading the list" in page.ui.cardBrowser.toPlainText()
    wait(lambda: "voxelmorph" in page.ui.cardBrowser.toPlainText())
    listed = page.ui.cardBrowser.toPlainText()
    library = [info for info in method_infos() if not info.name.startswith("test-")]  # those the worker knows
    assert len(library) > 20
    for info in library:
        assert info.title in listed and info.name in listed and info.citation in listed
    assert "299,683" in listed  # parameters of voxelmorph in 3D
    page.refresh()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    page.ui.methodsButton.click()
    assert "PyTorch" in page.ui.modelsNote.text
    assert "voxelmorph" not in page.ui.cardBrowser.toPlainText()


def test_the_methods_are_read_by_the_worker(page, fake):
    page.ui.methodsButton.click()
    assert fake.process.folder.exists()
    facts = {"name": "vfa", "title": "VFA", "kind": "field", "supervision": ["none"], "dimensions": [2, 3]}
    fake.process.answer(methods=[{**facts, "parameters": 12345, "citation": "Someone 2020"}])
    listed = page.ui.cardBrowser.toPlainText()
    assert "VFA (vfa)" in listed and "12,345" in listed and "2D, 3D" in listed
    page.refresh()
    assert "1.8 mm" in page.ui.cardBrowser.toPlainText()
    page.ui.methodsButton.click()
    assert "VFA (vfa)" in page.ui.cardBrowser.toPlainText() and len(fake.processes) == 1, "read once"


def test_methods_that_come_late_or_fail_do_not_hide_the_card(page, fake):
    page.ui.methodsButton.click()
    page.refresh()  # a model is selected again
    fake.process.answer(methods=[])
    assert "1.8 mm" in page.ui.cardBrowser.toPlainText()
    page.ui.methodsButton.click()
    wait(lambda: len(fake.processes) == 2 and fake.processes[-1].started)
    fake.process.end("failed", "PyTorch is broken.", "Install it again.")
    shown = page.ui.cardBrowser.toPlainText()
    assert "PyTorch is broken." in shown and "Install it again." in shown


def test_no_model_is_reported(panel, models, tmp_path, monkeypatch):
    from DeepVsClassicRegLib.core.networks import model_store as found

    monkeypatch.setattr(found, "resource_folder", lambda: tmp_path / "nothing")
    panel.models.show()
    assert "No model" in panel.models.ui.modelsNote.text
    assert not panel.models.ui.folderButton.enabled
    panel.models.close()


def test_the_button_belongs_to_the_network_engines(panel, picked, models, ui):
    assert not shown(ui.modelsButton)
    choose(ui.engineCombo, "network+refine")
    wait(lambda: shown(ui.modelsButton))
    ui.modelsButton.click()
    assert panel.models.dialog.visible
    panel.models.ui.closeButton.click()
    assert not panel.models.dialog.visible
    choose(ui.engineCombo, "compare")
    assert not shown(ui.modelsButton)


def test_a_folder_can_be_typed(panel, picked, models, ui):
    choose(ui.engineCombo, "network")
    combo = panel.engines.form.fields["model"].widget
    combo.lineEdit().setText("/data/my model")
    combo.lineEdit().editingFinished.emit()
    assert panel.engines.form.changes() == {"model": "/data/my model"}
    assert "1 changed" in ui.settingsButton.text
    ui.restoreButton.click()
    assert combo.currentText == "auto"


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "model"), [("network", "auto"), ("network", "brain"), ("network+refine", "shapes")])
def test_the_models_that_ship_register_in_the_worker(panel, picked, ui, monkeypatch, engine, model):
    """No fake: the real weights, the real process; what the page lists can be chosen and works."""
    monkeypatch.delenv("DVCREG_MODELS", raising=False)
    choose(ui.engineCombo, engine)
    combo = panel.engines.form.fields["model"].widget
    names = [combo.itemText(index) for index in range(combo.count)]
    assert {"auto", "synthmorph-brain", "synthmorph-shapes"} <= set(names)
    ui.modelsButton.click()
    assert {"SynthMorph brain", "SynthMorph shapes"} <= set(rows(panel.models))
    panel.models.close()
    combo.currentIndex = names.index("auto" if model == "auto" else f"synthmorph-{model}")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    wait(lambda: not panel.busy, 300)
    run = panel.results.run
    assert run is not None, ui.stageLabel.text
    assert run.engine == engine
    assert run.measures["dice_mean"] > run.measures_before["dice_mean"] + 0.3
    assert run.measures["tre_mm_mean"] < 0.5 * run.measures_before["tre_mm_mean"]
    assert run.measures["folding_percent"] < 0.1


def test_without_torch_the_engines_say_why(panel, monkeypatch, ui):
    from DeepVsClassicRegLib.core.engines.base import Requirement

    monkeypatch.setattr(Requirement, "found", lambda self: self.name != "torch")
    panel.engines.refresh()
    choose(ui.engineCombo, "network")
    assert "needs PyTorch" in ui.engineCombo.currentText
    assert "PyTorch" in ui.engineNote.text
    assert shown(ui.installButton)
    monkeypatch.undo()
    panel.engines.refresh()


def test_trained_similarities_are_offered(panel, models, ui):
    """Installed models of the kinds 'metric' and 'features' are choices of the similarity of `instance`."""
    from DeepVsClassicRegLib.core.networks.card import Card
    from DeepVsClassicRegLib.core.networks.model_store import fresh_network, save_model

    card = Card("edges", "My features", "Of edges.", "ssemnet", {"widths": [2]}, 1.0, (16, 16, 1), 2, kind="features")
    save_model(models / "own" / "edges", card, fresh_network(card))
    choose(ui.engineCombo, "instance")
    wait(lambda: panel.engines.form is not None and "similarity" in panel.engines.form.fields)
    combo = panel.engines.form.fields["similarity"].widget
    texts = [combo.itemText(index) for index in range(combo.count)]
    assert texts == ["auto", "lncc", "mi", "mind", "mse", "features:edges"]
    combo.currentIndex = 5
    assert panel.engines.form.changes() == {"similarity": "features:edges"} and not panel.engines.form.problem()
    panel.engines.form.refresh_suggestions()
    assert combo.currentText == "features:edges" and combo.count == 6
