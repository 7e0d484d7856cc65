"""Presets of the user: saved, listed, shared, refused."""

from __future__ import annotations

import json

import pytest
from DeepVsClassicRegLib.core.engines.catalogue import get_engine
from DeepVsClassicRegLib.core.errors import FileError, SettingsError
from DeepVsClassicRegLib.core.settings import (
    delete_preset,
    export_preset,
    make_settings,
    own_presets_folder,
    presets,
    read_preset,
    save_preset,
)

ENGINE = "sitk-demons"
KIND = get_engine(ENGINE).info.settings


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """An empty folder of the user."""
    for name in ("XDG_DATA_HOME", "APPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))


def test_a_saved_preset_is_used_like_one_that_ships():
    saved = save_preset(ENGINE, KIND, "Stiff (my lab)", {"sigma_vox": "2.5", "iterations": "30,20"}, summary="Stiffer.")
    assert (saved.name, saved.own, saved.title) == ("stiff-my-lab", True, "Stiff (my lab)")
    assert list(presets(ENGINE)) == ["default", "paper", "stiff-my-lab"]
    made = make_settings(KIND, ENGINE, "stiff-my-lab", {"shrink": "2,1"})
    assert (made.sigma_vox, made.iterations, made.shrink) == (2.5, (30, 20), (2, 1))
    delete_preset(ENGINE, "stiff-my-lab")
    assert "stiff-my-lab" not in presets(ENGINE)


def test_what_is_refused():
    with pytest.raises(SettingsError, match="ships with the program"):
        save_preset(ENGINE, KIND, "Paper", {})
    with pytest.raises(SettingsError, match="no title"):
        save_preset(ENGINE, KIND, "!?", {})
    with pytest.raises(SettingsError, match="no setting 'sigma'"):
        save_preset(ENGINE, KIND, "Mine", {"sigma": 1})
    save_preset(ENGINE, KIND, "Mine", {"sigma_vox": 1})
    with pytest.raises(SettingsError, match="already a preset 'mine'"):
        save_preset(ENGINE, KIND, "mine", {})
    assert save_preset(ENGINE, KIND, "Mine", {"sigma_vox": 2}, replace=True).values == {"sigma_vox": 2.0}
    with pytest.raises(SettingsError, match="cannot be deleted"):
        delete_preset(ENGINE, "paper")
    with pytest.raises(SettingsError, match="has no preset 'other'"):
        delete_preset(ENGINE, "other")


def test_a_file_moves_it_to_another_computer(tmp_path, monkeypatch):
    save_preset(ENGINE, KIND, "Mine", {"sigma_vox": 1.5}, summary="Tested.")
    path = export_preset(ENGINE, "mine", tmp_path / "shared.json")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    assert "mine" not in presets(ENGINE)
    content = read_preset(path)
    assert save_preset(content["engine"], KIND, content["title"], content["settings"]).values == {"sigma_vox": 1.5}
    (tmp_path / "other.json").write_text(json.dumps({"engine": ENGINE, "settings": {}}))
    with pytest.raises(FileError, match="lacks name, title"):
        read_preset(tmp_path / "other.json")


def test_a_damaged_file_is_an_error_only_when_it_is_chosen():
    folder = own_presets_folder(ENGINE)
    folder.mkdir(parents=True)
    (folder / "broken.json").write_text("{")
    (folder / "odd.json").write_text('{"settings": 3}')
    assert presets(ENGINE)["broken"].problem and make_settings(KIND, ENGINE, "paper")
    for name in ("broken", "odd"):
        with pytest.raises(SettingsError, match=name):
            make_settings(KIND, ENGINE, name)
