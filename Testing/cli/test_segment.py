"""`dvcreg segment` writes names and colors, prints volumes, and overwrites no input."""

from __future__ import annotations

import json

import pytest
from DeepVsClassicRegLib.core.images.io import read_volume
from DeepVsClassicRegLib.core.images.segmentations import read_labels


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
