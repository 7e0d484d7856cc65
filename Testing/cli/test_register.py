"""`dvcreg register` from files to files."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import SimpleITK as sitk

FAST = ["--engine", "sitk-demons", "--threads", "1", "--set", "iterations=8,6,4"]
QUICK = [*FAST, "--no-html"]


@pytest.fixture(scope="module")
def done(files, tmp_path_factory):
    """Register once with everything given; return the folder and the report."""
    from DeepVsClassicRegLib.cli.main import main

    out = tmp_path_factory.mktemp("results") / "new folder" / "Ergebnis ö"
    arguments = ["register", *FAST, "--out", str(out), "--quiet"]
    for option, role in (
        ("fixed", "fixed"),
        ("moving", "moving"),
        ("fixed-seg", "fixed_labels"),
        ("moving-seg", "moving_labels"),
        ("fixed-points", "fixed_points"),
        ("moving-points", "moving_points"),
        ("initial", "initial"),
    ):
        arguments += [f"--{option}", str(files[role])]
    assert main(arguments) == 0
    return out, json.loads((out / "report.json").read_text(encoding="utf-8"))


def test_files(done):
    out, _ = done
    assert sorted(path.name for path in out.iterdir()) == [
        "jacobian.nii.gz",
        "report.html",
        "report.json",
        "transform.h5",
        "warped.nii.gz",
        "warped_seg.nii.gz",
    ]


def test_transform_is_what_resample_takes(done, files):
    out, _ = done
    fixed, moving = sitk.ReadImage(str(files["fixed"])), sitk.ReadImage(str(files["moving"]))
    transform = sitk.ReadTransform(str(out / "transform.h5"))
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "warped.nii.gz")))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float(ours.min())))
    assert np.abs(ours - theirs).max() < 1e-3 * np.ptp(ours)


def test_labels_and_jacobian(done, files):
    out, _ = done
    warped = sitk.ReadImage(str(out / "warped_seg.nii.gz"))
    known = set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(files["moving_labels"])))))
    assert set(np.unique(sitk.GetArrayFromImage(warped))) <= known
    jacobian = sitk.ReadImage(str(out / "jacobian.nii.gz"))
    assert jacobian.GetSize() == warped.GetSize() == sitk.ReadImage(str(files["fixed"])).GetSize()


def test_report(done):
    _, report = done
    assert {"engine", "preset", "status", "seconds", "peak_memory_mb", "measures", "versions"} <= set(report)
    assert (report["engine"], report["status"]) == ("sitk-demons", "done")
    before, after = report["measures"]["before"], report["measures"]["after"]
    for name in ("dice_mean", "hd95_mm_mean", "tre_mm_mean", "mi", "ncc"):
        assert name in before and name in after
    assert {"folding_percent", "sd_log_jacobian", "dice_per_label"} <= set(after)
    assert after["dice_mean"] > before["dice_mean"] + 0.1
    assert after["tre_mm_mean"] < before["tre_mm_mean"] / 2


def test_page_is_self_contained(done):
    out, _ = done
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "data:image" in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)


def test_json_and_table(call, pair, tmp_path):
    code, out, err = call("register", *pair, *QUICK, "--json", "--out", tmp_path / "a")
    assert code == 0 and json.loads(out)["engine"] == "sitk-demons"
    assert "100%" in err
    code, out, err = call("register", *pair, *QUICK, "--out", tmp_path / "b")
    assert code == 0 and "Mutual information" in out and "transform.h5" in out
    written = {path.name for path in (tmp_path / "b").iterdir()}
    assert written == {"jacobian.nii.gz", "report.json", "transform.h5", "warped.nii.gz"}


def test_second_run_leaves_nothing_of_the_first(call, pair, files, tmp_path):
    seg = ["--moving-seg", files["moving_labels"]]
    assert call("register", *pair, *QUICK, *seg, "--out", tmp_path, "-q")[0] == 0
    assert (tmp_path / "warped_seg.nii.gz").exists()
    (tmp_path / "mine.txt").write_text("kept", encoding="utf-8")
    code, out, err = call("register", *pair, *QUICK, "--out", tmp_path, "-q")
    assert (code, out, err) == (0, "", "")
    assert not (tmp_path / "warped_seg.nii.gz").exists() and (tmp_path / "mine.txt").exists()


def test_same_seed_same_result(call, pair, tmp_path):
    for name in ("a", "b"):
        assert call("register", *pair, *QUICK, "--seed", 3, "--out", tmp_path / name, "-q")[0] == 0
    images = [sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / n / "warped.nii.gz"))) for n in ("a", "b")]
    assert np.array_equal(*images)


def test_some_nan_is_repaired_and_reported(call, pair, files, tmp_path):
    image = sitk.Cast(sitk.ReadImage(str(files["fixed"])), sitk.sitkFloat32)
    image[3, 3, 3] = float("nan")
    sitk.WriteImage(image, str(tmp_path / "nan.nrrd"))
    arguments = ["--fixed", tmp_path / "nan.nrrd", *pair[2:], *QUICK, "--out", tmp_path / "out"]
    code, _, err = call("register", *arguments)
    assert code == 0 and "1 voxels (0.013 %) are NaN or Inf" in " ".join(err.split())


def test_inputs_are_not_overwritten(call, files, tmp_path):
    mine = tmp_path / "warped.nii.gz"
    mine.write_bytes(files["fixed"].read_bytes())
    code, _, err = call("register", "--fixed", mine, "--moving", files["moving"], "--out", tmp_path)
    assert code == 2 and "would be overwritten" in err
    assert mine.read_bytes() == files["fixed"].read_bytes()


def test_the_error_is_estimated_on_request(call, pair, tmp_path):
    pytest.importorskip("torch")
    from testing_models import write_constant_error

    write_constant_error(tmp_path / "model")
    arguments = ["register", *pair, *FAST, "--error-map", "--error-model", tmp_path / "model", "--json"]
    code, out, err = call(*arguments, "--out", tmp_path / "r")
    assert code == 0, err
    report = json.loads(out)
    assert report["measures"]["after"]["estimated_error_mm_max"] > 0
    assert report["locations"]["error"] and report["look_at"][-1] == report["locations"]["error"][0]
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "r" / "estimated_error.nii.gz"))).max() > 0
    assert "Estimated error" in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")


def test_a_wrong_error_model_is_reported_before_the_run(call, pair, tmp_path):
    code, _out, err = call(
        "register", *pair, *QUICK, "--error-map", "--error-model", "nothing", "--out", tmp_path / "r"
    )
    assert code == 2 and "no model 'nothing'" in err and not (tmp_path / "r").exists()


def test_the_preset_may_be_in_the_name_of_the_engine(files, tmp_path, capsys):
    from DeepVsClassicRegLib.cli.main import main

    pair = [
        "register",
        "--fixed",
        str(files["fixed"]),
        "--moving",
        str(files["moving"]),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*pair, "--engine", "linear:rigid", "--threads", "1", "--quiet", "--no-html"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["engine"], report["preset"]) == ("linear", "rigid")
    assert main([*pair, "--engine", "linear:rigid", "--preset", "default"]) == 2
    assert "Two presets are given" in capsys.readouterr().err
