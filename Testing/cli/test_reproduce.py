"""`reproduce`: from a folder to the page, going on where it was, stored runs, wrong use."""

from __future__ import annotations

import json

import pytest
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.phantom.phantom import cube
from DeepVsClassicRegLib.core.phantom.population import FIELD_MM, Cohort, make_subject

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """Return a folder with two data sets of two tiny subjects."""
    folder = tmp_path_factory.mktemp("brains")
    for name, noise in (("clear", 0.01), ("noisy", 0.2)):
        (folder / name).mkdir()
        for number in range(2):
            subject = make_subject(Cohort(name, noise=noise), number, cube(20, FIELD_MM))
            write_volume(subject.image, folder / name / f"P{number}_t1.nii.gz")
            write_volume(subject.labels, folder / name / f"P{number}_seg.nii.gz")
    return folder


def stored(path, value=0.5):
    """Write runs of an engine on every pair and return the file."""
    lines = []
    for dataset, dice in (("clear", value + 0.2), ("noisy", value)):
        for number, (moving, fixed) in enumerate((("P0", "P1"), ("P1", "P0"))):
            case = f"{dataset}: {moving} -> {fixed}"
            lines.append({"case": case, "engine": "sitk-demons", "dice": dice + 0.01 * number, "status": "done"})
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_stored_runs_are_not_registered_again(call, brains, tmp_path):
    runs, out = stored(tmp_path / "runs.jsonl"), tmp_path / "out"
    arguments = ["reproduce", "mi-dice", "--data", brains, "--engines", "sitk-demons", "--runs", runs, "--out", out]
    code, text, err = call(*arguments)
    assert code == 0, err
    assert "mutual" in text.lower() or "Verdict" in text
    units = (out / "units.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(units) == 4 and all(json.loads(line)["unit"].startswith("image") for line in units)
    summary = json.loads((out / "mi-dice.json").read_text(encoding="utf-8"))
    assert {claim["verdict"] for claim in summary["claims"]} <= {"holds", "fails", "undecided"}
    assert summary["numbers"]["r_linear_per_pair"]["count"] == 4
    assert summary["numbers"]["r_linear_per_pair"]["value"] > 0.9
    page = (out / "mi-dice.html").read_text(encoding="utf-8")
    assert "0.886" in page and "0.933" in page and "data:image/png" in page and "http://" not in page
    for name in ("mi-dice_correlations.csv", "mi-dice_claims.csv", "mi_dice.png", "mi-dice_images.csv"):
        assert (out / name).stat().st_size > 100
    code, text, _ = call(*arguments, "--json")
    assert code == 0 and json.loads(text)["experiment"] == "mi-dice"
    assert len((out / "units.jsonl").read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.slow
def test_engines_run_on_a_folder(call, brains, tmp_path):
    code, _, err = call(
        "reproduce", "mi-dice", "--data", brains, "--engines", "sitk-demons", "--out", tmp_path, "--workers", 2, "-q"
    )
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "units.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [row["rows"][0] for row in rows if row["group"] == "pair"]
    assert len(pairs) == 4 and all(row["labels"] and row["dice"] > 0 for row in pairs)
    assert "mi-dice_labels.csv" in {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_a_whole_comparison_of_networks_on_the_phantom(call, tmp_path):
    pytest.importorskip("torch")
    arguments = ["--phantom", "--seeds", "0", "--steps", 3, "--pairs", 12, "--engines", "sitk-demons", "--workers", 2]
    code, text, err = call("reproduce", "paradigms", *arguments, "--out", tmp_path, "--json")
    assert code == 0, err
    assert len(json.loads(text)["claims"]) == 3 and json.loads(text)["failures"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mi-dise", "--phantom"], "mi-dice"),
        (["mi-dice", "--data", "nowhere"], "does not exist"),
        (["mi-dice", "--data", "x", "--phantom"], "exclude each other"),
        (["mi-dice", "--seeds", "a"], "needs integers"),
        (["mi-dice", "--seeds", "1,1"], "each once"),
        (["mi-dice", "--workers", "0"], "1 or more"),
        (["mi-dice", "--engines", "elastx"], "elastix"),
        (["mi-dice", "--runs", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_wrong_use(call, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = call("reproduce", *arguments, "--out", "out")
    assert code == 2 and message in " ".join(err.split()) and "Traceback" not in err
