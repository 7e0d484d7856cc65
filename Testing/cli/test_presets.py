"""`dvcreg presets`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """An empty folder of the user, which the worker inherits."""
    for name in ("XDG_DATA_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "user"))


def test_save_share_use_and_delete(call, pair, tmp_path):
    code, out, _ = call("presets", "save", "My lab", "--engine", "sitk-demons:paper", "--set", "iterations=2")
    code2, _, err = call(
        "presets", "save", "My lab", "--engine", "sitk-demons", "--set", "iterations=2", "--set", "shrink=2"
    )
    assert code == 0 and "sitk-demons:my-lab" in out and code2 == 2 and "already a preset" in err
    arguments = ["--engine", "sitk-demons", "--set", "iterations=2", "--set", "shrink=2", "--replace"]
    assert call("presets", "save", "My lab", *arguments)[0] == 0
    assert call("presets", "export", "sitk-demons:my-lab", "--out", tmp_path / "lab.json")[0] == 0
    assert call("presets", "delete", "sitk-demons:my-lab")[0] == 0
    code, out, _ = call("presets", "list", "sitk-demons", "--json")
    assert code == 0 and "my-lab" not in [entry["name"] for entry in json.loads(out)]
    assert call("presets", "import", tmp_path / "lab.json")[0] == 0
    code, out, _ = call("presets", "list", "sitk-demons")
    assert code == 0 and "sitk-demons:my-lab" in out and "own" in out
    run = ["register", *pair, "--engine", "sitk-demons", "--preset", "my-lab", "--threads", "1", "--no-html", "--json"]
    code, out, err = call(*run, "--out", tmp_path / "run")
    assert code == 0, err
    report = json.loads(out)
    assert report["preset"] == "my-lab" and report["settings"]["iterations"] == [2]


def test_wrong_use(call, tmp_path):
    (tmp_path / "no.json").write_text("{}")
    for arguments, message in (
        (["import", tmp_path / "no.json"], "is no preset"),
        (["delete", "sitk-demons:paper"], "ships with the program"),
        (["save", "X", "--engine", "sitk-demon"], "sitk-demons"),
        (["save", "X", "--engine", "sitk-demons", "--set", "iteration=2"], "no setting 'iteration'"),
    ):
        code, _, err = call("presets", *arguments)
        assert code == 2 and message in " ".join(err.split()), arguments
