"""Relative paths in --set are those of the user's folder, not of the worker's; names of models stay names."""

from __future__ import annotations

from DeepVsClassicRegLib.cli.options import settings_of


def test_relative_paths_of_settings_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text("{}")
    (tmp_path / "synthmorph-brain").mkdir()  # no model folder: the name is that of the bundled model
    (tmp_path / "20").write_text("")
    (tmp_path / "other.nrrd").write_text("")
    assert settings_of(("model=mine", "transfer_to=other.nrrd", "models_folder=.", "iterations=20")) == {
        "model": str(tmp_path / "mine"),
        "transfer_to": str(tmp_path / "other.nrrd"),
        "models_folder": str(tmp_path),
        "iterations": "20",
    }
    names = {"model": "synthmorph-brain", "transfer_to": "missing.nrrd", "models_folder": ""}
    assert settings_of(tuple(f"{name}={value}" for name, value in names.items())) == names
