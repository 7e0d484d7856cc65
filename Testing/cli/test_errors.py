"""What a user can do wrong: exit code 2, a message, a hint, no traceback, nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk


def write(path, array, *, vector=False):
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
    return path


def bad_volume(kind, folder):
    """Return a file that cannot be registered."""
    noise = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    if kind == "missing":
        return folder / "nowhere.nii.gz"
    if kind in ("empty", "garbage"):
        path = folder / "broken.nii.gz"
        path.write_bytes(b"" if kind == "empty" else bytes(range(256)) * 4)
        return path
    arrays = {
        "vectors": np.zeros((16, 16, 16, 3), np.float32),
        "4D": np.stack([noise, noise]),
        "2D": noise[0],
        "NaN": np.full_like(noise, np.nan),
        "constant": np.ones_like(noise),
        "single slice": noise[:1],
        "thin": noise[:4],
    }
    return write(folder / "bad.nrrd", arrays[kind], vector=kind == "vectors")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "No such file"),
        ("empty", "Could not read"),
        ("garbage", "Could not read"),
        ("vectors", "3 components per voxel"),
        ("4D", "4 dimensions"),
        ("2D", "single slice"),
        ("NaN", "no finite value"),
        ("constant", "is constant"),
        ("single slice", "single slice"),
        ("thin", "only 4 voxels"),
    ],
)
def test_bad_volumes(call, pair, tmp_path, kind, message):
    volume = bad_volume(kind, tmp_path)
    out = tmp_path / "deep" / "out"
    code, stdout, err = call("register", "--fixed", volume, *pair[2:], "-e", "sitk-demons", "--out", out, "-q")
    assert code == 2 and stdout == ""
    assert message in " ".join(err.split()) and "Traceback" not in err
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-e", "sitk-demon"], "Did you mean 'sitk-demons'?"),
        (["-e", "sitk-demons", "-p", "papr"], "Did you mean 'paper'?"),
        (["-e", "sitk-demons", "--set", "iteration=3"], "Did you mean 'iterations'?"),
        (["-e", "sitk-demons", "--set", "iterations=many"], "must be of type int"),
        (["-e", "sitk-demons", "--set", "iterations"], "NAME=VALUE"),
        (["--device", "gpu"], "'gpu' is not one of"),
        (["--threads", "-1"], "threads must be 0"),
        (["-e", "sitk-demons", "--fixed-points", "FIXED_POINTS"], "one side only"),
        (["-e", "sitk-demons", "--fixed-mask", "EMPTY"], "mask 'empty' is empty"),
        (["-e", "sitk-demons", "--initial", "GARBAGE"], "not a transform file"),
        (["-e", "sitk-demons", "--moving-seg", "FIXED"], "is not a label map"),
    ],
)
def test_bad_options(call, pair, files, tmp_path, arguments, message):
    places = {
        "FIXED": files["fixed"],
        "FIXED_POINTS": files["fixed_points"],
        "EMPTY": write(tmp_path / "empty.nrrd", np.zeros((16, 16, 16), np.uint8)),
        "GARBAGE": tmp_path / "garbage.h5",
    }
    places["GARBAGE"].write_bytes(b"nothing")
    given = [places.get(argument, argument) for argument in arguments]
    code, _, err = call("register", *pair, *given, "--out", tmp_path / "out", "-q")
    assert code == 2
    assert message in " ".join(err.split()) and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_unwritable_folder(call, pair, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, _, err = call("register", *pair, "-e", "sitk-demons", "--out", tmp_path / "file" / "out", "-q")
    assert code == 2 and "Could not create the folder" in err and "--out" in err


def test_unknown_command_and_help(call):
    code, _, err = call("regsiter")
    assert code == 2 and "Did you mean 'register'?" in err
    code, out, _ = call("--help")
    assert code == 0 and "compare" in out
    for command in ("register", "compare", "evaluate", "transform", "engines", "info", "phantom"):
        code, out, _ = call(command, "--help")
        assert code == 0 and "Examples:" in out
    code, out, _ = call("--version")
    assert code == 0 and "dvcreg" in out


def test_a_bug_shows_where(program, pair, tmp_path):
    """A full traceback in the log of the worker reaches the user, with exit code 1."""
    (tmp_path / "fakes").mkdir()
    code = "import sys, types\nsys.modules['DeepVsClassicRegLib.worker.registering'] = types.ModuleType('empty')\n"
    (tmp_path / "fakes" / "sitecustomize.py").write_text(code, encoding="utf-8")
    process = program(
        "register", *pair, "-e", "sitk-demons", "--out", tmp_path / "out", PYTHONPATH=_first(tmp_path / "fakes")
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1 and "AttributeError" in err and "Last lines of the log" in err
    assert not (tmp_path / "out").exists()


def _first(folder):
    from DeepVsClassicRegLib.worker.processes import worker_environment

    return worker_environment(base={"PYTHONPATH": str(folder)})["PYTHONPATH"]
