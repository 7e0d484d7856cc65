"""The learned metric as an objective and as an engine: derivatives, frames, capture, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.device import Compute  # noqa: E402
from DeepVsClassicRegLib.core.engines.instance.engine import InstanceEngine, InstanceSettings  # noqa: E402
from DeepVsClassicRegLib.core.engines.learned_metric.engine import (  # noqa: E402
    LearnedMetricEngine,
    LearnedMetricSettings,
)
from DeepVsClassicRegLib.core.engines.learned_metric.objective import MetricObjective, bounds  # noqa: E402
from DeepVsClassicRegLib.core.engines.similarity_models import metric_model  # noqa: E402
from DeepVsClassicRegLib.core.errors import EngineUnavailable, FileError, RegistrationError, SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.images.grid import Grid  # noqa: E402
from DeepVsClassicRegLib.core.images.volume import Volume  # noqa: E402
from DeepVsClassicRegLib.core.networks.patch import PatchNetwork, PatchSettings, dissimilarity  # noqa: E402
from DeepVsClassicRegLib.core.pair import Pair  # noqa: E402
from DeepVsClassicRegLib.core.progress import Progress  # noqa: E402
from DeepVsClassicRegLib.core.settings import from_json  # noqa: E402
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform  # noqa: E402
from testing_grids import oblique_grid  # noqa: E402
from testing_models import DIFFERENCES, Differences, known_methods, write_differences  # noqa: E402

FIXED = oblique_grid((30, 28, 24), (1.7, 1.8, 2.4), seed=1, left_handed=True)
MOVING = oblique_grid((28, 30, 26), (1.9, 1.6, 2.0), seed=2, left_handed=False)
MIDDLE = np.asarray(FIXED.center_mm)
COMPUTE = Compute(device="cpu", threads=1, seed=1)


def blobs(points: np.ndarray) -> np.ndarray:
    rng, total = np.random.default_rng(7), np.zeros(points.shape[:-1])
    for center, radius in zip(rng.uniform(-14, 14, (40, 3)), rng.uniform(3, 7, 40), strict=True):
        total += np.exp(-((points - MIDDLE - center) ** 2).sum(-1) / radius**2)
    return (100 * total).astype(np.float32)


def pair_of(truth: Affine) -> Pair:
    return Pair(Volume(blobs(truth.apply(FIXED.points())), FIXED), Volume(blobs(MOVING.points()), MOVING))


def turn(x: float, y: float, z: float) -> np.ndarray:
    skew = torch.tensor([[0.0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(skew).numpy()


TRUTH = Affine.about(turn(0.15, -0.1, 0.2), MIDDLE, (5.0, -4.0, 3.0))


def error(found: Affine, truth: Affine = TRUTH) -> float:
    points = FIXED.points()[blobs(truth.apply(FIXED.points())) > 30]
    return float(np.linalg.norm(found.apply(points) - truth.apply(points), axis=1).mean())


def objective(kind=Differences, passes=1, start=None):
    grid = Grid((32, 32, 32), (2.0, 2.0, 2.0), tuple(MIDDLE - 31.0))
    return MetricObjective(kind().eval(), pair_of(TRUTH), grid, start or Affine.identity(), passes=passes)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    with known_methods():
        write_differences(tmp_path / DIFFERENCES)
        yield LearnedMetricSettings(model=str(tmp_path / DIFFERENCES), voxels_thousands=30.0)


def test_the_truth_is_the_lowest_and_frames_are_right():
    """Turns are about the center of the grid, shifts in mm LPS, whatever the grids' axes are."""
    found = objective()
    radius = found.radius_mm
    truth = np.array([5.0, -4.0, 3.0, 0.15 * radius, -0.1 * radius, 0.2 * radius])
    assert np.allclose(found.affine(truth).matrix, TRUTH.matrix, atol=1e-9)
    assert error(found.affine(truth)) < 1e-9
    assert found(truth) < 0.05 * found(np.zeros(6))


def test_the_start_is_part_of_the_map():
    found = objective(start=TRUTH)
    assert error(found.affine(np.zeros(6))) < 1e-9 and found(np.zeros(6)) < 0.05 * objective()(np.zeros(6))


@pytest.mark.parametrize("free", [6, 12])
@pytest.mark.parametrize("passes", [1, 3])
def test_the_derivative_is_that_of_the_value(free, passes):
    found = objective(passes=passes)
    where = np.linspace(0.3, 1.1, free)
    value, slope = found.with_slope(where)
    assert value == pytest.approx(found(where), rel=1e-5)
    for number in range(free):
        change = np.zeros(free)
        change[number] = 0.02
        numeric = (found(where + change) - found(where - change)) / 0.04
        assert slope[number] == pytest.approx(numeric, rel=0.1, abs=0.02 * np.abs(slope).max())


def test_a_network_of_patches_is_differentiable():
    network = lambda: PatchNetwork(PatchSettings(widths=(4, 8), hidden=8), lengths=True)  # noqa: E731
    value, slope = objective(network).with_slope(np.zeros(6))
    assert np.isfinite(value) and np.abs(slope).max() > 0


def test_a_weight_selects_the_measured_region():
    fixed, moving = torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    fixed[..., :8] = 1.0
    here = (fixed > 0).float()
    assert float(dissimilarity(Differences(), fixed, moving, here)) == 1.0
    assert float(dissimilarity(Differences(), fixed, moving, 1 - here)) == 0.0
    assert float(dissimilarity(Differences(), fixed, moving)) == 1.0  # the background is exactly 0


def test_bounds_are_as_long_at_the_border():
    assert bounds("rigid", 10, 90, 0.1, 20.0) == [(-10, 10)] * 3 + [(-10 * np.pi, 10 * np.pi)] * 3
    assert len(bounds("affine", 10, 90, 0.1, 20.0)) == 12


def test_rigid_pose_is_found_from_the_headers(settings):
    result = LearnedMetricEngine().run(pair_of(TRUTH), settings, Progress(), COMPUTE)
    found = result.transform.affine
    assert error(Affine.identity()) > 7 and error(found) < 0.5
    assert found.is_rigid
    stages = {point.stage for point in result.diagnostics.trace}
    assert stages == {"Exploration", "Second order"}
    assert any("fell from" in note for note in result.diagnostics.notes)


def test_affine_pose_is_found(settings):
    stretched = Affine.about(np.diag([1.08, 0.94, 1.05]), MIDDLE, (2.0, 1.0, -1.0))
    affine = dataclasses.replace(settings, kind="affine", generations=0, iterations=40)
    result = LearnedMetricEngine().run(pair_of(stretched), affine, Progress(), COMPUTE)
    assert error(result.transform.affine, stretched) < 0.5


def test_far_apart_volumes_start_from_their_centers(settings):
    pair = pair_of(Affine.identity())
    origin = tuple(np.asarray(MOVING.origin_mm) + 150.0)
    far = pair.replace(moving=Volume(pair.moving.array, dataclasses.replace(MOVING, origin_mm=origin)))
    result = LearnedMetricEngine().run(far, settings, Progress(), COMPUTE)
    assert error(result.transform.affine.then(Affine.shift([-150.0] * 3)), Affine.identity()) < 1.0


def test_a_given_start_is_refined_and_nothing_gets_worse(settings):
    still = dataclasses.replace(settings, generations=0, iterations=0)
    pair = pair_of(TRUTH).replace(initial=Transform((TRUTH,)))
    result = LearnedMetricEngine().run(pair, still, Progress(), COMPUTE)
    assert error(result.transform.affine) < 1e-6
    assert any("nothing better" in note for note in result.diagnostics.notes)


def test_what_is_no_metric_is_refused(settings):
    with pytest.raises(RegistrationError, match="kind 'field'"):
        metric_model("synthmorph-shapes")
    with pytest.raises(FileError):
        metric_model("no-such-model")
    field = DisplacementField(np.zeros((4, 4, 4, 3), np.float32), Grid((4, 4, 4)))
    pair = pair_of(TRUTH).replace(initial=Transform((field,)))
    with pytest.raises(RegistrationError, match="deformable"):
        LearnedMetricEngine().run(pair, settings, Progress(), COMPUTE)


def bent(points: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    return points + np.stack([2.4 * np.sin(y / 12), 1.8 * np.cos(z / 14), 2.0 * np.sin(x / 13)], axis=-1)


def test_deformable_by_a_metric(settings):
    """`similarity=metric:MODEL` of the engine `instance`: torch, whatever else is installed."""
    truth = bent(FIXED.points())
    pair = Pair(Volume(blobs(truth), FIXED), Volume(blobs(MOVING.points()), MOVING), initial=Transform())
    changes = {"similarity": f"metric:{settings.model}", "iterations": (20, 20), "adapt": False}
    result = InstanceEngine().run(pair, from_json(InstanceSettings, changes), Progress(), COMPUTE)
    found = FIXED.points() + result.transform.displacement_on(FIXED).array_mm
    seen = pair.fixed.array > 30
    before, after = (np.linalg.norm(each - truth, axis=-1)[seen].mean() for each in (FIXED.points(), found))
    assert after < 0.6 * before
    assert "torch" in result.diagnostics.versions


def test_similarities_that_do_not_exist_are_refused(settings):
    with pytest.raises(SettingsError, match="similarity"):
        from_json(InstanceSettings, {"similarity": "metrics"})
    wrong = from_json(InstanceSettings, {"similarity": "metric:no-such-model"})
    with pytest.raises(FileError, match="no-such-model"):
        InstanceEngine().run(pair_of(TRUTH).replace(initial=Transform()), wrong, Progress(), COMPUTE)


def test_a_metric_without_torch_has_a_remedy(monkeypatch):
    from DeepVsClassicRegLib.core.engines.instance import backend

    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EngineUnavailable, match="PyTorch") as caught:
        backend.choose_backend(COMPUTE, Progress(), torch_for="Trained similarities")
    assert "install PyTorch" in caught.value.hint or "Install PyTorch" in caught.value.hint
