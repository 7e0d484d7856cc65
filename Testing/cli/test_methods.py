"""`dvcreg methods`, and what the options of a training say about data becomes its configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.networks.catalogue import method_names
from DeepVsClassicRegLib.core.training.augmentation import USUAL
from DeepVsClassicRegLib.core.training.config import read_config

ONE = ("--threads", 1, "--device", "cpu", "--quiet")


def test_methods_are_listed_with_what_they_are(call):
    code, out, _err = call("methods", "--json")
    assert code == 0
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert set(found) == set(method_names())
    for entry in found.values():
        assert entry["kind"] and entry["citation"] and entry["parameters"] > 1000
        assert entry["supervision"] and entry["dimensions"] and set(entry["dimensions"]) <= {2, 3}
    assert found["dlir"]["stages"][0] == "affine"
    assert call("methods")[0] == 0


def write_cases(folder, count=6):
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    grid = Grid((14, 17, 12), (2.0,) * 3, (-13.0, -16.0, -11.0))
    for number in range(count):
        apart = np.linalg.norm(grid.points() - np.array([0.5 * number, 0, 0]), axis=-1)
        write_volume(
            Volume((100 / (1 + np.exp(apart - 8))).astype(np.float32), grid), folder / f"images/{number}.nii.gz"
        )
        write_volume(LabelMap((apart < 8).astype(np.int32), grid), folder / f"labels/{number}.nii.gz")


def test_real_data_on_its_own_grid_with_augmentation_and_validation(call, tmp_path):
    write_cases(tmp_path / "data")
    small = ("--set", "channels=4", "--set", "affine_levels=2", "--set", "spacings=8")
    train = (
        "train",
        "--method",
        "dlir",
        "--supervision",
        "labels",
        "--data",
        tmp_path / "data",
        "--size",
        "own",
        *small,
    )
    changes = ("--augment", "usual", "--augment", "noise=0.2")
    code, _out, err = call(*train, *changes, "--steps", 2, *ONE, "--out", tmp_path / "out")
    assert code == 0, err
    config = read_config(tmp_path / "out")
    assert (config.data["size"], config.data["spacing_mm"]) == ([16, 32, 16], 2.0)
    assert config.data["augmentation"]["noise"] == 0.2
    assert config.data["augmentation"]["rotation_deg"] == USUAL.rotation_deg
    rows = (tmp_path / "out" / "validation.csv").read_text().splitlines()
    assert "dice_before" in rows[0] and len(rows) > 2
    assert call("train", "--resume", *ONE, "--out", tmp_path / "out")[0] == 0  # nothing was left to do
    code, _out, err = call("train", "--resume", "--steps", 4, *ONE, "--out", tmp_path / "out")
    assert (code, "cannot change steps" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "shapes", "--size", "own"), "no native size"),
        (("--data", "shapes", "--size", "32", "--patch", "64"), "larger than the training grid"),
        (("--data", "shapes", "--size", "32", "--augment", "nose=1"), "no setting 'nose'"),
        (("--data", "shapes", "--size", "32", "--teacher", "elastix"), "need no teacher"),
        (("--data", "DATA", "--size", "32", "--supervision", "displacement"), "is not known"),
    ],
)
def test_data_that_cannot_be(call, tmp_path, options, message):
    write_cases(tmp_path / "data", 6)
    given = [tmp_path / "data" if option == "DATA" else option for option in options]
    code, _out, err = call("train", "--method", "voxelmorph", *given, "--steps", 1, *ONE, "--out", tmp_path / "out")
    assert (code, message in err) == (2, True), err


def test_stages_need_a_length(call, tmp_path):
    code, _out, err = call(
        "train", "--method", "lapirn", "--data", "shapes", "--size", "32,32", "--out", tmp_path / "o"
    )
    assert (code, "stages" in err and "--steps" in err) == (2, True), err


@pytest.mark.parametrize(
    ("method", "small"),
    [
        ("rigid-agent", ("--set", "crop=16", "--misalign", "poses=2")),
        ("deformable-agent", ("--set", "modes=3", "--set", "pairs=5", "--set", "control=5", "--set", "states=2")),
    ],
)
def test_agents_are_trained_and_resumed(call, tmp_path, method, small):
    """A resumed training continues with the same deformation model and gives the same weights."""
    size = ("--size", 16, "--spacing", 8, "--validation", 1, "--validate-every", 100)
    net = ("--set", "cells=4", "--set", "channels=4", "--set", "hidden=8", "--set", "shifts=1,2", *small)
    train = ("train", "--method", method, "--data", "shapes", *size, *net, *ONE)
    assert call(*train, "--steps", 3, "--out", tmp_path / "whole")[0] == 0
    assert call(*train, "--steps", 1, "--out", tmp_path / "parts")[0] == 0
    assert call("train", "--resume", "--steps", 3, *ONE, "--out", tmp_path / "parts")[0] == 0
    card = json.loads((tmp_path / "whole" / "model" / "card.json").read_text())
    assert card["kind"] == "agent" and card["training"]["steps_altogether"] == 3
    from safetensors.torch import load_file

    whole, parts = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all((parts[name] == tensor).all() for name, tensor in whole.items())
    deviations = [tensor for name, tensor in whole.items() if name.endswith("model.deviations")]
    assert len(deviations) == (method == "deformable-agent") and all(found.min() > 0 for found in deviations)
