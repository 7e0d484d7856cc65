"""`dvcreg recommend` and `dvcreg calibrate`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from DeepVsClassicRegLib.cli.main import cli
from DeepVsClassicRegLib.core.phantom.phantom import make_phantom, write_phantom


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_phantom(make_phantom("head", size=24), tmp_path_factory.mktemp("pair"))


def called(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def test_recommend_text_and_plot(files, tmp_path):
    plot = tmp_path / "plot.png"
    done = called("recommend", "--fixed", files["fixed"], "--moving", files["moving"], "--threads", 1, "--no-align",
                  "--fixed-seg", files["fixed_labels"], "--plot", plot)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (
        "Runner-up" in done.output and "Expected quality and time" in done.output and "arXiv 2408.05839" in done.output
    )
    assert plot.stat().st_size > 1000


def test_recommend_json(files):
    done = called("recommend", "--fixed", files["fixed"], "--moving", files["moving"], "--threads", 1, "--no-align",
                  "--training-labels", 300, "--not-representative", "--json")  # fmt: skip
    content = json.loads(done.stdout)
    assert "labels-not-representative" in {reason["rule"] for reason in content["reasons"]}


def test_recommend_reports_wrong_labels(files):
    done = CliRunner().invoke(cli, ["recommend", "--fixed", "f", "--moving", "m", "--labels", "one"])
    assert done.exit_code != 0


def test_calibrate_fits_what_was_measured(files, tmp_path):
    random = np.random.default_rng(0)
    entries, runs = [], []
    for number in range(5):
        folder = tmp_path / f"set{number}"
        folder.mkdir()
        made = write_phantom(make_phantom("head", size=20, seed=number), folder)
        names = {role: str(path.relative_to(tmp_path)) for role, path in made.items()}
        entries.append(
            {
                "id": f"p{number}",
                "kind": "inter-subject",
                "fixed": names["fixed"],
                "moving": names["moving"],
                "fixed_label": names["fixed_labels"],
                "moving_label": names["moving_labels"],
                "labels": None,
            }
        )
        base = {"case": f"p{number}", "group": f"set{number}", "kind": "inter-subject", "status": "done"}
        labels = make_phantom("head", size=20, seed=number).pair.fixed_labels.labels
        per_label = {str(label): float(random.uniform(0.6, 0.9)) for label in labels}
        mean = float(np.mean(list(per_label.values())))
        cost = {"cpu_seconds": 5.0, "seconds": 4.0}
        runs.append({**base, **cost, "engine": "linear", "dice": 0.5, "confidence": 0.9})
        runs.append({**base, **cost, "engine": "instance", "dice": mean, "dice_per_label": per_label})
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    lines = tmp_path / "runs.jsonl"
    lines.write_text("\n".join(json.dumps(run) for run in runs))
    out = tmp_path / "calibration.json"
    done = called("calibrate", "--runs", lines, "--data", tmp_path, "--out", out, "--name", "test")
    assert done.exit_code == 0, done.output
    content = json.loads(out.read_text())
    assert set(content["calibration"]["engines"]) == {"instance", "linear"}
    assert content["calibration"]["provenance"]["name"] == "test"
    assert content["seconds"]["instance"]["base"] == pytest.approx(5.0)
    used = called("recommend", "--fixed", files["fixed"], "--moving", files["moving"], "--threads", 1, "--no-align",
                  "--calibration", out, "--json")  # fmt: skip
    assert used.exit_code == 0, used.output


def test_calibrate_reports_invalid_input(tmp_path):
    from DeepVsClassicRegLib.cli.main import main

    (tmp_path / "runs.jsonl").write_text("{}")
    assert main(["calibrate", "--runs", str(tmp_path / "runs.jsonl"), "--data", str(tmp_path), "--out", "x"]) == 2
