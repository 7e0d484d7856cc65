"""Model folders are described, added and removed; nothing else is ever touched."""

import hashlib
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from DeepVsClassicRegLib.core.errors import FileError  # noqa: E402
from DeepVsClassicRegLib.core.networks import model_store  # noqa: E402
from testing_models import SHIFT, known_methods, write_shift  # noqa: E402

TRAINING = {
    "data": {"kind": "generated shapes", "count": 3, "settings": {"left": "out"}},
    "data_licence": "none needed",
    "supervision": "labels",
    "steps": 20,
    "hours": 1.5,
    "device": "cuda",
}


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The user's folder, empty, and no other models."""
    folder = tmp_path / "user's models"
    monkeypatch.setattr(model_store, "user_models_folder", lambda: folder)
    monkeypatch.setattr(model_store, "resource_folder", lambda: tmp_path / "shipped")
    monkeypatch.delenv("DVCREG_MODELS", raising=False)
    with known_methods():
        yield folder


@pytest.fixture
def made(tmp_path, shelf):
    folder = tmp_path / "made"
    write_shift(
        folder, (1.0, 0.0, 0.0), training=TRAINING, validation={"steps": 9, "folds_percent": 0, "dice_mean": 0.71234}
    )
    return folder


def test_an_added_model_is_found_loaded_and_removed(made, shelf):
    model = model_store.add_model(made)
    assert model.folder == shelf / SHIFT
    assert [found.card.name for found in model_store.find_models()] == [SHIFT]
    card, module = model_store.load_model(model.folder)
    assert module.shift[0] == 1.0
    assert card == model.card
    assert sorted(path.name for path in shelf.iterdir()) == [SHIFT]
    assert model_store.remove_model(SHIFT) == model.folder
    assert model_store.find_models() == ()
    assert (made / "card.json").is_file()


def test_a_name_is_given_once(made):
    model_store.add_model(made)
    with pytest.raises(FileError, match="already"):
        model_store.add_model(made)


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden", ""])
def test_a_name_cannot_lead_elsewhere(made, shelf, name):
    content = json.loads((made / "card.json").read_text(encoding="utf-8"))
    (made / "card.json").write_text(json.dumps({**content, "name": name}), encoding="utf-8")
    with pytest.raises(FileError, match="name of a folder"):
        model_store.add_model(made)
    assert not shelf.exists()


def test_swapped_weights_and_pickles_are_refused(made, shelf):
    weights = made / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(FileError, match="sha256"):
        model_store.add_model(made)
    torch.save({"shift": torch.zeros(3)}, weights)
    content = json.loads((made / "card.json").read_text(encoding="utf-8"))
    content["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (made / "card.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FileError, match="not a safetensors file"):
        model_store.add_model(made)
    assert not shelf.exists()


def test_no_folder_no_card(tmp_path, shelf):
    with pytest.raises(FileError):
        model_store.add_model(tmp_path / "nothing")
    with pytest.raises(FileError, match="no model 'nothing'"):
        model_store.remove_model("nothing")


def test_models_that_ship_or_lie_elsewhere_stay(made, tmp_path, monkeypatch):
    with pytest.raises(FileError, match="outside"):
        model_store.remove_model(str(made))
    monkeypatch.setenv("DVCREG_MODELS", str(made))
    with pytest.raises(FileError, match="outside"):
        model_store.remove_model(SHIFT)
    write_shift(tmp_path / "shipped" / "Models" / "core", (0.0, 0.0, 0.0), name="core")
    with pytest.raises(FileError, match="bundled"):
        model_store.remove_model("core")
    assert (made / "card.json").is_file()
    assert (tmp_path / "shipped" / "Models" / "core" / "card.json").is_file()


def test_facts_are_words(made):
    about = model_store.facts(model_store.get_model(str(made)))
    assert about["Training data"] == "kind generated shapes, count 3"
    assert about["Training"] == "with labels, 20 steps, 1.5 h on cuda"
    assert "dice mean 0.7123" in about["Validation"]
    assert model_store.headline(model_store.get_model(str(made)).card) == "dice mean 0.712, folds percent 0"
    assert "Citation" not in about  # the card has none
    assert "0.0 MB" in about["Weights"]
