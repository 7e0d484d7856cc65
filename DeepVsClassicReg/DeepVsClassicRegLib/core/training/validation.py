"""Validates a network on fixed pairs: loss, Dice, folds; real pairs are registered by the engine."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from statistics import stdev

import torch

from ..errors import EngineFailed
from ..evaluation.evaluate import evaluate
from ..networks.base import Batch, LossContext, Method, Prediction, RegistrationNetwork
from ..networks.card import Card
from ..networks.flow import jacobian_determinant, warp
from ..pair import Pair
from ..transforms.transform import Transform
from .curves import mean_row

Tensor = torch.Tensor
MakeContext = Callable[[Prediction, Batch], LossContext]
Register = Callable[[RegistrationNetwork, Card, Pair], Transform]
"""Registers a pair with a network; a parameter, because training must not import engines."""
log = logging.getLogger(__name__)


@torch.no_grad()
def validate(
    network: RegistrationNetwork, method: Method, context: MakeContext, batches: Iterable[Batch]
) -> dict[str, float]:
    """Return the mean loss, Dice and folds over fixed batches; the mode of the network is restored.

    Returns
    -------
    dict
        'loss' and the method's own measures; of predicted maps 'folds_percent', and with labels 'dice' and
        'dice_before' (means over pairs of the mean over labels).
    """
    was_training = network.training
    network.eval()
    try:
        rows = [_judged(network, method, context, batch) for batch in batches]
    finally:
        network.train(was_training)
    return dict(sorted(mean_row(rows).items()))


def validate_pairs(
    network: RegistrationNetwork, card: Card, pairs: Iterable[Pair], register: Register, *, threads: int
) -> dict[str, float]:
    """Return the mean Dice and folds over real pairs, registered by the engine and measured by the common measures.

    Returns
    -------
    dict
        'dice' and its standard deviation 'dice_sd' (where pairs have labels of both images), 'folds_percent', and
        'failed_percent', the percentage of pairs that the engine refuses to register with this network (its field is
        not finite or longer than the volume); they have the Dice 0.
    """
    was_training, stage = network.training, network.stage
    network.eval()
    network.set_stage("")
    rows = []
    try:
        for pair in pairs:
            rows.append(_registered(network, card, pair, register, threads))
    finally:
        network.train(was_training)
        network.set_stage(stage)
    dice = [row["dice"] for row in rows if "dice" in row]
    return {**dict(sorted(mean_row(rows).items())), **({"dice_sd": stdev(dice)} if len(dice) > 1 else {})}


def _registered(
    network: RegistrationNetwork, card: Card, pair: Pair, register: Register, threads: int
) -> dict[str, float]:
    has_labels = pair.fixed_labels is not None and pair.moving_labels is not None
    try:
        transform = register(network, card, pair)
    except EngineFailed as error:
        log.warning("A validation pair was not registered: %s", error)
        return {"failed_percent": 100.0, **({"dice": 0.0} if has_labels else {})}
    found = evaluate(pair, transform, measures=("overlap", "regularity"), threads=threads).after
    row = {"failed_percent": 0.0, "folds_percent": found["folding_percent"]}
    if has_labels:
        row["dice"] = found["dice_mean"]
    return {name: float(value) for name, value in row.items() if value is not None}


def start_dice(pairs: Iterable[Pair], *, threads: int) -> float | None:
    """Return the mean Dice of real pairs at their linear start; None without labels."""
    found = []
    for pair in pairs:
        if pair.fixed_labels is not None and pair.moving_labels is not None:
            start = pair.initial or Transform()
            found.append(evaluate(pair, start, measures=("overlap",), threads=threads).after["dice_mean"])
    known = [float(value) for value in found if value is not None]
    return sum(known) / len(known) if known else None


def score(numbers: dict[str, float]) -> float:
    """Return the score to maximize: the Dice, or without labels the negative loss; -inf when it is not finite."""
    found = numbers["dice"] if "dice" in numbers else -numbers["loss"]
    return found if math.isfinite(found) else -math.inf


def hard_dice(fixed: Tensor, warped: Tensor) -> Tensor:
    """Return the Dice of every pair of memberships thresholded at one half, averaged over the present labels.

    Parameters
    ----------
    fixed, warped : (N, K, *spatial) tensors
        Memberships, 0 to 1.

    Returns
    -------
    (N,) tensor
    """
    inside, other = fixed > 0.5, warped > 0.5
    axes = tuple(range(2, fixed.ndim))
    whole = (inside.sum(axes) + other.sum(axes)).double()
    there = whole > 0
    dice = 2 * (inside & other).sum(axes).double() / whole.clamp(min=1)
    return (dice * there).sum(1) / there.sum(1).clamp(min=1)


def _judged(network: RegistrationNetwork, method: Method, context: MakeContext, batch: Batch) -> dict[str, float]:
    prediction = network(batch.fixed, batch.moving)
    seen = context(prediction, batch)
    terms = method.loss(seen)
    loss = float(torch.stack([term.detach().double() for term in terms.values()]).sum())
    found = {"loss": loss, **method.measures(seen)}
    if not isinstance(prediction, Prediction):
        return found
    displacement = prediction.displacement.float()
    # Not "<= 0": a field that is not finite counts as folded.
    found["folds_percent"] = 100 * float((~(jacobian_determinant(displacement) > 0)).double().mean())
    if batch.fixed_labels is not None and batch.moving_labels is not None:
        warped = warp(batch.moving_labels, displacement, padding="zeros")
        found["dice"] = float(hard_dice(batch.fixed_labels, warped).mean())
        found["dice_before"] = float(hard_dice(batch.fixed_labels, batch.moving_labels).mean())
    return found
