"""Stacks, networks and engines on one scores: geometry of predictions, shifts, verdicts on made-up comparisons."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import numpy as np
import pytest
from DeepVsClassicRegLib.core.errors import SettingsError
from DeepVsClassicRegLib.core.evaluation.evaluate import evaluate
from DeepVsClassicRegLib.core.experiments.base import ExperimentOptions
from DeepVsClassicRegLib.core.experiments.dataset import drawn_pairs
from DeepVsClassicRegLib.core.experiments.design import EVALUATE, HOME, NEW, OTHER, TRAINED
from DeepVsClassicRegLib.core.experiments.network_comparison import chosen_methods
from DeepVsClassicRegLib.core.experiments.prepared_data import (
    SHIFTS,
    PreparedData,
    prepare_data,
    prepare_phantom,
    shifted,
)
from DeepVsClassicRegLib.core.experiments.reproduce import get_experiment
from DeepVsClassicRegLib.core.experiments.tasks import TaskResult


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> PreparedData:
    path = tmp_path_factory.mktemp("stacks") / "few.npz"
    prepare_phantom(str(path), asdict(HOME), [0, 1, 2], 32, "none", ["parcels", "nuclei"])
    return PreparedData.load(path)


def test_a_stack_survives_its_file(prepared, tmp_path):
    prepared.save(tmp_path / "again.npz")
    again = PreparedData.load(tmp_path / "again.npz")
    assert again.names == prepared.names and again.label_names == prepared.label_names and again.flat
    assert np.array_equal(again.images, prepared.images) and again.images.min() == 0 and again.images.max() <= 1
    assert 12 >= len(prepared.values) >= 8 and prepared.held_out.any()


@pytest.mark.parametrize("kind", SHIFTS)
def test_shifts_change_intensities_alone(prepared, kind):
    other = shifted(prepared, kind)
    assert np.array_equal(other.labels, prepared.labels)
    inside = prepared.images > 0.1
    assert other.images.min() >= 0 and other.images.max() <= 1 and (other.images[prepared.images == 0] == 0).all()
    r = np.corrcoef(prepared.images[inside], other.images[inside])[0, 1]
    low, high = {"none": (0.999, 1), "inverted": (-1, -0.95), "gamma": (0.4, 0.98), "noise": (0.6, 0.99)}[kind]
    assert low <= r <= high + 1e-9


def test_a_prediction_is_the_displacement_of_the_network(prepared):
    torch = pytest.importorskip("torch")
    from DeepVsClassicRegLib.core.experiments.learning import predicted
    from DeepVsClassicRegLib.core.networks.base import Prediction

    class Shift(torch.nn.Module):
        def forward(self, fixed, moving):
            del moving
            u = torch.zeros(1, 2, *fixed.shape[2:])
            u[:, 0], u[:, 1] = 2.0, -3.0  # y, x in voxels
            return Prediction(u)

    rolled = PreparedData(
        ("a", "b"),
        np.concatenate([prepared.images[:1], np.roll(prepared.images[:1], (2, -3), (2, 3))]),
        np.concatenate([prepared.labels[:1], np.roll(prepared.labels[:1], (2, -3), (2, 3))]),
        np.zeros((2, *prepared.labels.shape[1:]), np.int32),
        prepared.spacing_mm,
        prepared.label_names,
    )
    pair = rolled.pair(0, 1)
    transform = predicted(Shift(), rolled, 0, 1, pair.fixed.grid)
    found = evaluate(pair, transform, measures=("overlap",), threads=1)
    assert found.after["dice_mean"] > 0.99 > 0.6 > found.before["dice_mean"]


def test_volumes_of_a_folder_meet_on_one_grid(tmp_path):
    where = {"cohort": asdict(HOME), "size": 24}
    subjects = [{**where, "number": number} for number in range(2)]
    path = tmp_path / "data.npz"
    (row,) = prepare_data(str(path), subjects, ["a", "b"], subjects[0], 9.0, "none", 1)
    made = PreparedData.load(path)
    assert row["subjects"] == 2 and not made.flat and all(n % 16 == 0 for n in made.images.shape[1:])
    both = [(made.labels[n] > 0).sum() for n in range(2)]
    assert min(both) > 0.7 * max(both) and made.images.max() == 1


def test_a_short_training_returns_a_model(tmp_path):
    pytest.importorskip("torch")
    from DeepVsClassicRegLib.core.experiments.learning import evaluate_pairs, train_network

    paths = []
    for name, numbers in (("training", range(4)), ("validation", range(4, 6))):
        paths.append(str(tmp_path / f"{name}.npz"))
        prepare_phantom(paths[-1], asdict(HOME), list(numbers), 32, "none", ["parcels", "nuclei"])
    small = {"encoder": [4, 4], "decoder": [4, 4, 4]}
    (row,) = train_network(*paths, "voxelmorph", small, "labels", 0, 3, 0.0, 1e-3, str(tmp_path / "net"), 1)
    assert row["steps"] == 3 and 0 < row["dice"] < 1
    (first,) = evaluate_pairs(paths[1], [[0, 1]], "", row["model"], {"method": "net"}, 1)
    assert first["method"] == "net" and abs(first["dice"] - first["dice_before"]) < 0.1
    (other,) = evaluate_pairs(paths[1], [[0, 1]], "sitk-demons", "", {}, 1)
    assert other["dice"] > other["dice_before"] + 0.03 and other["dice_held_out"] > 0


def test_all_methods_are_those_that_predict_a_field_and_can_be_trained_so():
    pytest.importorskip("torch")
    every = chosen_methods(ExperimentOptions(methods=("all",)), ("none", "labels"))
    assert {("vfa", "none"), ("vfa", "labels"), ("localnet", "labels")} <= set(every)
    assert ("localnet", "none") not in every and ("krebs-cvae", "labels") not in every
    assert not {"haskins", "simonovsky", "eppenhof"} & {method for method, _ in every}
    assert chosen_methods(ExperimentOptions(), ("none",)) == [("voxelmorph", "none")]


def test_a_named_method_that_cannot_be_trained_so_is_refused():
    pytest.importorskip("torch")
    with pytest.raises(SettingsError, match="localnet cannot be trained so"):
        chosen_methods(ExperimentOptions(methods=("vfa", "localnet")), ("none",))


def test_pairs_are_spread_evenly():
    pairs = drawn_pairs(12, 60, seed=0)
    assert len(set(pairs)) == 60 and all(a != b for a, b in pairs)
    for side in (0, 1):
        assert set(np.bincount([pair[side] for pair in pairs]).tolist()) == {5}
    assert len(drawn_pairs(5, 0, seed=0)) == 20


def network_comparison(name: str, level: dict[tuple[str, str], float], tmp_path, **changes):
    """Return the claims of an experiment whose Dice is `level` of (family, condition), family alone, or 0.7."""
    experiment = get_experiment(name)
    study, options = experiment.default_study(), ExperimentOptions(phantom=True, engines=("sitk-demons",), **changes)
    rng = np.random.default_rng(0)
    finished = []
    for task in itertools.chain(*experiment.stages(study, options, tmp_path)):
        rows = []
        if task.group == EVALUATE:
            about = task.arguments["about"]
            middle = level.get((about["family"], about["condition"]), level.get((about["family"], ""), 0.7))
            for fixed, moving in task.arguments["pairs"]:
                row = {"fixed": f"{about['condition']} {fixed}", "moving": f"{about['condition']} {moving}"}
                dice = middle + 0.01 * np.sin(fixed) + 0.01 * rng.normal()
                rows.append({**about, **row, "dice": dice, "dice_held_out": None})
        finished.append(TaskResult(task.name, task.group, task.fingerprint, "done", tuple(rows)))
    return experiment.findings(finished, study, options)


def verdicts(found) -> list[str]:
    return [claim.verdict for claim in found.claims]


def test_the_papers_world_is_found(tmp_path):
    away = {("supervised", name): 0.6 for name in ("inverted", "gamma", "noise", OTHER)}
    level = {("classical", ""): 0.7, ("unsupervised", ""): 0.65, ("supervised", ""): 0.8, **away}
    assert set(verdicts(network_comparison("shift", level, tmp_path))) == {"holds"}
    assert verdicts(network_comparison("paradigms", level, tmp_path)) == ["holds"] * 3
    gap = {**level, ("supervised", TRAINED): 0.88, ("supervised", NEW): 0.8}
    assert verdicts(network_comparison("supervision", gap, tmp_path)) == ["holds"] * 3


def test_the_opposite_world_is_found(tmp_path):
    level = {
        ("classical", ""): 0.6,
        ("unsupervised", ""): 0.7,
        ("supervised", ""): 0.65,
        ("unsupervised", TRAINED): 0.8,
    }
    assert verdicts(network_comparison("paradigms", level, tmp_path)) == ["fails"] * 3
    reverse = {
        ("classical", ""): 0.7,
        ("unsupervised", ""): 0.65,
        ("supervised", ""): 0.6,
        ("supervised", TRAINED): 0.5,
    }
    assert verdicts(network_comparison("supervision", reverse, tmp_path)) == ["fails"] * 3
    strong = {("supervised", ""): 0.9, ("classical", ""): 0.7}
    assert set(verdicts(network_comparison("shift", strong, tmp_path))) == {"fails"}


def test_without_a_difference_nothing_is_claimed(tmp_path):
    assert verdicts(network_comparison("paradigms", {}, tmp_path))[:2] == ["undecided"] * 2
    assert verdicts(network_comparison("supervision", {}, tmp_path)) == ["undecided"] * 3
    assert "holds" not in verdicts(network_comparison("shift", {}, tmp_path))[:5]


def test_few_seeds_are_reported(tmp_path):
    found = network_comparison("supervision", {}, tmp_path, seeds=(0,))
    assert any("three seeds" in note for note in found.notes)
