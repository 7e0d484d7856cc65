"""Segmentations by a network: where the structures are, what marks them as estimated, and what is reported."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import DeepVsClassicRegLib as dvc
from DeepVsClassicRegLib.core.engines import segmentation
from DeepVsClassicRegLib.core.engines.base import Requirement
from DeepVsClassicRegLib.core.errors import EngineUnavailable, FileError, RegistrationError
from DeepVsClassicRegLib.core.evaluation.make_report import make_report
from DeepVsClassicRegLib.core.evaluation.report import Report
from DeepVsClassicRegLib.core.images.freesurfer import STRUCTURES
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import read_labels, write_labels, write_volume
from DeepVsClassicRegLib.core.images.resample import warp_labels
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume, is_estimated
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.result import Diagnostics, Result
from DeepVsClassicRegLib.core.transforms.transform import Transform
from testing_models import known_methods, write_bands, write_demons

SEGMENT = segmentation.segment
TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
GRIDS = [
    Grid((44, 40, 36), (1.0, 1.0, 1.0), (-22.0, -20.0, -18.0)),
    Grid((40, 36, 20), (1.0, 1.2, 2.0), (5.0, -30.0, 11.0), TURNED),
]


@pytest.fixture
def model(tmp_path):
    with known_methods():
        write_bands(tmp_path / "bands", name="bands", anatomy="brain")
        yield str(tmp_path / "bands")


def balls(grid, *, stray=False):
    """A bright ball in a darker one, and the labels that belong to it."""
    distance = np.linalg.norm(grid.points() - grid.center_mm, axis=-1)
    labels = np.where(distance < 8, 53, np.where(distance < 14, 17, 0))
    if stray:
        labels[0:3, 0:3, 0:3] = 53
    values = np.select([labels == 53, labels == 17], [1000.0, 500.0], 0.0)
    return Volume(values.astype(np.float32), grid, "balls"), labels


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.mark.parametrize("grid", GRIDS, ids=["straight", "oblique"])
def test_structures_are_where_they_are_on_any_grid(model, grid):
    volume, truth = balls(grid)
    found = dvc.segment(volume, model=model, device="cpu", threads=1)
    assert found.grid == grid and set(found.labels) == {17, 53}
    assert dice(found.array == 53, truth == 53) > 0.9
    assert dice(found.array > 0, truth > 0) > 0.9


def test_parts_apart_from_the_largest_one_are_background(model):
    volume, _ = balls(GRIDS[0], stray=True)
    found = dvc.segment(volume, model=model, device="cpu", threads=1)
    assert not found.array[:4, :4, :4].any() and found.array.any()


def test_names_colors_and_the_mark_survive_the_file(model, tmp_path):
    volume, _ = balls(GRIDS[0])
    found = dvc.segment(volume, model=model, device="cpu", threads=1)
    read = read_labels(write_labels(found, tmp_path / "balls.seg.nrrd"))
    assert read.names == {17: "Left-Hippocampus", 53: "Right-Hippocampus"}
    color = [float(part) for part in read.segments[17].facts["Color"].split()]
    assert np.allclose(color, np.array(STRUCTURES[17][1]) / 255, atol=1e-3)
    assert is_estimated(found) and is_estimated(read)
    assert not is_estimated(LabelMap(found.array, found.grid))
    assert any("Estimated" in note for note in found.notes)


def test_other_anatomy_has_the_names_of_its_card(tmp_path):
    with known_methods():
        write_bands(tmp_path / "bands", anatomy="knee")
        found = dvc.segment(balls(GRIDS[0])[0], model=str(tmp_path / "bands"), device="cpu", threads=1)
    assert found.names == {17: "lower band", 53: "upper band"}


def test_a_volume_without_structures_says_so(model):
    empty = Volume(np.zeros(GRIDS[0].shape, np.float32), GRIDS[0])
    found = dvc.segment(empty, model=model, device="cpu", threads=1)
    assert not found.array.any()
    (doubt,) = [note for note in found.notes if "Only 0 of 2 structures" in note]
    assert doubt.unsound


def test_what_cannot_be_segmented_is_reported(model, tmp_path, monkeypatch):
    write_demons(tmp_path / "demons")
    with pytest.raises(RegistrationError, match="kind 'field'"):
        segmentation.segmentation_model(str(tmp_path / "demons"))
    with pytest.raises(FileError, match="no model"):
        segmentation.segmentation_model("nothing of that name")
    single = Volume(np.ones((1, 30, 30), np.float32), Grid((30, 30, 1)))
    with pytest.raises(RegistrationError, match="Single slices"):
        segmentation.segment(single, model=model)
    monkeypatch.setattr(segmentation, "MODEL_REQUIRES", (Requirement(name="PyTorch", package="no_such_torch"),))
    with pytest.raises(EngineUnavailable, match="Segmentation needs no_such_torch"):
        segmentation.segment(balls(GRIDS[0])[0], model=model)


def test_a_pair_with_an_estimated_segmentation_says_so_in_its_names(model, tmp_path):
    volume, _ = balls(GRIDS[0])
    found = dvc.segment(volume, model=model, device="cpu", threads=1)
    image = write_volume(volume, tmp_path / "balls.nrrd")
    paths = {
        "fixed_labels": write_labels(found, tmp_path / "fixed.seg.nrrd"),
        "moving_labels": write_labels(found, tmp_path / "moving.seg.nrrd"),
    }
    marked = {17: "Left-Hippocampus (estimated)", 53: "Right-Hippocampus (estimated)"}
    pair = dvc.load_pair(image, image, **paths)
    assert pair.fixed_labels.names == pair.moving_labels.names == marked
    drawn = write_labels(LabelMap(found.array, found.grid, names=found.names), tmp_path / "drawn.seg.nrrd")
    assert dvc.load_pair(image, image, fixed_labels=drawn, moving_labels=drawn).fixed_labels.names == found.names
    mixed = dvc.load_pair(image, image, fixed_labels=drawn, moving_labels=paths["moving_labels"])
    assert mixed.fixed_labels.names == marked


def test_a_pair_gets_the_segmentations_it_lacks(model):
    volume, truth = balls(GRIDS[0])
    bare = Pair(volume, volume)
    both = segmentation.with_estimated_labels(bare, model=model, device="cpu", threads=1)
    assert both.fixed_labels.names == {17: "Left-Hippocampus (estimated)", 53: "Right-Hippocampus (estimated)"}
    assert dice(both.moving_labels.array == 53, truth == 53) > 0.9
    drawn = LabelMap(truth, volume.grid)
    one = segmentation.with_estimated_labels(bare.replace(fixed_labels=drawn), model=model, device="cpu", threads=1)
    assert np.array_equal(one.fixed_labels.array, truth) and set(one.moving_labels.labels) == {17, 53}
    complete = bare.replace(fixed_labels=drawn, moving_labels=drawn)
    assert segmentation.with_estimated_labels(complete, model="none is needed") is complete
    other = LabelMap((truth > 0) * 900, volume.grid)
    with pytest.raises(RegistrationError, match="none of the structures"):
        segmentation.with_estimated_labels(bare.replace(moving_labels=other), model=model, device="cpu", threads=1)


def test_the_report_says_that_segmentations_are_estimated(model):
    volume, truth = balls(GRIDS[0])
    drawn = LabelMap(truth, volume.grid)
    for labels, expected in ((None, True), (drawn, False)):
        pair = Pair(volume, volume, fixed_labels=labels, moving_labels=labels)
        pair = segmentation.with_estimated_labels(pair, model=model, device="cpu", threads=1)
        result = Result(Transform(), Diagnostics(seconds={"total": 1.0}))
        report = make_report(pair, result, dvc.evaluate(pair, result, threads=1))
        assert report.estimated is expected and Report.from_json(report.to_json()).estimated is expected


def test_instance_aligns_estimated_structures(model, monkeypatch):
    chosen = segmentation.segmentation_model(model)
    monkeypatch.setattr(segmentation, "segmentation_model", lambda _name: chosen)
    volume, truth = balls(GRIDS[0])
    moved = Volume(np.roll(volume.array, 3, axis=2), volume.grid, "moved")
    pair = Pair(volume, moved, initial=Transform())
    seen = []
    monkeypatch.setattr(
        segmentation, "segment", lambda volume, **more: seen.append(volume.name) or SEGMENT(volume, **more)
    )
    settings = {"structures": "auto", "similarity": "mse"}
    found = dvc.register(pair, "instance", settings=settings, device="cpu", threads=1)
    assert seen == ["balls", "moved"] and found.settings.label_weight == 0
    assert any("estimated by a network" in note for note in found.diagnostics.notes)
    assert "Segmentation" in found.diagnostics.seconds
    warped = warp_labels(LabelMap(np.roll(truth, 3, axis=2), volume.grid), volume.grid, found.transform)
    assert dice(warped.array == 53, truth == 53) > 0.9
