"""`dvcreg motion`: files, table and messages."""

from __future__ import annotations

import csv
import json

import numpy as np
import SimpleITK as sitk


def test_breathing(call, tmp_path):
    code, _, err = call("phantom", "--kind", "lung", "--frames", "3", "--size", "20", "--out", tmp_path)
    assert code == 0, err
    out = tmp_path / "out"
    given = ["--to", "1", "--engine", "linear:rigid", "--landmarks", tmp_path / "landmarks.csv", "--smooth", "0.5"]
    code, text, err = call("motion", tmp_path / "series.nii.gz", *given, "--both-ways", "-o", out)
    assert code == 0, err
    assert "frame 1" in text and "Landmark error" in text and "->" in text
    rows = list(csv.DictReader((out / "motion.csv").read_text(encoding="utf-8").splitlines()))
    facts = json.loads((out / "motion.json").read_text(encoding="utf-8"))
    assert [float(row["mean_mm"]) > 0 for row in rows] == [True, False, True] and "shift_z_mm" in rows[0]
    assert facts["settings"]["smooth_frames"] == 0.5 and len(facts["frames"]) == 3
    assert np.isclose(float(rows[2]["tre_before_mm"]), facts["frames"][2]["tre_before_mm"], atol=1e-4)
    assert sitk.ReadImage(str(out / "corrected.nii.gz")).GetSize() == (20, 20, 20, 3)
    assert len(list((out / "transforms").iterdir())) == 6 and (out / "motion.html").stat().st_size > 50_000


def test_wrong_calls(call, files, tmp_path):
    code, _, err = call("motion", files["fixed"], "-o", tmp_path / "out")
    assert code == 2 and "expected 4" in err
    code, _, err = call("motion", files["fixed"], files["moving"], "--to", "last", "-o", tmp_path / "out")
    assert code == 2 and "first, mean" in err
    code, _, err = call("motion", files["fixed"], files["moving"], "--start", "none", "-o", tmp_path / "out")
    assert code == 2 and "position" in err
    code, _, err = call("phantom", "--frames", "3", "--out", tmp_path / "head")
    assert code == 2 and "lung" in err
