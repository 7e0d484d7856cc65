"""The estimated error: units, where it is known, what is made of it, and what is reported when it cannot be made."""

from __future__ import annotations

import json

import numpy as np
import pytest
from DeepVsClassicRegLib.core.engines import error_map as estimation
from DeepVsClassicRegLib.core.engines.base import Requirement
from DeepVsClassicRegLib.core.errors import EngineUnavailable, FileError, RegistrationError
from DeepVsClassicRegLib.core.evaluation.error_map import ErrorMap
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.evaluation.figures import Pictures
from DeepVsClassicRegLib.core.evaluation.locations import Locations
from DeepVsClassicRegLib.core.evaluation.make_report import make_report, pictures_of
from DeepVsClassicRegLib.core.evaluation.report import Report
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.result import Diagnostics, Result
from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

GRID = Grid((40, 44, 36), (2.0, 2.0, 2.0), (-40.0, -44.0, -36.0))


def ball(grid=GRID, radius=26.0):
    distance = np.linalg.norm(grid.points() - grid.center_mm, axis=-1)
    return Volume((100 * (distance < radius) + distance).astype(np.float32) * (distance < radius + 4), grid)


def peak(where=(8, 20, 30)):
    """An error map with its largest error, 9 mm, at voxel (x, y, z) = (30, 20, 8), and a smaller one far from it."""
    values = np.full(GRID.shape, 1.0, np.float32)
    values[where] = 9.0
    values[30, 20, 8] = 5.0
    edges = [Volume(factor * values, GRID) for factor in (0.5, 2.0)]
    return ErrorMap(Volume(values, GRID), np.ones(GRID.shape, bool), *edges, inside=0.8, model="M", notes=("Careful.",))


@pytest.fixture
def model(tmp_path):
    """A model that estimates 1, 2 and 3 voxels everywhere."""
    pytest.importorskip("torch")
    from testing_models import write_constant_error

    calibration = {"calibration": {"0.1": 1.0, "0.5": 2.0, "0.9": 1.5}}
    write_constant_error(tmp_path / "constant", training={"largest_error_voxels": 8.0}, validation=calibration)
    return tmp_path / "constant"


def test_lengths_become_millimeters_of_the_working_grid(model):
    """2 voxels of 2 mm, times what the calibration of that quantile says."""
    pair = Pair(ball(), ball())
    found = estimation.estimate_error(pair, Transform(), model=str(model), device="cpu", threads=1)
    spacing = found.volume.grid.spacing_mm[0]
    assert spacing == pytest.approx(2.0, rel=0.2)
    known = found.volume.array[found.trusted]
    assert np.allclose(known, 2 * 2 * spacing, rtol=1e-4)
    assert np.allclose(found.low.array[found.trusted], 1 * spacing, rtol=1e-4)
    assert np.allclose(found.high.array[found.trusted], 1.5 * 3 * spacing, rtol=1e-4)
    assert found.inside == pytest.approx(0.8) and found.model == "Constant"
    assert not found.volume.array[~found.trusted].any()


def test_small_animals_are_measured_in_their_own_lengths(model):
    tiny = Grid((40, 44, 36), (0.1, 0.1, 0.1))
    found = estimation.estimate_error(Pair(ball(tiny, 1.3), ball(tiny, 1.3)), Transform(), model=str(model), threads=1)
    assert found.volume.grid.spacing_mm[0] == pytest.approx(0.1, rel=0.2)


def test_nothing_is_known_outside_the_object_or_the_moving_view(model):
    pair = Pair(ball(), ball())
    whole = estimation.estimate_error(pair, Transform(), model=str(model), threads=1)
    points = whole.volume.grid.points()
    distance = np.linalg.norm(points - GRID.center_mm, axis=-1)
    assert whole.trusted[distance < 22].all() and not whole.trusted[distance > 34].any()
    shifted = Affine(np.eye(3), [40.0, 0.0, 0.0])
    part = estimation.estimate_error(pair, Transform((shifted,)), model=str(model), threads=1)
    seen = pair.moving.grid.contains(part.volume.grid.points() + np.array([40.0, 0.0, 0.0]))
    assert part.trusted.any() and not part.trusted[~seen].any()
    said = " ".join(part.notes)
    assert "outside the moving volume" in said and "only mean 'large'" in said


def test_it_reaches_measures_locations_report_and_picture():
    pair = Pair(ball(), ball())
    estimate = peak()
    found = evaluate(pair, Transform(), error_map=estimate, threads=1)
    assert found.after["estimated_error_mm_max"] == 9.0 and found.after["estimated_error_mm_median"] == 1.0
    assert "estimated_error_mm_max" not in found.before
    first, second = found.locations.error[:2]
    assert first.voxel == (30, 20, 8) and second.voxel == (8, 20, 30)
    assert "9.0 mm" in first.text and "80 %" in first.text and "4.5 mm" in first.text and "18.0 mm" in first.text
    assert first in found.look_at and "Careful." in found.notes
    report = make_report(pair, Result(Transform(), Diagnostics()), found)
    again = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert again.locations.error == found.locations.error
    pytest.importorskip("matplotlib")
    names = [view.name for view, _figure in pictures_of(Pictures(pair, Transform(), found))]
    assert names[-1] == "error"
    without = evaluate(pair, Transform(), threads=1)
    assert "error" not in [view.name for view, _ in pictures_of(Pictures(pair, Transform(), without))]
    assert "error" not in without.locations.to_json() and without.error_map is None


def test_locations_keep_a_distance():
    values = np.zeros(GRID.shape, np.float32)
    values[10:14, 10:14, 10:14] = 5.0
    found = ErrorMap(Volume(values, GRID), np.ones(GRID.shape, bool)).locations(GRID, count=3)
    points = np.array([place.point_mm for place in found])
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert distances[~np.eye(len(found), dtype=bool)].min() >= 15.0


def test_an_estimate_of_nothing_has_no_measures():
    nothing = ErrorMap(Volume(np.zeros(GRID.shape, np.float32), GRID), np.zeros(GRID.shape, bool))
    assert nothing.measures() == {} and nothing.locations(GRID) == ()


def test_old_reports_have_no_such_locations():
    assert Locations().to_json().keys() == {"fold", "match", "structure"}


def test_missing_torch_is_reported_with_a_remedy(monkeypatch):
    lacking = Requirement(name="no_such_package", package="torch", title="PyTorch", how="install PyTorch")
    monkeypatch.setattr(estimation, "MODEL_REQUIRES", (lacking,))
    with pytest.raises(EngineUnavailable, match="PyTorch") as caught:
        estimation.estimate_error(Pair(ball(), ball()), Transform())
    assert caught.value.hint == "Install PyTorch."


def test_other_models_are_refused(model):
    with pytest.raises(RegistrationError, match="kind 'field'"):
        estimation.error_model("synthmorph-shapes")
    with pytest.raises(FileError):
        estimation.error_model("no-such-model")
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps({**card, "dimensions": 2, "size": [32, 32, 1]}))
    with pytest.raises(RegistrationError, match="plane"):
        estimation.error_model(str(model))


def test_single_slices_are_refused(model):
    flat = Volume(np.ones((1, 40, 40), np.float32), Grid((40, 40, 1)))
    with pytest.raises(RegistrationError, match="single slices"):
        estimation.estimate_error(Pair(flat, flat), Transform(), model=str(model))


def test_settings_without_quantiles_give_no_band(model):
    from testing_models import write_constant_error

    write_constant_error(model, quantiles=())
    found = estimation.estimate_error(Pair(ball(), ball()), Transform(), model=str(model), threads=1)
    assert found.low is None and found.inside == 0 and "%" not in found.locations(GRID)[0].text
