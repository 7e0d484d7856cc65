"""The list of losses: name -> factory with options, used by networks and by the torch optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..errors import SettingsError, did_you_mean
from . import overlap, regularity, similarity
from .mind import mind_ssc

Tensor = torch.Tensor
Compare = Callable[..., Tensor]
IMAGES, LABELS, FIELD = "images", "labels", "field"


@dataclass(frozen=True)
class Loss:
    """A loss, lower is better.

    Attributes
    ----------
    name, title : str
        Name used in settings, title shown to users.
    compares : str
        'images': called as `loss(fixed, warped, weight=None)`, weight (N, 1, *spatial); 'labels': called as
        `loss(fixed, warped)` with memberships; 'field': called as `loss(u)` with a field in voxels.
    function : callable
        The function that computes it.
    prepare : callable
        Preparation of an image; an optimizer can prepare once and warp the result.
    """

    name: str
    title: str
    compares: str
    function: Compare
    prepare: Callable[[Tensor], Tensor]

    def __call__(self, *tensors: Tensor | None) -> Tensor:
        """Return the loss of prepared tensors."""
        return self.function(*tensors)

    def of_images(self, fixed: Tensor, warped: Tensor) -> Tensor:
        """Return the loss of two images that are not prepared."""
        return self.function(self.prepare(fixed), self.prepare(warped))


def unchanged(image: Tensor) -> Tensor:
    """Return the unchanged image, the preparation of most losses."""
    return image


def _mind(*, radius: int = 1) -> tuple[Compare, Callable[[Tensor], Tensor]]:
    return similarity.mse, partial(mind_ssc, radius=radius)


LOSSES: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "mse": ("Mean squared difference", IMAGES, similarity.mse),
    "ncc": ("Global correlation", IMAGES, similarity.ncc),
    "lncc": ("Local correlation", IMAGES, similarity.lncc),
    "mi": ("Mutual information", IMAGES, similarity.mutual_information),
    "nmi": ("Normalized mutual information", IMAGES, similarity.normalized_mutual_information),
    "mind": ("MIND self-similarity", IMAGES, _mind),
    "soft-dice": ("Soft Dice", LABELS, overlap.soft_dice),
    "squared-dice": ("Soft Dice with squared sums", LABELS, overlap.squared_dice),
    "multiscale-dice": ("Soft Dice at several scales", LABELS, overlap.multiscale_dice),
    "diffusion": ("Squared first derivatives", FIELD, regularity.diffusion),
    "bending": ("Squared second derivatives", FIELD, regularity.bending),
    "folding": ("Negative Jacobian determinants", FIELD, regularity.folding),
    "antifold": ("Voxels mapped beyond their neighbors", FIELD, regularity.antifold),
}
"""Name -> title, kind of input, the function (or its factory, for losses that prepare images)."""


def loss_names(compares: str = "") -> tuple[str, ...]:
    """Return the names of all losses, or of those that compare 'images', 'labels' or a 'field'."""
    return tuple(name for name, (_, kind, _) in LOSSES.items() if compares in ("", kind))


def loss_options(name: str) -> Mapping[str, Any]:
    """Return the options of a loss and their defaults."""
    function = _entry(name)[2]
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def make_loss(name: str, **options: Any) -> Loss:
    """Return a loss by name.

    Parameters
    ----------
    name : str
        A key of `LOSSES`.
    **options
        Such as `radius` of 'lncc'; see `loss_options`.

    Raises
    ------
    SettingsError
        When there is no such loss or option.

    Examples
    --------
    >>> image = torch.rand(1, 1, 8, 8)
    >>> float(make_loss("ncc")(image, 2 * image + 1)) < 1e-4
    True
    """
    title, compares, function = _entry(name)
    known = loss_options(name)
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) if known else "It has no options."
            raise SettingsError(f"The loss '{name}' has no option '{option}'.", hint=hint)
    if function is _mind:
        return Loss(name, title, compares, *_mind(**options))
    return Loss(name, title, compares, partial(function, **options) if options else function, unchanged)


def accepted(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a loss supports (settings often include a radius for losses with windows)."""
    known = loss_options(name)
    return {option: value for option, value in options.items() if option in known}


def _entry(name: str) -> tuple[str, str, Callable[..., Any]]:
    if name not in LOSSES:
        raise SettingsError(f"There is no loss '{name}'.", hint=did_you_mean(name, LOSSES))
    return LOSSES[name]
