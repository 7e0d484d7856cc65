"""`dvcreg atlas`: a small atlas of phantoms, and labels from it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.phantom.phantom import cube
from DeepVsClassicRegLib.core.phantom.population import Cohort, make_subject

FAST = ["--engine", "sitk-demons", "--set", "iterations=20,10", "--set", "shrink=2,1"]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects")
    for number in range(3):
        subject = make_subject(Cohort("S", amplitude_mm=6.0), number, cube(24, 200.0), protocol="tissues")
        write_volume(subject.image, folder / f"S{number}_t1.nii.gz")
        write_volume(subject.labels, folder / f"S{number}_seg.nii.gz")
    return folder


def test_build_and_continue(call, subjects, tmp_path):
    out = tmp_path / "atlas"
    code, text, err = call("atlas", "build", subjects, "-o", out, "--rounds", 1, "--linear-rounds", 1, *FAST)
    assert code == 0, err
    assert "Atlas of 3 subjects" in text and (out / "atlas.html").stat().st_size > 50_000
    facts = json.loads((out / "atlas.json").read_text(encoding="utf-8"))
    assert facts["centering_mm"] < 0.2 and len(facts["rounds"]) == 2
    shares = [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (out / "probabilities").glob("*.nii.gz")]
    assert len(shares) == 6 and 0.9 < np.max(sum(shares)) < 1.01
    before = {path: path.stat().st_mtime_ns for path in (out / "work").rglob("*.json") if path.name != "state.json"}
    code, text, _ = call("atlas", "build", subjects, "-o", out, "--rounds", 1, "--linear-rounds", 1, *FAST, "--json")
    assert code == 0 and json.loads(text)["rounds"] == facts["rounds"]
    assert before == {path: path.stat().st_mtime_ns for path in before}, "a registration was repeated"
    code, _, err = call("atlas", "build", subjects, "-o", out, "--rounds", 1, "--spacing", 9, *FAST)
    assert code == 2 and "other volumes or settings" in err


def test_label_a_target(call, subjects, tmp_path):
    target = make_subject(Cohort("T", amplitude_mm=6.0, seed=5), 0, cube(24, 200.0), protocol="tissues")
    image = write_volume(target.image, tmp_path / "target.nii.gz")
    truth = write_volume(target.labels, tmp_path / "truth.nii.gz")
    given = ["--atlases", subjects, "--use", 2, "--truth", truth, *FAST]
    code, text, err = call("atlas", "label", image, *given, "-o", tmp_path / "out")
    assert code == 0, err
    assert "by 2 of 3 atlases, joint" in " ".join(text.split())
    facts = json.loads((tmp_path / "out" / "labeling.json").read_text(encoding="utf-8"))
    assert facts["dice_mean"] > 0.6 and len(facts["used"]) == 2 and len(facts["similarity"]) == 3
    assert facts["used"] == list(facts["similarity"])[:2]
    code, _, err = call("atlas", "label", image, *given, "--fusion", "mean", "-o", tmp_path / "out")
    assert code == 2 and "mean" in err


def test_leave_one_out(call, subjects, tmp_path):
    linear = ["--engine", "linear", "--use", 1, "--use", 2]
    code, text, err = call("atlas", "label", "--leave-one-out", "--atlases", subjects, *linear, "-o", tmp_path)
    assert code == 0, err
    rows = (tmp_path / "leave_one_out.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 3 * 2 * 3 and "2 staple" in text


def test_wrong_calls(call, subjects, tmp_path):
    one = subjects / "S0_t1.nii.gz"
    code, _, err = call("atlas", "build", one, "-o", tmp_path / "a")
    assert code == 2 and "at least 2" in err
    code, _, err = call("atlas", "build", one, one, "-o", tmp_path / "a")
    assert code == 2 and "given 2 times" in err
    code, _, err = call("atlas", "label", one, "--atlases", subjects, "-o", tmp_path / "a", *FAST)
    assert code == 2 and "leave-one-out" in err
    code, _, err = call("atlas", "label", "--atlases", subjects, "-o", tmp_path / "a")
    assert code == 2 and "TARGET" in err
