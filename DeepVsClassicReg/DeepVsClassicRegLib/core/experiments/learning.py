"""Trains networks on prepared data, and evaluates all methods on the same pairs with the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ..device import Compute
from ..evaluation.evaluate import evaluate
from ..images.grid import Grid
from ..images.volume import LabelMap, Volume
from ..networks.base import Batch
from ..networks.catalogue import get_method
from ..networks.model_store import load_model
from ..pair import Pair
from ..settings import from_json, to_json
from ..training.config import TrainingConfig, TrainSettings
from ..training.loop import train
from ..transforms.transform import DisplacementField, Transform
from ..transforms.units import channels_to_mm
from .base import registered
from .dataset import drawn_pairs
from .prepared_data import PreparedData

if TYPE_CHECKING:
    from torch import nn

Tensor = torch.Tensor
BATCH_FLAT, BATCH_DEEP = 8, 1
VALIDATION_PAIRS = 8


class PreparedDataSource:
    """Random pairs of prepared data, a `training.sources.Source`.

    Parameters
    ----------
    training, held_back : PreparedData
        Training subjects, and validation subjects whose pairs select the saved weights.
    seed : int
        Seed of the pairs.
    supervised : bool
        Whether batches contain labels; without them the weights are selected by the loss.
    """

    def __init__(self, training: PreparedData, held_back: PreparedData, *, seed: int, supervised: bool) -> None:
        self.training, self.held_back, self.seed, self.supervised = training, held_back, seed, supervised
        shape = training.images.shape[2:] if training.flat else training.images.shape[1:]
        self.size = tuple(reversed(shape))
        self.spacing_mm = training.spacing_mm
        self.labels: Mapping[int, str] = {
            value: training.label_names.get(value, str(value)) for value in training.values
        }
        self.licence = "as the data"
        self.batch = BATCH_FLAT if training.flat else BATCH_DEEP

    def sample(self, step: int) -> Batch:
        """Return the batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        count = len(self.training.names)
        pairs = [rng.choice(count, size=2, replace=False) for _ in range(self.batch)]
        return self._batch(self.training, [int(a) for a, _ in pairs], [int(b) for _, b in pairs])

    def validation(self) -> Sequence[Batch]:
        """Return fixed pairs of the validation subjects."""
        pairs = drawn_pairs(len(self.held_back.names), VALIDATION_PAIRS, seed=1)
        return [self._batch(self.held_back, [fixed], [moving]) for fixed, moving in pairs]

    def validation_pairs(self) -> Sequence[Pair]:
        """Return nothing: models are evaluated afterwards."""
        return ()

    def domain_examples(self) -> Sequence[Volume]:
        """Return a few training images."""
        grid = Grid(tuple(reversed(self.training.images.shape[1:])), (self.spacing_mm,) * 3)
        return [Volume(image, grid) for image in self.training.images[:8]]

    def describe(self) -> dict[str, Any]:
        """Return the description of the data for the card."""
        return {"subjects": len(self.training.names), "labels": len(self.labels), "first": self.training.names[0]}

    def _batch(self, prepared: PreparedData, fixed: Sequence[int], moving: Sequence[int]) -> Batch:
        images = [_tensor(prepared, prepared.images[list(side)])[:, None] for side in (fixed, moving)]
        if not self.supervised:
            return Batch(images[0], images[1])
        values = torch.tensor(list(self.labels), dtype=torch.int32)
        columns = values.view(1, -1, *[1] * len(self.size))
        members = [
            (_tensor(prepared, prepared.labels[list(side)])[:, None] == columns).float() for side in (fixed, moving)
        ]
        return Batch(images[0], images[1], members[0], members[1])


def train_network(
    training: str,
    validation: str,
    method: str,
    settings: Mapping[str, Any],
    supervision: str,
    seed: int,
    steps: int,
    hours: float,
    learning_rate: float,
    folder: str,
    threads: int,
) -> list[dict[str, Any]]:
    """Train a network, from its checkpoint if there is one, and return the model folder."""
    source = PreparedDataSource(
        PreparedData.load(training), PreparedData.load(validation), seed=seed, supervised=supervision == "labels"
    )
    chosen = to_json(from_json(get_method(method).info.settings, settings))
    how = TrainSettings(
        steps=steps,
        hours=hours,
        clock="cpu",  # the same budget for all, independent of other load
        learning_rate=learning_rate,
        schedule="cosine",
        validate_every=max(50, steps // 8),
        seed=seed,
    )
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    config = TrainingConfig(method, chosen, supervision, {"prepared": training}, how)
    outcome = train(config, source, place, compute=Compute(device="cpu", threads=threads, seed=seed))
    best = {name: value for name, value in outcome.best.items() if isinstance(value, (int, float))}
    return [{"model": str(outcome.model), "steps": outcome.step, "hours": outcome.hours, **best}]


def evaluate_pairs(
    prepared: str, pairs: Sequence[Sequence[int]], engine: str, model: str, about: Mapping[str, Any], threads: int
) -> list[dict[str, Any]]:
    """Register pairs of prepared data with an engine, or with the network of a model folder, and return their Dice.

    `dice` is over the labels available for training, `dice_held_out` over the others (None when there are none);
    `dice_before` is that of the start. Every row contains `about` as well.
    """
    subjects = PreparedData.load(prepared)
    torch.set_num_threads(threads)
    network = load_model(Path(model))[1] if model else None
    rows = []
    for fixed, moving in pairs:
        pair = subjects.pair(fixed, moving)
        if network is not None:
            transform = predicted(network, subjects, fixed, moving, pair.fixed.grid)
        else:
            transform = registered(pair, engine, threads=threads)
        names = {"fixed": subjects.names[fixed], "moving": subjects.names[moving]}
        rows.append({**about, **names, **_measured(subjects, pair, fixed, moving, transform, threads)})
    return rows


@torch.no_grad()
def predicted(network: nn.Module, prepared: PreparedData, fixed: int, moving: int, grid: Grid) -> Transform:
    """Return the prediction of a network for two subjects as a transform on `grid` (the slab of a plane)."""
    images = [_tensor(prepared, prepared.images[[number]])[:, None] for number in (fixed, moving)]
    found = network(images[0], images[1]).displacement[0].numpy()
    if prepared.flat:  # the same in every slice of the slab, without a component out of the plane
        found = np.concatenate([np.zeros_like(found[:1]), found])[:, None]
    channels = np.broadcast_to(found, (3, *grid.shape))
    return Transform((DisplacementField(channels_to_mm(channels, grid).astype(np.float32), grid),))


def _measured(
    subjects: PreparedData, pair: Pair, fixed: int, moving: int, transform: Transform, threads: int
) -> dict[str, float | None]:
    found = evaluate(pair, transform, measures=("overlap", "regularity"), threads=threads)
    row: dict[str, float | None] = {
        "dice": found.after["dice_mean"],
        "dice_before": found.before["dice_mean"],
        "folds_percent": found.after["folding_percent"],
        "dice_held_out": None,
    }
    if subjects.held_out.any():
        grid = pair.fixed.grid
        maps = [LabelMap(np.broadcast_to(subjects.held_out[n], grid.shape), grid) for n in (fixed, moving)]
        other = replace(pair, fixed_labels=maps[0], moving_labels=maps[1])
        row["dice_held_out"] = evaluate(other, transform, measures=("overlap",), threads=threads).after["dice_mean"]
    return row


def _tensor(prepared: PreparedData, arrays: npt.NDArray[Any]) -> Tensor:
    """Return (N, Z, Y, X) arrays as a tensor, planes without their Z."""
    return torch.from_numpy(np.ascontiguousarray(arrays[:, 0] if prepared.flat else arrays))
