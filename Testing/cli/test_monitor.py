"""`dvcreg monitor`: files, table and messages."""

from __future__ import annotations

import csv
import json

import SimpleITK as sitk
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.phantom.growth import make_time_point

FAST = [
    "--engine",
    "sitk-demons",
    "--set",
    "iterations=10,5",
    "--set",
    "shrink=2,1",
    "--set",
    "match_points=0",
    "--no-rescans",
]


def test_two_time_points(call, tmp_path):
    files = []
    for number, changes in enumerate([{}, {8: 20.0}]):
        image, labels = make_time_point(changes, size=24, seed=number, supersampling=1)
        files.append(write_volume(image, tmp_path / f"t{number}.nii.gz"))
        write_volume(labels, tmp_path / f"t{number}.seg.nrrd")
    out = tmp_path / "out"
    given = ["--seg", f"1={tmp_path / 't0.seg.nrrd'}", "--days", "0,100", "-o", out, *FAST]
    code, text, err = call("monitor", *files, *given)
    assert code == 0, err
    assert "±" in text and (out / "monitor.html").stat().st_size > 50_000
    rows = list(csv.DictReader((out / "monitor.csv").read_text(encoding="utf-8").splitlines()))
    facts = json.loads((out / "monitor.json").read_text(encoding="utf-8"))
    assert len(rows) == len(facts["structures"]) == 17 and facts["days"] == [0, 100]
    growth = {int(row["label"]): float(row["change_percent"]) for row in rows}
    assert max(growth, key=growth.get) == 8 and rows[0]["structure"] == "Left white matter"
    shapes = {
        sitk.ReadImage(str(out / name)).GetSize() for name in ("time_1.nii.gz", "time_2.nii.gz", "change_2.nii.gz")
    }
    assert len(shapes) == 1 and (out / "time_1_to_2.h5").is_file()


def test_wrong_calls(call, files, tmp_path):
    scan = files["fixed"]
    code, _, err = call("monitor", scan, "-o", tmp_path)
    assert code == 2 and "two or more" in err
    code, _, err = call("monitor", scan, files["moving"], "--seg", "3=x.nii.gz", "-o", tmp_path)
    assert code == 2 and "from 1 to 2" in err
    code, _, err = call("monitor", scan, files["moving"], "--days", "0,x", "-o", tmp_path)
    assert code == 2 and "numbers" in err
    code, _, err = call("monitor", scan, tmp_path / "none.nii.gz", "-o", tmp_path)
    assert code == 2 and "no file" in err
