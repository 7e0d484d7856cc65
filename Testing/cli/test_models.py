"""`dvcreg models`."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

from testing_models import SHIFT, known_methods, write_shift


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A model folder to add, and an empty folder of the user."""
    for name in ("XDG_DATA_HOME", "APPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("DVCREG_MODELS", raising=False)
    monkeypatch.setenv("COLUMNS", "120")  # wide enough that no cell is wrapped
    with known_methods():
        write_shift(tmp_path / "made", (1.0, 0.0, 0.0), validation={"dice_mean": 0.71}, anatomy="brain")
        yield tmp_path / "made"


def test_add_list_show_remove(call, made):
    code, out, _ = call("models", "add", made)
    assert code == 0 and SHIFT in out
    code, out, _ = call("models", "list")
    assert code == 0 and SHIFT in out and "dice mean 0.71" in out
    listed = {entry["name"]: entry for entry in json.loads(call("models", "list", "--json")[1])}
    assert listed[SHIFT]["anatomy"] == "brain" and not listed[SHIFT]["bundled"]
    code, out, _ = call("models", "show", SHIFT)
    assert code == 0 and "1.8 mm" in out and "brain" in out
    assert json.loads(call("models", "show", SHIFT, "--json")[1])["sha256"] == listed[SHIFT]["sha256"]
    folder = call("models", "folder")[1].strip()
    assert json.loads(call("models", "folder", "--json")[1]) == {"folder": folder}
    code, out, _ = call("models", "remove", SHIFT, "--json")
    assert code == 0 and json.loads(out)["removed"].startswith(folder)
    assert SHIFT not in call("models", "list", "--json")[1]


def test_mistakes_are_explained(call, made, tmp_path):
    code, _, error = call("models", "show", "test-shif")
    assert code == 2 and "no model" in error
    code, _, error = call("models", "add", tmp_path)
    assert code == 2 and "card.json" in error
    (made / "weights.safetensors").write_bytes(b"swapped")
    code, _, error = call("models", "add", made)
    assert code == 2 and "sha256" in error


def test_help_loads_no_torch(program):
    process = program("models", "list", "--json")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert isinstance(json.loads(out), list)
