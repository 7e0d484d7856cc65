"""What a training says of its model is what using it gives, and a network whose field is not finite is reported."""

from __future__ import annotations

import csv
import math

import DeepVsClassicRegLib as dvc
import numpy as np
import pytest
from DeepVsClassicRegLib.cli.main import main
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.engines.network.engine import transform_with
from DeepVsClassicRegLib.core.engines.registration import align_linearly
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import LabelMap, Volume
from DeepVsClassicRegLib.core.networks.base import Batch
from DeepVsClassicRegLib.core.networks.catalogue import get_method
from DeepVsClassicRegLib.core.networks.model_store import fill, load_model, save_model
from DeepVsClassicRegLib.core.pair import Pair
from DeepVsClassicRegLib.core.progress import Progress
from DeepVsClassicRegLib.core.training.checkpoint import CHECKPOINT_FILE
from DeepVsClassicRegLib.core.training.config import read_config
from DeepVsClassicRegLib.core.training.loop import train
from DeepVsClassicRegLib.core.training.options import data_settings
from DeepVsClassicRegLib.core.training.source_factory import make_source
from DeepVsClassicRegLib.core.training.validation import validate_pairs
from safetensors.torch import load_file
from testing_models import card
from training_disks import Blobs, config_of

QUIET = ("--threads", "1", "--device", "cpu", "--quiet")
ONE = Compute(device="cpu", threads=1)
CUBES = Grid((24, 24, 22), (1.8, 1.8, 1.8), (-20.7, -20.7, -19.0))
GRID = Grid((26, 22, 18), (1.5, 1.8, 2.2), (-19.0, -19.0, -19.0))


def lobes(number: int, grid: Grid = GRID) -> tuple[Volume, LabelMap]:
    """A body of three lobes, turned and placed at random, wholly inside the grid: no affine map aligns two of them."""
    rng = np.random.default_rng([3, number])
    place = grid.points() - rng.uniform(-1.5, 1.5, 3)
    radius = np.linalg.norm(place, axis=-1)
    angle = np.arctan2(place[..., 1], place[..., 0])
    edge = 9 + 2 * np.cos(3 * angle + rng.uniform(0, 2 * np.pi)) - radius
    values = 100 / (1 + np.exp(-2 * edge)) * (1 + 0.3 * (radius < 5))
    labels = (edge > 0).astype(np.int32) + (radius < 5)
    return Volume(values.astype(np.float32), grid), LabelMap(labels.astype(np.int32), grid)


def write_cases(folder, count, grid):
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        image, labels = lobes(number, grid)
        write_volume(image, folder / f"images/{number}.nii.gz")
        write_volume(labels, folder / f"labels/{number}.nii.gz")


def last_row(folder):
    with (folder / "validation.csv").open() as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}


def last_weights(out, folder):
    """Write a model of the weights that were validated last, which need not be the best ones."""
    about, network = load_model(out / "model")
    stored = load_file(out / CHECKPOINT_FILE)
    start = "weights/"
    fill(network, {name[len(start) :]: stored[name] for name in stored if name.startswith(start)}, where=str(out))
    save_model(folder, about, network)
    return folder


@pytest.mark.parametrize(
    ("grid", "size"), [(CUBES, ("--size", "own")), (GRID, ("--size", "32,32,32", "--spacing", "1.7"))]
)
def test_validation_and_use_agree(tmp_path, grid, size):
    write_cases(tmp_path / "data", 8, grid)
    out = tmp_path / "out"
    command = ["train", "--method", "voxelmorph", "--supervision", "labels", "--data", str(tmp_path / "data")]
    command += [*size, "--learning-rate", "0.01"]
    command += ["--set", "encoder=8,8", "--set", "decoder=8,8,8", "--set", "similarity=mse", "--validation", "4"]
    command += [
        "--average",
        "0",
        "--steps",
        "40",
        "--validate-every",
        "40",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--quiet",
    ]
    assert main([*command, "--out", str(out)]) == 0
    said = last_row(out)
    assert said["step"] == 40
    model = last_weights(out, tmp_path / "last")

    def align(fixed, moving):
        return align_linearly(Pair(fixed, moving), ONE, Progress()).transform

    config = read_config(out)
    source = make_source(
        data_settings(config), seed=config.train.seed, cache=tmp_path / "again", align=align, supervision="labels"
    )
    before, after = [], []
    for pair in source.validation_pairs():
        result = dvc.register(pair, "network", settings={"model": str(model)}, device="cpu", threads=1)
        before.append(dvc.evaluate(pair, pair.initial).after["dice_mean"])
        after.append(dvc.evaluate(pair, result).after["dice_mean"])
    assert len(after) >= 2
    assert said["dice"] == pytest.approx(np.mean(after), abs=0.002)
    assert said["dice_before"] == pytest.approx(np.mean(before), abs=0.002)
    assert abs(said["dice"] - said["dice_before"]) > 0.02, "the network must deform for the test to tell"
    assert said["failed_percent"] == 0


@pytest.mark.parametrize("name", ["quicksilver", "voxelmorph", "krebs-cvae"])
def test_a_network_whose_field_is_not_finite_is_reported(name):
    """The engine refuses such a field; a validation counts the pair as failed, and the others as they are."""
    method = get_method(name)
    network = method.network(method.info.settings(), dimensions=3).eval()
    for parameter in network.parameters():
        parameter.data.fill_(math.nan)
    pairs = []
    for number in (0, 2):
        (fixed, fixed_labels), (moving, moving_labels) = lobes(number), lobes(number + 1)
        pairs.append(Pair(fixed, moving, fixed_labels=fixed_labels, moving_labels=moving_labels))
    about = card(name, spacing_mm=2.0)

    def register(module, about, pair):
        return transform_with(module, about, pair, ONE)

    failed = validate_pairs(network, about, pairs, register, threads=1)
    assert failed == {"dice": 0.0, "dice_sd": 0.0, "failed_percent": 100.0}
    sound = method.network(method.info.settings(), dimensions=3).eval()

    def one_of_two(_module, about, pair):
        return register(network if pair is pairs[0] else sound, about, pair)

    mixed = validate_pairs(network, about, pairs, one_of_two, threads=1)
    whole = validate_pairs(sound, about, pairs[1:], register, threads=1)
    assert mixed["failed_percent"] == 50
    assert mixed["dice"] == pytest.approx(whole["dice"] / 2)
    assert mixed["folds_percent"] == whole["folds_percent"] == 0


class Broken(Blobs):
    """The validation images are not finite, so neither are objective and field."""

    def validation(self):
        return [Batch(batch.fixed * math.nan, batch.moving) for batch in super().validation()]


def test_a_validation_that_is_not_finite_is_written_and_never_the_best(tmp_path):
    outcome = train(config_of(steps=10), Broken(), tmp_path, compute=ONE)
    assert outcome.finished
    row = last_row(tmp_path)
    assert math.isnan(row["loss"])
    assert row["folds_percent"] == 100
    assert "score" not in outcome.best
    assert all(math.isfinite(value) for value in load_model(tmp_path / "model")[0].validation.values())
    train(config_of(steps=20), Blobs(), tmp_path, compute=ONE)
    assert load_model(tmp_path / "model")[0].validation["step"] == 20, "finite weights replace those"
