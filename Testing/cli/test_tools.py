"""`evaluate`, `transform`, `info`, `phantom` and `engines`."""

from __future__ import annotations

import json

import dicom_samples
import numpy as np
import pytest
import SimpleITK as sitk
from DeepVsClassicRegLib.core.images.points import read_landmarks
from DeepVsClassicRegLib.core.images.surfaces import read_surface


def everything(files) -> list[str]:
    names = {
        "fixed": "fixed",
        "moving": "moving",
        "fixed-seg": "fixed_labels",
        "moving-seg": "moving_labels",
        "fixed-points": "fixed_points",
        "moving-points": "moving_points",
    }
    return [word for option, role in names.items() for word in (f"--{option}", str(files[role]))]


def test_evaluate_the_truth(call, files, tmp_path):
    arguments = [*everything(files), "--transform", files["truth"], "--threads", 1]
    code, out, _ = call("evaluate", *arguments, "--json", "--out", tmp_path / "measures.json")
    assert code == 0
    report = json.loads(out)
    assert report == json.loads((tmp_path / "measures.json").read_text(encoding="utf-8"))
    before, after = report["measures"]["before"], report["measures"]["after"]
    assert before["tre_mm_mean"] > 5 and after["tre_mm_mean"] < 0.3
    assert after["dice_mean"] > before["dice_mean"] and after["folding_percent"] == 0
    code, out, _ = call("evaluate", *arguments)
    assert code == 0 and "Landmark error" in out


def test_evaluate_without_transform_changes_nothing(call, files):
    code, out, _ = call("evaluate", *everything(files), "--json", "--threads", 1)
    measures = json.loads(out)["measures"]
    assert code == 0 and measures["before"]["dice_mean"] == measures["after"]["dice_mean"]


def test_the_estimated_error_is_shown_and_written(call, files, tmp_path):
    pytest.importorskip("torch")
    from testing_models import write_constant_error

    write_constant_error(tmp_path / "model")
    model = ["--error-model", tmp_path / "model", "--threads", 1]
    arguments = [*everything(files), "--transform", files["truth"], *model]
    written = tmp_path / "error.nii.gz", tmp_path / "measures.json"
    code, out, err = call("evaluate", *arguments, f"--error-map={written[0]}", "--out", written[1])
    assert code == 0 and "Estimated error, median" in out and "80 %" in out and "generated images only" in err
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(written[0])))
    report = json.loads(written[1].read_text(encoding="utf-8"))
    assert report["measures"]["after"]["estimated_error_mm_max"] == pytest.approx(float(values.max()), rel=1e-3)
    assert "Estimated error" in report["look_at"][-1]["text"]
    code, out, _ = call("evaluate", *arguments, "--error-map", "--json")
    assert code == 0 and json.loads(out)["measures"] == report["measures"]
    code, out, _ = call("evaluate", *arguments, "--json")
    assert code == 0 and "estimated_error_mm_max" not in json.loads(out)["measures"]["after"]


def test_the_error_map_overwrites_no_input(call, files):
    code, _, err = call("evaluate", *everything(files), f"--error-map={files['fixed']}")
    assert code == 2 and "would be overwritten" in err


def test_round_trip_of_points(call, files, tmp_path):
    there, back = tmp_path / "there.fcsv", tmp_path / "back.csv"
    call_there = call("transform", "-t", files["truth"], "--points", files["fixed_points"], "--out", there)
    assert call_there[0] == 0 and "fixed to moving" in call_there[1]
    moving, fixed = read_landmarks(files["moving_points"]).points_mm, read_landmarks(files["fixed_points"]).points_mm
    assert np.linalg.norm(read_landmarks(there).points_mm - moving, axis=1).max() < 1.0
    code, out, _ = call("transform", "-t", files["truth"], "--inverse", "--points", there, "--out", back)
    assert code == 0 and "inverse error" in out
    assert np.linalg.norm(read_landmarks(back).points_mm - fixed, axis=1).max() < 0.02


def test_image_and_labels(call, files, tmp_path):
    image, labels = tmp_path / "w.nrrd", tmp_path / "l.nii.gz"
    base = ["transform", "-t", files["truth"], "--reference", files["fixed"]]
    assert call(*base, "--image", files["moving"], "--out", image)[0] == 0
    assert call(*base, "--labels", files["moving_labels"], "--out", labels, "-q")[1] == ""
    fixed = sitk.ReadImage(str(files["fixed"]))
    moving = sitk.ReadImage(str(files["moving"]))
    truth = sitk.ReadTransform(str(files["truth"]))
    ours = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, truth, sitk.sitkLinear, float(ours.min())))
    assert np.abs(ours - theirs).max() < 1e-3 * np.ptp(ours)
    known = set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(files["moving_labels"])))))
    assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(labels))))) <= known


def test_inverse_of_an_image_is_reported(call, files, tmp_path):
    arguments = ["-t", files["truth"], "--inverse", "--image", files["fixed"], "--reference", files["moving"]]
    code, out, _ = call("transform", *arguments, "--out", tmp_path / "f.nii.gz")
    assert code == 0 and "inverse error" in out and "mm" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "o.csv"], "unknown ending for a transform"),
        (["--out", "o.nii.gz"], "needs a grid"),
        (["--image", "a", "--points", "b", "--out", "o.csv"], "at most one of"),
        (["--image", "a", "--out", "o.nii"], "needs --reference"),
        (["--points", "FIXED", "--out", "o.txt"], "landmarks must be"),
        (["--points", "POINTS", "--out", "o.txt"], ".fcsv or .mrk.json"),
        (["--to", "fixed", "--out", "o.h5"], "--to is for an object"),
        (["--to", "fixed", "--inverse", "--points", "POINTS", "--out", "o.csv"], "not together with --inverse"),
        (["--surface", "POINTS", "--out", "o.stl"], "surfaces must be"),
    ],
)
def test_wrong_use_of_transform(call, files, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"FIXED": files["fixed"], "POINTS": files["fixed_points"]}
    code, _, err = call("transform", "-t", files["truth"], *(places.get(a, a) for a in arguments))
    assert code == 2 and message in " ".join(err.split()) and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_info_of_everything(call, files):
    code, out, _ = call("info", *files.values(), "--json")
    found = json.loads(out)
    assert code == 0
    fixed = found[str(files["fixed"])]
    assert fixed["size"] == [20, 20, 20] and fixed["orientation"] == "LPS" and fixed["warnings"] == []
    assert found[str(files["fixed_labels"])]["labels"]["2"].endswith("mL")
    assert found[str(files["truth"])]["part_2"]["type"] == "affine"
    assert found[str(files["truth"])]["part_1"]["folding_percent"] == 0
    assert found[str(files["fixed_points"])]["count"] > 5
    code, out, _ = call("info", files["fixed"])
    assert code == 0 and "i toward left" in out


def test_info_of_oblique_and_unfit_files(call, tmp_path):
    array = np.random.default_rng(0).normal(size=(12, 12, 4)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((8.0, 1.0, 1.0))
    image.SetDirection((0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6))
    sitk.WriteImage(image, str(tmp_path / "oblique.nrrd"))
    array[0, 0, 0] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "nan.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((9, 9, 9, 3), np.uint8), isVector=True), str(tmp_path / "rgb.nrrd"))
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((2, 9, 9, 9), np.float32), isVector=False), str(tmp_path / "4d.nrrd")
    )
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((9, 9, 9), np.float32)), str(tmp_path / "flat.nrrd"))
    names = ["oblique", "nan", "rgb", "4d", "flat"]
    code, out, _ = call("info", *(tmp_path / f"{name}.nrrd" for name in names), "--json")
    assert code == 0
    warnings = {name: " ".join(json.loads(out)[str(tmp_path / f"{name}.nrrd")]["warnings"]) for name in names}
    assert "only 4 voxel(s)" in warnings["oblique"] and "8.0 times thicker" in warnings["oblique"]
    about = json.loads(out)[str(tmp_path / "oblique.nrrd")]
    assert about["axes"].endswith("oblique, right-handed") and about["orientation"][0] == "P"
    assert "NaN" in warnings["nan"] and "luminance" in warnings["rgb"]
    assert "4 dimensions" in warnings["4d"] and "same value" in warnings["flat"]
    code, _, err = call("info", tmp_path / "none.nrrd")
    assert code == 2 and "No such file" in err
    (tmp_path / "text.nrrd").write_text("hello", encoding="utf-8")
    code, _, err = call("info", tmp_path / "text.nrrd")
    assert code == 2 and "Could not read" in err


def test_phantom(call, tmp_path):
    code, out, _ = call("phantom", "--kind", "lung", "--size", 16, "--out", tmp_path / "a b", "--json")
    assert code == 0
    assert all((tmp_path / "a b").joinpath(path.rsplit("/", 1)[-1]).is_file() for path in json.loads(out).values())
    assert call("phantom", "--kind", "hed", "--out", tmp_path / "c")[0] == 2
    assert call("phantom", "--contrasts", "t1", "--out", tmp_path / "c")[0] == 2
    assert call("phantom", "--size", 3, "--out", tmp_path / "c")[0] == 2
    assert not (tmp_path / "c").exists()


def test_engines(call):
    code, out, _ = call("engines", "--json")
    assert code == 0
    known = {entry["name"]: entry for entry in json.loads(out)}
    assert {"linear", "elastix", "sitk-demons", "ants", "greedy"} <= set(known)
    assert known["sitk-demons"]["available"] and "paper" in known["sitk-demons"]["presets"]
    assert all(entry["available"] or entry["remedy"] for entry in known.values())
    code, out, _ = call("engines")
    assert code == 0 and "sitk-demons" in out


def test_settings_of_an_engine(call):
    code, out, _ = call("engines", "--settings", "sitk-demons", "--json")
    assert code == 0 and "iterations" in {entry["name"] for entry in json.loads(out)}
    code, out, _ = call("engines", "--settings", "sitk-demons")
    assert code == 0 and "iterations" in out
    code, _, err = call("engines", "--settings", "sitk")
    assert code == 2 and "no engine 'sitk'" in err


def test_a_surface_comes_to_the_fixed_side(call, files, tmp_path):
    """It lies where the segmentation does that came the same way, and the input is kept."""
    vtk = pytest.importorskip("vtk")
    moving, fixed = read_landmarks(files["moving_points"]).points_mm, read_landmarks(files["fixed_points"]).points_mm
    points = vtk.vtkPoints()
    for point in moving:
        points.InsertNextPoint(point)
    cloud = vtk.vtkPolyData()
    cloud.SetPoints(points)
    writer = vtk.vtkXMLPolyDataWriter()
    writer.SetInputData(cloud)
    writer.SetFileName(str(tmp_path / "moving.vtp"))
    assert writer.Write()
    out = tmp_path / "fixed.vtk"
    arguments = ["-t", files["truth"], "--to", "fixed", "--reference", files["fixed"]]
    code, text, err = call("transform", *arguments, "--surface", tmp_path / "moving.vtp", "--out", out)
    assert code == 0 and "moving to fixed" in text and "LPS is assumed" in " ".join(err.split())
    found = read_surface(out).points_mm
    truth = sitk.ReadTransform(str(files["truth"]))
    back = np.array([truth.TransformPoint(point) for point in found.tolist()])
    assert np.linalg.norm(back - moving, axis=1).max() < 1e-3
    # The file samples the phantom's map on a coarse grid.
    assert np.linalg.norm(found - fixed, axis=1).max() < 0.5
    code, _, err = call("transform", *arguments, "--surface", out, "--out", out)
    assert code == 2 and "would be overwritten" in err


def test_a_curve_stays_a_curve(call, files, tmp_path):
    curve, there = tmp_path / "curve.mrk.json", tmp_path / "there.mrk.json"
    fixed = read_landmarks(files["fixed_points"]).points_mm[:3]
    control = [
        {"label": f"C-{n}", "position": (point * [-0.1, -0.1, 0.1]).tolist(), "positionStatus": "defined"}
        for n, point in enumerate(fixed)
    ]
    control.insert(1, {"label": "later", "positionStatus": "undefined"})
    markup = {"type": "ClosedCurve", "coordinateSystem": "RAS", "coordinateUnits": "cm", "controlPoints": control}
    curve.write_text(json.dumps({"markups": [{**markup, "measurements": [{"name": "length", "value": 5}]}]}))
    arguments = ["-t", files["truth"], "--to", "moving", "--points", curve]
    assert call("transform", *arguments, "--out", there)[0] == 0
    (written,) = json.loads(there.read_text())["markups"]
    assert written["type"] == "ClosedCurve" and written["coordinateSystem"] == "LPS" and "measurements" not in written
    assert [point["label"] for point in written["controlPoints"]] == ["C-0", "later", "C-1", "C-2"]
    moving = read_landmarks(files["moving_points"]).points_mm[:3]
    assert np.linalg.norm(read_landmarks(there).points_mm - moving, axis=1).max() < 1.0


def test_labels_to_the_moving_side_and_smooth(call, files, tmp_path):
    base = ["transform", "-t", files["truth"], "--to", "moving", "--reference", files["moving"]]
    code, out, _ = call(
        *base, "--labels", files["fixed_labels"], "--interpolation", "smooth", "--out", tmp_path / "s.nrrd"
    )
    assert code == 0 and "inverse error" in out
    moved = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "s.nrrd")))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(files["moving_labels"])))
    assert (moved[truth > 0] == truth[truth > 0]).mean() > 0.7


def test_what_lies_outside_is_noted(call, files, tmp_path):
    (tmp_path / "far.csv").write_text("x,y,z\n900,0,0\n")
    arguments = ["-t", files["truth"], "--to", "fixed", "--reference", files["fixed"], "--points", tmp_path / "far.csv"]
    code, _, err = call("transform", *arguments, "--out", tmp_path / "o.mrk.json")
    said = " ".join(err.split())
    assert code == 0 and f"completely outside {files['fixed'].name}" in said and "extrapolated" in said


def test_a_dicom_object_connects_both_frames_of_reference(call, files, tmp_path):
    for side in ("fixed", "moving"):
        dicom_samples.series(
            tmp_path / side, FrameOfReferenceUID=f"1.2.{len(side)}", SeriesInstanceUID=f"1.{len(side)}"
        )
    series = ["--fixed", tmp_path / "fixed", "--moving", tmp_path / "moving"]
    out = tmp_path / "out" / "reg.dcm"
    code, text, _ = call("transform", "-t", files["truth"], *series, "--reference", files["fixed"], "--out", out)
    assert code == 0 and "Deformable Spatial Registration" in text and "fixed 1.2.5, moving 1.2.6" in text
    code, _, _ = call("transform", "-t", out, "--points", files["fixed_points"], "--out", tmp_path / "p.csv")
    moving = read_landmarks(files["moving_points"]).points_mm
    assert code == 0 and np.linalg.norm(read_landmarks(tmp_path / "p.csv").points_mm - moving, axis=1).max() < 1.0
    code, _, err = call("transform", "-t", files["truth"], "--reference", files["fixed"], "--out", out)
    assert code == 2 and "needs --fixed and --moving" in err
    code, _, err = call("transform", "-t", files["truth"], *series[:3], files["fixed"], "--out", out)
    assert code == 2 and "no DICOM image" in " ".join(err.split())
