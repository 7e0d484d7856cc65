"""Models as similarities of the engine `instance`: the difference of features of a model, and learned metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileError, RegistrationError
from ..networks.card import Model
from ..networks.model_store import AUTO, choose_model

if TYPE_CHECKING:
    import torch

    from ..networks.ssemnet import FeatureDifference

METRIC_KINDS = ("metric", "error")  # models whose answer is a dissimilarity, the preferred kind first
METRIC_PREFIX = "metric:"  # in front of the name of a model where a similarity is asked for
FEATURE_KIND = "features"
FEATURE_PREFIX = "features:"  # in front of the name of a model where a similarity is asked for


def metric_model(name: str = AUTO) -> Model:
    """Return a model whose answer is a dissimilarity; see `choose_model`."""
    return choose_model(name, METRIC_KINDS, "A learned metric")


def is_metric(similarity: str) -> bool:
    """Return whether the name of a similarity names a model."""
    return similarity.startswith(METRIC_PREFIX)


def metric_loss(similarity: str, device: str) -> Callable[..., torch.Tensor]:
    """Return the loss `loss(fixed, warped, weight)` of a model named 'metric:MODEL', on a device."""
    from ..networks.patch import dissimilarity

    model = metric_model(similarity.removeprefix(METRIC_PREFIX) or AUTO)
    return partial(dissimilarity, _network(model.folder, model.card.sha256, device))


def feature_model(name: str = AUTO, *, dimensions: int = 3) -> Model:
    """Return a model whose answer is features.

    Parameters
    ----------
    name : str
        Its name or folder; 'auto' is the first one that was trained on images of these dimensions.
    dimensions : int
        2 for single slices, 3 for volumes. A model of 2D images also compares volumes, slice by slice.

    Raises
    ------
    FileError
        When there is none of this name, or none at all.
    RegistrationError
        When it is of another kind, or of volumes and the pair is a single slice.
    """
    from ..networks.model_store import find_models, get_model

    if name == AUTO:
        known = [
            model for model in find_models() if model.card.kind == FEATURE_KIND and model.card.dimensions <= dimensions
        ]
        if not known:
            raise FileError(
                "No model of the kind 'features' is installed for these images.",
                hint="Train one on your images: dvcreg train --method ssemnet.",
            )
        return max(known, key=lambda model: model.card.dimensions)
    model = get_model(name)
    if model.card.kind != FEATURE_KIND:
        raise RegistrationError(
            f"Model '{model.card.name}' is of kind '{model.card.kind}'; one of kind 'features' is needed.",
            hint="Choose a model of the kind 'features' (`dvcreg models`), or train one: --method ssemnet.",
        )
    if model.card.dimensions > dimensions:
        raise RegistrationError(
            f"Model '{model.card.name}' has features of volumes, not of single slices.",
            hint="Train one on 2D images (--size X,Y).",
        )
    return model


def is_features(similarity: str) -> bool:
    """Return whether the name of a similarity names a model of features."""
    return similarity.startswith(FEATURE_PREFIX)


def feature_loss(similarity: str, fixed: torch.Tensor, device: str) -> FeatureDifference:
    """Return the loss of a model named 'features:MODEL' against a fixed image (1, 1, Z, Y, X), on a device."""
    from ..networks.ssemnet import FeatureDifference

    dimensions = 2 if 1 in fixed.shape[2:] else 3
    model = feature_model(similarity.removeprefix(FEATURE_PREFIX) or AUTO, dimensions=dimensions)
    return FeatureDifference(_network(model.folder, model.card.sha256, device), fixed)


@lru_cache(maxsize=4)
def _network(folder: Path, _sha256: str, device: str) -> Any:
    """Return the network of a model; every level of a pyramid asks for it."""
    from ..networks.model_store import load_model

    return load_model(folder)[1].to(device).requires_grad_(False)
