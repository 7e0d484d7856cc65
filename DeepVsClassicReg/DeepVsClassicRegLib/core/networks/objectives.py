"""Common terms of the losses of several methods, and the settings of these terms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from ..errors import RegistrationError, SettingsError, did_you_mean
from ..losses.catalogue import IMAGES, accepted, loss_names, make_loss
from ..losses.sampling import warp
from ..settings import option
from .base import Batch, LossContext, Prediction

Tensor = torch.Tensor
SIMILARITIES = loss_names(IMAGES)


def image_option(default: str = "lncc", *, tooltip: str = "") -> Any:
    """Return the setting `similarity`, the name of the image term."""
    return option(default, "Image term", tooltip=tooltip, choices=SIMILARITIES)


def radius_option(default: int = 4, *, tooltip: str = "Window of the local correlation.") -> Any:
    """Return the setting `radius` of the image term."""
    return option(default, "Window radius", tooltip=tooltip, unit="voxels", minimum=1, maximum=12)


def smoothness_option(
    default: float = 1.0, *, tooltip: str = "Weight of the squared slopes; about 1 with lncc, 0.02 with mse."
) -> Any:
    """Return the setting `smoothness`, the weight of a term that penalizes rough fields."""
    return option(default, "Smoothness", tooltip=tooltip, minimum=0.0)


def label_option(default: float = 1.0, *, tooltip: str = "Weight of 1 - soft Dice when trained with labels.") -> Any:
    """Return the setting `label_weight`."""
    return option(default, "Label weight", tooltip=tooltip, minimum=0.0)


def image_term(name: str, batch: Batch, displacement: Tensor, **options: Any) -> Tensor:
    """Return the dissimilarity of the fixed and the warped moving image.

    Parameters
    ----------
    name : str
        One of `SIMILARITIES`.
    batch : Batch
        The pairs.
    displacement : (N, D, *spatial) tensor
        Displacement for sampling the moving images.
    **options
        Options of the loss; unsupported ones are ignored.

    Raises
    ------
    SettingsError
        When there is no such similarity.
    """
    if name not in SIMILARITIES:
        raise SettingsError(f"There is no image term '{name}'.", hint=did_you_mean(name, SIMILARITIES))
    return make_loss(name, **accepted(name, options)).of_images(batch.fixed, warp(batch.moving, displacement))


def label_term(batch: Batch, displacement: Tensor, name: str = "soft-dice", **options: Any) -> Tensor:
    """Return a loss between the fixed and the warped moving labels, by default 1 minus the mean soft Dice.

    Raises
    ------
    RegistrationError
        When the batch has no labels.
    """
    fixed, moving = labels_of(batch)
    return make_loss(name, **options)(fixed, warp(moving, displacement))


def displacement_term(batch: Batch, displacement: Tensor) -> Tensor:
    """Return the mean squared distance between a displacement and the one to learn, squared voxels.

    Raises
    ------
    RegistrationError
        When the batch contains no displacement.
    """
    return (displacement - known_displacement(batch)).square().sum(1).mean()


def supervised_terms(
    prediction: Prediction, batch: Batch, supervision: str, *, labels: float = 1.0, displacement: float = 1.0
) -> dict[str, Tensor]:
    """Return the weighted terms of the supervision; empty without supervision."""
    if supervision == "labels":
        return {"labels": labels * label_term(batch, prediction.displacement)}
    if supervision == "displacement":
        return {"displacement": displacement * displacement_term(batch, prediction.displacement)}
    return {}


def weighted_terms(context: LossContext, roughness: Tensor, *, displacement: float = 1.0) -> dict[str, Tensor]:
    """Return the image, smoothness and supervised terms of a loss, weighted by the settings of the method.

    Parameters
    ----------
    context : LossContext
        Its settings have `similarity`, `radius`, `smoothness` and `label_weight`.
    roughness : tensor
        The penalty weighted by `smoothness`.
    displacement : float
        Weight of the displacement term, for methods that can learn from known displacements.
    """
    prediction, batch, settings = context.prediction, context.batch, context.settings
    return {
        "image": image_term(settings.similarity, batch, prediction.displacement, radius=settings.radius),
        "smoothness": settings.smoothness * roughness,
        **supervised_terms(
            prediction, batch, context.supervision, labels=settings.label_weight, displacement=displacement
        ),
    }


def weighted_terms_both_ways(context: LossContext, roughness: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return `weighted_terms` as the mean over both directions of a prediction with `backward`.

    Parameters
    ----------
    context : LossContext
        As for `weighted_terms`.
    roughness : callable
        Returns the penalty of a displacement.
    """
    back = context.prediction.backward
    assert back is not None
    other = dataclasses.replace(context, prediction=back, batch=swapped(context.batch))
    there, here = (weighted_terms(each, roughness(each.prediction.displacement)) for each in (context, other))
    return {name: (there[name] + here[name]) / 2 for name in there}


def supervised_terms_both_ways(
    there: Prediction, back: Prediction, batch: Batch, supervision: str, *, labels: float
) -> dict[str, Tensor]:
    """Return the supervised terms of both directions, half the weight each."""
    terms = supervised_terms(there, batch, supervision, labels=labels / 2)
    for name, term in supervised_terms(back, swapped(batch), supervision, labels=labels / 2).items():
        terms[name] = terms[name] + term
    return terms


def swapped(batch: Batch) -> Batch:
    """Return the batch with fixed and moving swapped, without a known displacement, whose inverse is not known."""
    return Batch(batch.moving, batch.fixed, batch.moving_labels, batch.fixed_labels)


def labels_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the labels of both images; `RegistrationError` when one is missing."""
    if batch.fixed_labels is None or batch.moving_labels is None:
        raise RegistrationError(
            "Training with labels needs labels of both images of every pair.",
            hint="Use data with label maps, or train with supervision 'none'.",
        )
    return batch.fixed_labels, batch.moving_labels


def known_displacement(batch: Batch) -> Tensor:
    """Return the displacement to learn; `RegistrationError` when the batch contains none."""
    if batch.displacement is None:
        raise RegistrationError(
            "This training needs pairs whose displacement is known.",
            hint="Use generated pairs (shapes, labels:FOLDER), or --teacher ENGINE for real pairs.",
        )
    return batch.displacement


def known_momentum(batch: Batch) -> Tensor:
    """Return the momentum to learn; `RegistrationError` when the batch holds none."""
    if batch.momentum is None:
        raise RegistrationError(
            "Training with supervision 'momentum' needs pairs whose momentum the method's teacher has found.",
            hint="Give a dataset; generated pairs have none.",
        )
    return batch.momentum


def checked_supervision(supervision: str, allowed: tuple[str, ...]) -> str:
    """Return the supervision.

    Raises
    ------
    SettingsError
        When the method does not support it.
    """
    if supervision not in allowed:
        raise SettingsError(f"There is no supervision '{supervision}'.", hint=did_you_mean(supervision, allowed))
    return supervision
