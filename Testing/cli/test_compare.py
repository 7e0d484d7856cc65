"""`dvcreg compare`: one start for all, failures listed, joint files."""

from __future__ import annotations

import csv
import json

import pytest


def options(files) -> list[str]:
    pairs = {"fixed": "fixed", "moving": "moving", "fixed-seg": "fixed_labels", "moving-seg": "moving_labels"}
    return [word for option, role in pairs.items() for word in (f"--{option}", str(files[role]))]


def test_two_engines_and_a_failing_one(program, files, tmp_path):
    engines = "sitk-demons,broken,sitk-demons:paper"
    process = program("compare", *options(files), "--engines", engines, "--threads", 1, "--out", tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    joint = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert [run["status"] for run in joint["runs"]] == ["done", "failed", "done"]
    assert joint["runs"][1]["reason"] == "The back end gave up." and "The back end gave up" in err
    assert joint["linear"]["seconds"]["total"] > 0
    reports = [json.loads((tmp_path / r["folder"] / "report.json").read_text("utf-8")) for r in joint["runs"][::2]]
    linear = joint["linear"]["measures"]["after"]["dice_mean"]
    for report in reports:
        # The common start is measured alike in every run, and its time counts in all of them, as in the panel.
        assert report["measures"]["start"]["dice_mean"] == pytest.approx(linear, abs=1e-9)
        stages = {stage: value for stage, value in report["seconds"].items() if "inear" in stage}
        assert sum(stages.values()) == pytest.approx(joint["linear"]["seconds"]["total"])
        assert report["inputs"]["initial"]["path"].endswith("linear/transform.h5")
    with (tmp_path / "comparison.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["engine"] for row in rows] == ["(before)", "linear", "sitk-demons", "broken", "sitk-demons"]
    assert float(rows[2]["dice_mean"]) > float(rows[0]["dice_mean"])
    assert rows[3]["status"] == "failed" and rows[3]["dice_mean"] == ""
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "sitk-demons/report.html" in page and "The back end gave up." in page
    assert "linear (start)" in out and "sitk-demons:paper" in out
    assert not list(tmp_path.rglob(".dvcreg-*"))


def test_only_failures(program, pair, tmp_path):
    process = program("compare", *pair, "--engines", "broken", "--out", tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2 and "Try another engine" in err
    assert json.loads((tmp_path / "comparison.json").read_text("utf-8"))["runs"][0]["status"] == "failed"


@pytest.mark.parametrize(
    ("engines", "message"),
    [
        ("elastx", "Did you mean 'elastix'?"),
        ("sitk-demons:papr", "Did you mean 'paper'?"),
        ("sitk-demons,sitk-demons", "given twice"),
        (",", "No engine is given"),
    ],
)
def test_wrong_names_stop_before_any_run(call, pair, tmp_path, engines, message):
    code, _, err = call("compare", *pair, "--engines", engines, "--out", tmp_path / "out")
    assert code == 2 and message in " ".join(err.split())
    assert not (tmp_path / "out").exists()
