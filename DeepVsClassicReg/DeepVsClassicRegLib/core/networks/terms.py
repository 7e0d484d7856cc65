"""Terms that the training objectives of several methods share."""

from __future__ import annotations

import torch

from ..errors import RegistrationError, SettingsError, did_you_mean
from ..losses.overlap import soft_dice
from ..losses.similarity import lncc, mse
from .base import Batch
from .flow import warp

Tensor = torch.Tensor
SIMILARITIES = ("lncc", "mse")


def image_term(name: str, batch: Batch, displacement: Tensor, *, radius: int) -> Tensor:
    """Return how unlike the fixed and the warped moving image are.

    Parameters
    ----------
    name : str
        One of `SIMILARITIES`.
    batch : Batch
        The pairs.
    displacement : (N, D, *spatial) tensor
        Where the moving images are sampled.
    radius : int
        Of the windows of 'lncc'.

    Raises
    ------
    SettingsError
        When there is no such similarity.
    """
    if name not in SIMILARITIES:
        raise SettingsError(f"There is no image term '{name}'.", hint=did_you_mean(name, SIMILARITIES))
    warped = warp(batch.moving, displacement)
    return mse(batch.fixed, warped) if name == "mse" else lncc(batch.fixed, warped, radius=radius)


def label_term(batch: Batch, displacement: Tensor) -> Tensor:
    """Return 1 minus the mean soft Dice of the fixed and the warped moving labels.

    Raises
    ------
    RegistrationError
        When the batch has no labels.
    """
    if batch.fixed_labels is None or batch.moving_labels is None:
        raise RegistrationError(
            "Training with labels needs labels of both images of every pair.",
            hint="Give data with label maps, or train with supervision 'none'.",
        )
    return soft_dice(batch.fixed_labels, warp(batch.moving_labels, displacement))


def checked_supervision(supervision: str, allowed: tuple[str, ...]) -> str:
    """Return the supervision.

    Raises
    ------
    SettingsError
        When the method does not know it.
    """
    if supervision not in allowed:
        raise SettingsError(f"There is no supervision '{supervision}'.", hint=did_you_mean(supervision, allowed))
    return supervision
