"""The walk of an agent and its engines: paths, endings, frames, starts, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.device import Compute  # noqa: E402
from DeepVsClassicRegLib.core.engines.agent.deformable import (  # noqa: E402
    DeformableAgentEngine,
    DeformableAgentEngineSettings,
)
from DeepVsClassicRegLib.core.engines.agent.engine import AgentEngine, AgentSettings  # noqa: E402
from DeepVsClassicRegLib.core.engines.agent.model import agent_model  # noqa: E402
from DeepVsClassicRegLib.core.engines.agent.view import PoseView, agent_grid  # noqa: E402
from DeepVsClassicRegLib.core.engines.agent.walk import walk  # noqa: E402
from DeepVsClassicRegLib.core.errors import FileError, RegistrationError  # noqa: E402
from DeepVsClassicRegLib.core.images.grid import Grid  # noqa: E402
from DeepVsClassicRegLib.core.images.volume import Volume  # noqa: E402
from DeepVsClassicRegLib.core.networks.model_store import find_models  # noqa: E402
from DeepVsClassicRegLib.core.networks.rigid_agent import action_map  # noqa: E402
from DeepVsClassicRegLib.core.pair import Pair  # noqa: E402
from DeepVsClassicRegLib.core.progress import Progress  # noqa: E402
from DeepVsClassicRegLib.core.transforms.transform import Affine, DisplacementField, Transform  # noqa: E402
from testing_grids import oblique_grid  # noqa: E402
from testing_models import (  # noqa: E402
    DEFORMABLE_AGENT,
    RIGID_AGENT,
    known_methods,
    write_deformable_agent,
    write_differences,
    write_rigid_agent,
)

FIXED = oblique_grid((30, 28, 24), (1.7, 1.8, 2.4), seed=1, left_handed=True)
MOVING = oblique_grid((28, 30, 26), (1.9, 1.6, 2.0), seed=2, left_handed=False)
MIDDLE = np.asarray(FIXED.center_mm)
COMPUTE = Compute(device="cpu", threads=1, seed=1)


def on_a_line(target, *, wrong=(), limit=50):
    """Walk over integers toward a target; at the places of `wrong` the agent goes the wrong way."""

    def judge(place):
        way = np.sign(target - place) * (-1 if place in wrong else 1)
        return np.array([0.5 * way, -0.5 * way]), abs(target - place)

    seen = []
    found = walk(0, judge, lambda place, action: place + (1, -1)[action], lambda a, b: abs(a - b), limit=limit,
                 visited=lambda number, distance: seen.append((number, distance)))  # fmt: skip
    assert seen == list(enumerate(found.distances)) and len(seen) == len(found.places)
    return found


def test_a_walk_ends_where_no_action_is_better():
    found = on_a_line(7)
    assert found.places == tuple(range(8)) and found.place == 7 and "no action" in found.ending


def test_a_walk_ends_at_its_limit_with_the_nearest_place():
    found = on_a_line(70, limit=20)
    assert found.place == 20 and len(found.places) == 21 and "limit of 20" in found.ending


def test_a_walk_does_not_go_in_circles():
    found = on_a_line(9, wrong=(6,))
    assert found.places == tuple(range(7)) and "again" in found.ending
    assert found.place == 6  # of 5 and 6, between which it would go forever, the one expected to be nearer


def test_places_before_the_circle_are_not_chosen():
    """A network that is sure at the start of the walk is not believed after it has walked on."""
    distances = itertools.chain([0.1, 5.0, 4.0, 4.5], itertools.repeat(9.0))
    way = iter([0, 0, 1, 1])
    found = walk(
        0,
        lambda _place: (np.eye(2)[next(way)], next(distances)),
        lambda place, action: place + (1, -1)[action],
        lambda a, b: abs(a - b),
        limit=9,
        visited=lambda *_: None,
    )
    assert found.places == (0, 1, 2) and found.best == 2


def blobs(points: np.ndarray) -> np.ndarray:
    rng, total = np.random.default_rng(7), np.zeros(points.shape[:-1])
    for center, radius in zip(rng.uniform(-14, 14, (40, 3)), rng.uniform(3, 7, 40), strict=True):
        total += np.exp(-((points - MIDDLE - center) ** 2).sum(-1) / radius**2)
    return (100 * total).astype(np.float32)


def pair_of(truth: Affine, moving: Grid = MOVING) -> Pair:
    return Pair(Volume(blobs(truth.apply(FIXED.points())), FIXED), Volume(blobs(moving.points()), moving))


TRUTH = Affine.about(torch.matrix_exp(torch.tensor([[0, -0.2, -0.1], [0.2, 0, -0.15], [0.1, 0.15, 0]],
                                                   dtype=torch.float64)).numpy(), MIDDLE, (5.0, -4.0, 3.0))  # fmt: skip


def error(found: Affine, truth: Affine = TRUTH) -> float:
    points = FIXED.points()[blobs(truth.apply(FIXED.points())) > 30]
    return float(np.linalg.norm(found.apply(points) - truth.apply(points), axis=1).mean())


@pytest.fixture
def settings(tmp_path):
    with known_methods():
        write_rigid_agent(tmp_path / RIGID_AGENT)
        yield AgentSettings(model=str(tmp_path / RIGID_AGENT))


def test_the_grid_contains_the_object():
    pair = pair_of(Affine.identity())
    grid = agent_grid(pair.fixed, (32, 32, 32))
    points = FIXED.points()[pair.fixed.array > 30]
    assert grid.contains(points).mean() > 0.99 and max(grid.extent_mm) < 2 * np.ptp(points, axis=0).max()
    assert np.allclose(np.diag(grid.spacing_mm[0] * np.eye(3)), grid.spacing_mm)
    assert agent_grid(pair.fixed, (64, 48, 32), spacing_mm=3.0).extent_mm.tolist() == [192.0, 144.0, 96.0]


@pytest.mark.parametrize("action", range(12))
def test_an_action_moves_what_is_seen_as_in_training(action):
    """The moving image under the moved pose is the warped image, resampled by the action on the grid of the agent."""
    from DeepVsClassicRegLib.core.networks.flow import identity_grid, warp

    view = PoseView(pair_of(TRUTH), agent_grid(pair_of(TRUTH).fixed, (32, 32, 32)), device="cpu")
    matrix, shift = action_map(action, 1.5, 8.0)
    center = torch.tensor([15.5, 12.0, 18.0])
    moved = view.warped(view.action(matrix, shift, center).then(TRUTH))
    x, sides = identity_grid((32, 32, 32), torch.zeros(())), (1, 3, 1, 1, 1)
    inner = torch.einsum("ij,njzyx->nizyx", matrix.float(), x - center.view(sides))
    there = inner + (center + shift.float()).view(sides)
    inside = (..., slice(6, -6), slice(6, -6), slice(6, -6))
    assert (warp(view.warped(TRUTH), there - x) - moved)[inside].abs().max() < 0.08  # two interpolations
    back = view.warped(view.action(matrix.T, -shift, center).then(TRUTH))
    assert (warp(view.warped(TRUTH), there - x) - back)[inside].abs().max() > 0.3
    assert (view.warped(TRUTH) - view.fixed)[inside].abs().max() < 0.1  # the truth shows the fixed image
    assert (view.warped(TRUTH) - moved)[inside].abs().max() > 0.1


def test_the_pose_is_found_from_the_headers(settings):
    updates = []
    result = AgentEngine().run(pair_of(TRUTH), settings, Progress(listener=updates.append), COMPUTE)
    found = result.transform.affine
    assert error(Affine.identity()) > 7 and error(found) < 1.0 and found.is_rigid
    trace = result.diagnostics.trace
    assert {point.stage for point in trace} == {"Level 1 of 2", "Level 2 of 2"}
    first = [point for point in trace if point.stage == "Level 1 of 2"]
    assert [point.iteration for point in first] == list(range(len(first))) and first[-1].metric < 0.5 * first[0].metric
    assert sum("steps" in note for note in result.diagnostics.notes) == 2 and result.diagnostics.stop_condition
    assert [update.metric for update in updates if update.metric is not None] == [point.metric for point in trace]


def test_only_the_coarsest_level_and_few_steps(settings):
    few = dataclasses.replace(settings, steps=2, finest=False)
    result = AgentEngine().run(pair_of(TRUTH), few, Progress(), COMPUTE)
    assert len(result.diagnostics.trace) == 3 and "limit of 2" in result.diagnostics.stop_condition


def test_far_apart_volumes_start_from_their_centers(settings):
    origin = tuple(np.asarray(MOVING.origin_mm) + 150.0)
    pair = pair_of(Affine.identity())
    far = pair.replace(moving=Volume(pair.moving.array, dataclasses.replace(MOVING, origin_mm=origin)))
    result = AgentEngine().run(far, settings, Progress(), COMPUTE)
    assert error(result.transform.affine.then(Affine.shift([-150.0] * 3)), Affine.identity()) < 1.0


def test_a_given_affine_start_is_kept_in_the_result(settings):
    stretch = Affine.about(np.diag([1.08, 0.94, 1.05]), MIDDLE)
    truth = Affine.shift([3.0, 0.0, -2.0]).then(stretch)
    pair = pair_of(truth).replace(initial=Transform((stretch,)))
    found = AgentEngine().run(pair, settings, Progress(), COMPUTE).transform.affine
    assert np.allclose(np.linalg.svd(found.matrix)[1], np.linalg.svd(stretch.matrix)[1], atol=1e-6)
    assert error(found, truth) < 1.0


def test_lengths_in_other_units_give_the_same_path(settings):
    pair = pair_of(TRUTH)
    small = AgentEngine().run(pair.scaled(0.1), settings, Progress(), COMPUTE)
    same = AgentEngine().run(pair, settings, Progress(), COMPUTE)
    assert np.allclose(small.transform.scaled(10).affine.homogeneous, same.transform.affine.homogeneous, atol=0.01)


def test_what_is_no_agent_is_refused(settings, tmp_path):
    write_differences(tmp_path / "metric")
    with pytest.raises(RegistrationError, match="kind 'metric'"):
        agent_model(str(tmp_path / "metric"), "rigid-agent")
    with pytest.raises(RegistrationError, match="kind 'field'"):
        agent_model("synthmorph-shapes", "rigid-agent")
    with pytest.raises(FileError):
        agent_model("no-such-model", "rigid-agent")
    field = DisplacementField(np.zeros((4, 4, 4, 3), np.float32), Grid((4, 4, 4)))
    with pytest.raises(RegistrationError, match="deformable"):
        AgentEngine().run(pair_of(TRUTH).replace(initial=Transform((field,))), settings, Progress(), COMPUTE)


def test_without_a_model_the_remedy_is_said(monkeypatch):
    from DeepVsClassicRegLib.core.networks import model_store

    others = tuple(model for model in find_models() if model.card.kind != "agent")
    monkeypatch.setattr(model_store, "find_models", lambda *_: others)
    with pytest.raises(FileError, match="No model of the method 'rigid-agent'") as caught:
        AgentEngine().run(pair_of(TRUTH), AgentSettings(), Progress(), COMPUTE)
    assert "dvcreg train --method rigid-agent" in caught.value.hint


def test_an_installed_model_is_found_by_itself(settings, monkeypatch, tmp_path):
    from DeepVsClassicRegLib.core.networks import model_store

    model = model_store.get_model(settings.model)
    monkeypatch.setattr(model_store, "find_models", lambda *_: (model,))
    assert agent_model("auto", "rigid-agent") == model


def bent(points: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points - MIDDLE, -1, 0)
    return points + np.stack([2.4 * np.sin(y / 12), 1.8 * np.cos(z / 14), 2.0 * np.sin(x / 13)], axis=-1)


@pytest.fixture
def deformable(tmp_path, settings):
    write_deformable_agent(tmp_path / DEFORMABLE_AGENT)
    return DeformableAgentEngineSettings(model=str(tmp_path / DEFORMABLE_AGENT))


def bent_pair(**changes) -> Pair:
    return Pair(Volume(blobs(bent(FIXED.points())), FIXED), Volume(blobs(MOVING.points()), MOVING), **changes)


def bent_error(transform: Transform) -> float:
    found = FIXED.points() + transform.displacement_on(FIXED).array_mm
    seen = blobs(bent(FIXED.points())) > 30
    return float(np.linalg.norm(found - bent(FIXED.points()), axis=-1)[seen].mean())


def test_a_deformation_is_found_step_by_step(deformable):
    result = DeformableAgentEngine().run(bent_pair(initial=Transform()), deformable, Progress(), COMPUTE)
    assert bent_error(Transform()) > 2 and bent_error(result.transform) < 0.6 * bent_error(Transform())
    trace = result.diagnostics.trace
    assert len(trace) > 5 and trace[-1].metric < 0.5 * trace[0].metric
    assert any("steps" in note for note in result.diagnostics.notes)


def test_coefficients_stay_within_their_limit(deformable):
    held = dataclasses.replace(deformable, limit=0.2)  # less than one step
    result = DeformableAgentEngine().run(bent_pair(initial=Transform()), held, Progress(), COMPUTE)
    assert len(result.diagnostics.trace) == 1 and bent_error(result.transform) == pytest.approx(bent_error(Transform()))


def test_each_engine_takes_its_own_agents(deformable, settings):
    with pytest.raises(RegistrationError, match="agent") as caught:
        AgentEngine().run(bent_pair(), AgentSettings(model=deformable.model), Progress(), COMPUTE)
    assert "'agent-deformable'" in caught.value.hint
    with pytest.raises(RegistrationError, match="agent"):
        other = DeformableAgentEngineSettings(model=settings.model)
        DeformableAgentEngine().run(bent_pair(), other, Progress(), COMPUTE)
