"""Judging a network on fixed pairs: objective, Dice before and after, folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..networks.base import Batch, Method
from ..networks.flow import jacobian_determinant, warp

Tensor = torch.Tensor


@torch.no_grad()
def validate(
    module: nn.Module, method: Method, settings: Any, supervision: str, batches: Iterable[Batch]
) -> dict[str, float]:
    """Return the mean objective, Dice and folds over fixed pairs; the module is put back into its mode.

    Returns
    -------
    dict
        'loss', 'folds_percent', and with labels 'dice' and 'dice_before' (means over pairs of the mean over labels).
    """
    was_training = module.training
    module.eval()
    try:
        rows = [_judged(module, method, settings, supervision, batch) for batch in batches]
    finally:
        module.train(was_training)
    names = sorted({name for row in rows for name in row})
    return {name: _mean([row[name] for row in rows if name in row]) for name in names}


def score(numbers: dict[str, float]) -> float:
    """Return what is to be maximized: the Dice, or without labels the negative objective."""
    return numbers["dice"] if "dice" in numbers else -numbers["loss"]


def hard_dice(fixed: Tensor, warped: Tensor) -> Tensor:
    """Return the Dice of every pair of memberships cut at one half, averaged over the labels that are there.

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


def supervised(batch: Batch, supervision: str) -> Batch:
    """Return the batch as the objective may see it: without labels when the training is unsupervised."""
    return batch if supervision == "labels" else Batch(batch.fixed, batch.moving)


def packed(batch: Batch) -> Batch:
    """Return the batch on the CPU with 16 bit memberships: many labels of many pairs wait there for long."""
    images = batch.fixed.cpu(), batch.moving.cpu()
    if batch.fixed_labels is None or batch.moving_labels is None:
        return Batch(*images)
    return Batch(*images, batch.fixed_labels.half().cpu(), batch.moving_labels.half().cpu())


def unpacked(batch: Batch) -> Batch:
    """Return a packed batch with 32 bit memberships."""
    if batch.fixed_labels is None or batch.moving_labels is None:
        return batch
    return Batch(batch.fixed, batch.moving, batch.fixed_labels.float(), batch.moving_labels.float())


def _judged(module: nn.Module, method: Method, settings: Any, supervision: str, batch: Batch) -> dict[str, float]:
    prediction = module(batch.fixed, batch.moving)
    terms = method.loss(prediction, supervised(batch, supervision), settings, supervision)
    displacement = prediction.displacement.float()
    found = {
        "loss": float(torch.stack([term.detach().double() for term in terms.values()]).sum()),
        "folds_percent": 100 * float((jacobian_determinant(displacement) <= 0).double().mean()),
    }
    if batch.fixed_labels is not None and batch.moving_labels is not None:
        warped = warp(batch.moving_labels, displacement, padding="zeros")
        found["dice"] = float(hard_dice(batch.fixed_labels, warped).mean())
        found["dice_before"] = float(hard_dice(batch.fixed_labels, batch.moving_labels).mean())
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
