"""`dvcreg segment` writes names and colors, prints volumes, and overwrites no input."""

from __future__ import annotations

import json

import pytest
from DeepVsClassicRegLib.core.images.io import read_labels, read_volume


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("torch")
    from testing_models import known_methods, write_bands

    with known_methods():
        write_bands(tmp_path / "bands", name="bands", anatomy="brain")
        yield tmp_path / "bands"


def test_segmentation_and_volumes(call, files, model, tmp_path):
    out = tmp_path / "found.seg.nrrd"
    code, text, notes = call("segment", files["fixed"], "--model", model, "--out", out, "--threads", 1, "--json")
    labels = read_labels(out)
    assert code == 0 and labels.grid.same_as(read_volume(files["fixed"]).grid)
    sizes = json.loads(text)["volumes_ml"]
    assert set(sizes) == {labels.names[value] for value in labels.labels} and "Left-Hippocampus" in sizes
    expected = (labels.array == 17).sum() * labels.grid.voxel_volume_mm3 / 1000
    assert sizes["Left-Hippocampus"] == pytest.approx(expected, abs=1e-3)
    assert "Estimated by a network" in notes


def test_label_values_alone_are_noted(call, files, model, tmp_path):
    out = tmp_path / "found.nii.gz"
    code, text, notes = call("segment", files["fixed"], "--model", model, "--out", out, "--threads", 1)
    assert code == 0 and "ml" in text and ".seg.nrrd" in notes
    assert set(read_labels(out).labels) <= {17, 53}


def test_an_input_is_never_overwritten(call, files, model):
    code, _, notes = call("segment", files["fixed"], "--model", model, "--out", files["fixed"])
    assert code == 2 and "fixed" in notes


def test_missing_segmentations_are_estimated_for_the_evaluation(call, files, model):
    volumes = ["--fixed", files["fixed"], "--moving", files["moving"], "--transform", files["truth"], "--threads", 1]
    code, out, notes = call("evaluate", *volumes, f"--estimate-segs={model}", "--json")
    report = json.loads(out)
    assert code == 0 and 0 < report["measures"]["after"]["dice_mean"] <= 1 and report["labels_scored"] == [17, 53]
    assert report["inputs"] == {"fixed_labels": {"estimated": True}, "moving_labels": {"estimated": True}}
    assert "Estimated by a network" in notes
    structures = next(aspect for aspect in report["verdict"]["aspects"] if aspect["name"] == "structures")
    assert "estimated by a network" in structures["text"]
    assert "dice_mean" not in json.loads(call("evaluate", *volumes, "--json")[1])["measures"]["after"]


def test_a_job_estimates_missing_segmentations(files, model):
    from DeepVsClassicRegLib.core.job import ESTIMATED_SEGMENTATIONS, Job
    from DeepVsClassicRegLib.worker.registering import read_pair

    inputs = {side: str(files[side]) for side in ("fixed", "moving")}
    pair = read_pair(Job(inputs=inputs, options={ESTIMATED_SEGMENTATIONS: str(model)}), model)
    assert set(pair.fixed_labels.names.values()) == {"Left-Hippocampus (estimated)", "Right-Hippocampus (estimated)"}
    assert read_pair(Job(inputs=inputs), model).fixed_labels is None
