"""Agents: what their methods keep, that known rewards are those of the actions, and that they learn them."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from DeepVsClassicRegLib.core.errors import RegistrationError, SettingsError  # noqa: E402
from DeepVsClassicRegLib.core.networks import catalogue  # noqa: E402
from DeepVsClassicRegLib.core.networks.base import SUPERVISION, ActionValues, Batch, LossContext  # noqa: E402
from DeepVsClassicRegLib.core.networks.deformable_agent import known_rewards as known_rewards_of_modes  # noqa: E402
from DeepVsClassicRegLib.core.networks.deformation_model import DeformationModel, basis  # noqa: E402
from DeepVsClassicRegLib.core.networks.flow import warp  # noqa: E402
from DeepVsClassicRegLib.core.networks.pair_encoder import CONTRAST, edge_agreement  # noqa: E402
from DeepVsClassicRegLib.core.networks.rigid_agent import (  # noqa: E402
    RigidAgentSettings,
    action_map,
    attention,
    known_rewards,
)
from DeepVsClassicRegLib.core.settings import from_json, to_json  # noqa: E402
from DeepVsClassicRegLib.core.training.misalignment import MisalignmentSettings, posed  # noqa: E402
from DeepVsClassicRegLib.core.training.synthesis.draws import Draws  # noqa: E402
from DeepVsClassicRegLib.core.training.synthesis.noise import smooth_noise  # noqa: E402

NAMES = [name for name in catalogue.METHODS if catalogue.get_method(name).info.kind == "agent"]
SHAPE = (24, 24, 24)
SMALL = {
    "rigid-agent": {"crop": 16, "cells": 4, "channels": 8, "hidden": 16, "shifts": (1, 3)},
    "deformable-agent": {"modes": 3, "pairs": 8, "control": 5, "cells": 4, "channels": 8, "hidden": 16, "states": 4},
}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


@pytest.fixture(params=NAMES)
def method(request):
    return catalogue.get_method(request.param)


def small(method, **changes):
    return from_json(method.info.settings, {**SMALL[method.info.name], **changes})


def poses(count, seed, **changes):
    """Smooth noise in a ball, and the same under known rigid maps, voxels of 1 mm."""
    settings = MisalignmentSettings(**{"aligned": 0.1, "rotation_deg": 20.0, "translation_mm": 4.0, **changes})
    x = torch.stack(torch.meshgrid(*[torch.arange(24.0)] * 3, indexing="ij"))
    ball = ((x - 11.5).norm(dim=0) < 9).float()[None, None]
    pairs = []
    for number in range(count):
        draws = Draws("agent", seed, number)
        image = (0.5 + 0.25 * smooth_noise(draws, SHAPE, scale=5.0)[None]).clamp(0.1, 1) * ball
        pairs.append(posed(draws, image, image, torch.zeros(1, 3, *SHAPE), settings, 1.0))
    return Batch(*(torch.cat([getattr(pair, name) for pair in pairs]) for name in ("fixed", "moving")),
                 pose=torch.cat([pair.pose for pair in pairs]))  # fmt: skip


def test_both_agents_are_in_the_catalogue():
    assert set(NAMES) == set(SMALL)


def test_description(method):
    info = method.info
    assert info.title and info.summary.endswith(".") and ("doi" in info.citation or "arXiv" in info.citation)
    assert set(info.supervision) <= set(SUPERVISION) and 3 in info.dimensions
    settings = info.settings()
    assert from_json(info.settings, to_json(settings)) == settings
    assert all(field.metadata.get("label") for field in dataclasses.fields(settings))


@pytest.mark.parametrize("inputs", ["edges", "images"])
def test_every_weight_of_every_level_learns(inputs):
    method = catalogue.get_method("rigid-agent")
    settings, pairs = small(method, inputs=inputs), poses(3, 1)
    network = method.network(settings)
    found = network(pairs.fixed, pairs.moving)
    assert isinstance(found, ActionValues) and [level.values.shape for level in found.levels] == [(3, 12)] * 2
    assert all((level.distance > 0).all() for level in found.levels)
    context = LossContext(network, found, pairs.shown("pose"), settings, "pose")
    sum(method.loss(context).values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())
    assert all(isinstance(value, float) for value in method.measures(context).values())


def test_pairs_of_a_batch_do_not_mix(method):
    network, pairs = method.network(small(method)).eval(), poses(3, 2)
    with torch.no_grad():
        together = network(pairs.fixed, pairs.moving).values[1:2]
        alone = network(pairs.fixed[1:2], pairs.moving[1:2]).values
    assert torch.allclose(together, alone, atol=1e-5)


def test_batches_without_a_known_pose_are_refused():
    method = catalogue.get_method("rigid-agent")
    settings, pairs = small(method), poses(1, 3)
    network = method.network(settings)
    found, plain = network(pairs.fixed, pairs.moving), Batch(pairs.fixed, pairs.moving)
    with pytest.raises(RegistrationError, match="pose"):
        method.loss(LossContext(network, found, plain, settings, "pose"))
    with pytest.raises(SettingsError):
        method.loss(LossContext(network, found, pairs, settings, "labels"))
    with pytest.raises(SettingsError, match="Every level"):
        small(method, shrink=(1,))


def test_actions_are_shifts_and_turns_in_both_directions():
    for action in range(12):
        matrix, shift = action_map(action, 2.0, 30.0)
        back, back_shift = action_map(action ^ 1, 2.0, 30.0)
        assert torch.allclose(matrix @ back, torch.eye(3, dtype=torch.float64)) and torch.equal(shift, -back_shift)
        angle = torch.rad2deg(torch.arccos((matrix.trace() - 1) / 2))
        assert (float(shift.norm()), round(float(angle), 6)) == ((2.0, 0.0) if action < 6 else (0.0, 30.0))


def pose_of(matrix, shift):
    return Batch(*[torch.zeros(1, 1, *SHAPE)] * 2, pose=torch.cat([matrix, shift[:, None]], 1)[None].float())


def test_the_reward_is_what_an_action_gains():
    """Of a shift by 3 steps and a turn by 4 steps: distance 5, and a step along one of them leaves two of them."""
    settings = RigidAgentSettings(shift_vox=(2.0, 0.5), turn_deg=(4.0, 1.0))
    turn, _ = action_map(10, 2.0, 16.0)
    shift = torch.tensor([0.0, -6.0, 0.0], dtype=torch.float64)
    middle = torch.full((1, 3), 11.5)
    reward, distance, weight = known_rewards(pose_of(turn, shift), middle, settings, 0)
    assert float(distance) == pytest.approx(5.0, abs=1e-3) and float(weight) == 1
    assert float(reward[0, 10]) == pytest.approx(5 - 18**0.5, abs=1e-3)  # shift 3, turn 3
    assert float(reward[0, 11]) == pytest.approx(5 - 34**0.5, abs=1e-3)
    assert float(reward[0, 3]) == pytest.approx(5 - 20**0.5, abs=1e-3)  # shift 2, turn 4
    assert int(reward.argmax()) == 10
    finer = known_rewards(pose_of(turn, shift), middle, settings, 1)
    assert float(finer[1]) == pytest.approx(20.0, abs=1e-2) and float(finer[2]) == 0  # beyond the reach


def test_turns_are_about_the_center_of_the_level():
    """A turn about another voxel than the middle is no shift there."""
    turn, _ = action_map(6, 1.0, 20.0)
    about = torch.tensor([[11.5, 5.0, 16.0]])
    offset = (about[0] - 11.5).double()
    batch = pose_of(turn, offset - turn @ offset)
    _, distance, _ = known_rewards(batch, about, RigidAgentSettings(), 0)
    assert float(distance) == pytest.approx(20 / 4.0, abs=1e-3)
    _, from_middle, _ = known_rewards(batch, torch.full((1, 3), 11.5), RigidAgentSettings(), 0)
    assert float(from_middle) > 5.1


def test_attention_is_where_the_edges_are():
    image = torch.zeros(2, 1, 20, 20, 20)
    image[0, :, 12:15, 3:6, 10:13] = 1.0
    image[1, :, 2:5, 14:17, 15:18] = 1.0
    first = attention(image, 8)
    assert (
        (first <= torch.tensor([[12, 3, 10], [2, 14, 15]])) & (first + 8 >= torch.tensor([[15, 6, 13], [5, 17, 18]]))
    ).all()
    assert torch.equal(attention(image, 20), torch.zeros(2, 3))


def test_edges_agree_most_under_the_true_shift_in_any_contrast():
    pairs = poses(1, 4)
    moved = pairs.fixed.roll(-3, 3)  # content moves by -3 along y: the warped image at y - 3 shows y
    found = edge_agreement(pairs.fixed, 1 - moved, (1, 3, 5), 1).flatten()
    names = [(axis, shift) for axis in range(3) for shift in (1, 3, 5)]
    ahead = dict(zip(names, (found[5::2] / CONTRAST).tolist(), strict=True))
    assert min(ahead, key=ahead.get) == (1, 3) and ahead[1, 3] < -0.3
    assert abs(ahead[0, 3]) < 0.15 and abs(ahead[2, 3]) < 0.15
    both = dict(zip(names, (found[6::2] / CONTRAST).tolist(), strict=True))
    assert max(both, key=both.get) == (1, 3)


def test_features_are_bounded_where_only_one_image_shows_something():
    """Cells in which one image is empty must not produce large numbers: they made a training diverge."""
    fixed, warped = torch.zeros(1, 1, *SHAPE), torch.zeros(1, 1, *SHAPE)
    fixed[..., 11:13, 4:9, 4:9] = 1.0
    warped[..., 14:16, 4:9, 4:9] = 1.0
    found = edge_agreement(fixed, warped, (1, 3, 5), 8)
    assert torch.isfinite(found).all() and found[:, 4:].abs().max() <= 2 * CONTRAST
    assert edge_agreement(warped, fixed, (1, 3, 5), 8)[:, 4:].abs().max() > 0.3 * CONTRAST


def test_the_rigid_agent_learns_poses_it_has_not_seen():
    """After seconds of training most of its best actions bring the pair nearer."""
    method = catalogue.get_method("rigid-agent")
    settings = small(method, shrink=(1,), shift_vox=(1.0,), turn_deg=(5.0,), crop=24, channels=16, hidden=32)
    network, unseen = method.network(settings), poses(24, seed=-1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    found = {}
    for step in range(150):
        seen = poses(8, seed=step)
        context = LossContext(network, network(seen.fixed, seen.moving), seen, settings, "pose")
        optimizer.zero_grad()
        sum(method.loss(context).values()).backward()
        optimizer.step()
        if step % 20 == 19:
            with torch.no_grad():
                found = method.measures(
                    LossContext(network, network(unseen.fixed, unseen.moving), unseen, settings, "pose")
                )
            if found["gain_1"] > 0.6 and found["right_1"] > 0.85:
                break
    assert found["gain_1"] > 0.6 and found["right_1"] > 0.85, found


# Deformable agent


def smooth_fields(count, shape=(20, 22, 24), seed=1):
    """Displacements that are sums of three smooth fields, of standard deviations 1.5, 1.2 and 1 voxels."""
    fields = torch.stack([smooth_noise(Draws("mode", n), shape, scale=12.0, channels=3) for n in range(3)])
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, 3, generator=generator) * torch.tensor([1.5, 1.2, 1.0])
    return torch.einsum("nk,k...->n...", weights, fields)


def test_splines_are_a_partition_of_one():
    assert torch.allclose(basis(20, 6).sum(1), torch.ones(20, dtype=torch.float64))
    assert (basis(20, 6) > 0).sum(1).max() == 4
    assert torch.allclose(basis(21, 7) @ (torch.arange(7.0).double() - 1), torch.linspace(0, 4, 21).double())


def test_modes_are_those_of_the_displacements():
    fields = smooth_fields(40)
    model = DeformationModel(3, (8, 8, 8))
    model.fit(list(fields))
    assert model.explained > 0.99 and (model.deviations[:-1] >= model.deviations[1:]).all()
    flat = model.vectors.flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(3), atol=1e-4)
    found = model.coefficients(fields)
    assert torch.allclose(found.std(0), torch.ones(3), atol=0.1) and found.mean(0).abs().max() < 0.1
    again = model.displacement(found[:5], fields.shape[2:])
    off = (again - fields[:5]).norm(dim=1).mean() / fields[:5].norm(dim=1).mean()
    assert off < 0.15  # what splines of this spacing and coefficients of at most 3 do not show


def test_a_deformation_is_the_same_on_a_finer_grid():
    model = DeformationModel(2, (6, 6))
    model.vectors.normal_()
    model.deviations.fill_(1.0)
    coarse, fine = (model.displacement(torch.tensor([[1.0, -2.0]]), (size, size)) for size in (21, 41))
    assert torch.allclose(coarse, fine[..., ::2, ::2], atol=1e-5)


def test_too_few_pairs_are_refused():
    with pytest.raises(RegistrationError, match="at least 6"):
        DeformationModel(5, (5, 5, 5)).fit(list(smooth_fields(5)))


def test_the_reward_of_a_coefficient_is_what_it_gains():
    reward, distance = known_rewards_of_modes(torch.tensor([[3.0, -4.0]]), 0.5)
    assert float(distance) == pytest.approx(10.0)
    expected = [5 - (2.5**2 + 16) ** 0.5, 5 - (3.5**2 + 16) ** 0.5, 5 - (9 + 4.5**2) ** 0.5, 5 - (9 + 3.5**2) ** 0.5]
    assert reward[0].tolist() == pytest.approx([2 * value for value in expected], abs=1e-5)
    assert known_rewards_of_modes(torch.zeros(1, 2), 0.5)[0].tolist() == [[-1.0] * 4]


def deformed(count, seed):
    """Smooth noise and the same under one of few smooth displacements."""
    fields = smooth_fields(count, SHAPE, seed)
    images = [smooth_noise(Draws("image", seed, number), SHAPE, scale=5.0)[None] for number in range(count)]
    moving = (0.5 + 0.25 * torch.cat(images)).clamp(0, 1)
    return Batch(warp(moving, fields), moving, displacement=fields)


def prepared(**changes):
    method = catalogue.get_method("deformable-agent")
    settings = small(method, **changes)
    network = method.network(settings)
    method.prepare(network, lambda step: deformed(4, 100 + step))
    return method, settings, network


def test_every_weight_of_the_deformable_agent_learns():
    method, settings, network = prepared()
    pairs = deformed(2, 1)
    found = network.train()(pairs.fixed, pairs.moving)
    assert found.values.shape == (8, 6) and found.features["coefficients"].abs().max() > 0
    context = LossContext(network, found, pairs.shown("displacement"), settings, "displacement")
    sum(method.loss(context).values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())
    assert all(isinstance(value, float) for value in method.measures(context).values())
    start = network.eval()(pairs.fixed, pairs.moving)
    assert start.values.shape == (2, 6) and not start.features["coefficients"].any()


def test_the_deformation_model_is_in_the_file():
    method, settings, network = prepared()
    copy = method.network(settings)
    copy.load_state_dict(network.state_dict())
    given = torch.tensor([[0.5, -1.0, 2.0]])
    assert torch.equal(copy.model.displacement(given, SHAPE), network.model.displacement(given, SHAPE))
    assert network.model.displacement(given, SHAPE).abs().max() > 0.5


def test_pairs_without_displacement_are_refused():
    method, settings, network = prepared()
    pairs = deformed(1, 1)
    plain = Batch(pairs.fixed, pairs.moving)
    with pytest.raises(RegistrationError, match="displacement is known"):
        method.loss(LossContext(network, network(pairs.fixed, pairs.moving), plain, settings, "displacement"))
    with pytest.raises(RegistrationError, match="displacement is known"):
        method.prepare(network, lambda _step: plain)


def test_the_deformable_agent_learns_deformations_it_has_not_seen():
    method, settings, network = prepared(channels=16, hidden=32, cells=6, states=6)
    unseen = deformed(16, -1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    found = {}
    for step in range(150):
        seen = deformed(4, step)
        context = LossContext(network, network.train()(seen.fixed, seen.moving), seen, settings, "displacement")
        optimizer.zero_grad()
        sum(method.loss(context).values()).backward()
        optimizer.step()
        if step % 20 == 19:
            with torch.no_grad():
                values = network.eval()(unseen.fixed, unseen.moving)
                found = method.measures(LossContext(network, values, unseen, settings, "displacement"))
            if found["gain"] > 0.6 and found["right"] > 0.8:
                break
    assert found["gain"] > 0.6 and found["right"] > 0.8, found


@pytest.mark.slow
def test_a_trained_agent_registers_pairs_it_has_not_seen(tmp_path):
    """Trained for a minute, it walks most of the way on pairs that were not in its training."""
    import numpy as np
    from DeepVsClassicRegLib.core.device import Compute
    from DeepVsClassicRegLib.core.engines.agent.engine import AgentEngine, AgentSettings
    from DeepVsClassicRegLib.core.images.grid import Grid
    from DeepVsClassicRegLib.core.images.volume import Volume
    from DeepVsClassicRegLib.core.networks.card import Card
    from DeepVsClassicRegLib.core.networks.model_store import save_model
    from DeepVsClassicRegLib.core.pair import Pair
    from DeepVsClassicRegLib.core.progress import Progress
    from DeepVsClassicRegLib.core.transforms.transform import Affine, Transform

    method = catalogue.get_method("rigid-agent")
    settings = small(method, shrink=(1, 1), shift_vox=(1.0, 0.25), turn_deg=(5.0, 1.25), crop=24, channels=16,
                     hidden=32, shifts=(1, 2, 4), cells=6)  # fmt: skip
    network, steps = method.network(settings), 300
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1.02 - step / steps)
        seen = poses(8, seed=step, near=0.4)
        context = LossContext(network, network(seen.fixed, seen.moving), seen, settings, "pose")
        optimizer.zero_grad()
        sum(method.loss(context).values()).backward()
        optimizer.step()
    card = Card("a", "A", "Test.", "rigid-agent", to_json(settings), 1.0, (24, 24, 24), kind="agent")
    save_model(tmp_path / "a", card, network)
    grid = Grid((24, 24, 24))
    points = grid.points()[np.linalg.norm(grid.points() - 11.5, axis=-1) < 9]
    before, after = [], []
    for number in range(12):
        unseen = poses(1, seed=-2 - number, aligned=0.0)
        pose = unseen.pose[0].numpy()
        truth = Affine.about(pose[::-1, 2::-1], (11.5,) * 3, pose[::-1, 3])
        pair = Pair(*(Volume(image[0, 0].numpy(), grid) for image in (unseen.fixed, unseen.moving)),
                    initial=Transform())  # fmt: skip
        engine_settings = AgentSettings(model=str(tmp_path / "a"))
        result = AgentEngine().run(pair, engine_settings, Progress(), Compute(device="cpu", threads=1))
        for found, errors in ((Affine.identity(), before), (result.transform.affine, after)):
            errors.append(np.linalg.norm(found.apply(points) - truth.apply(points), axis=1).mean())
    assert np.mean(before) > 1.5 and np.mean(after) < 0.6 * np.mean(before), (before, after)
