"""Models whose answer tells how far two images are apart: which there are, and one of them as a loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileError, RegistrationError
from ..networks.card import Model

if TYPE_CHECKING:
    import torch

AUTO = "auto"
KINDS = ("metric", "error")  # models whose answer is a dissimilarity, the preferred kind first
PREFIX = "metric:"  # in front of the name of a model where a similarity is asked for


def metric_model(name: str = AUTO) -> Model:
    """Return a model whose answer is a dissimilarity.

    Raises
    ------
    FileError
        When there is none of this name, or none at all.
    RegistrationError
        When it is of another kind.
    """
    from ..networks.model_store import find_models, get_model

    if name == AUTO:
        known = [model for model in find_models() if model.card.dimensions == 3]
        found = [model for kind in KINDS for model in known if model.card.kind == kind]
        if not found:
            raise FileError("No model of the kind 'metric' is installed.", hint="Give a model folder by name.")
        return found[0]
    model = get_model(name)
    if model.card.kind not in KINDS or model.card.dimensions != 3:
        raise RegistrationError(
            f"Model '{model.card.name}' is of kind '{model.card.kind}' ({model.card.dimensions}D); a metric is needed.",
            hint="Choose a model of the kind 'metric' or 'error' for volumes (`dvcreg models`).",
        )
    return model


def is_metric(similarity: str) -> bool:
    """Return whether the name of a similarity names a model."""
    return similarity.startswith(PREFIX)


def metric_loss(similarity: str, device: str) -> Callable[..., torch.Tensor]:
    """Return the loss `loss(fixed, warped, weight)` of a model named 'metric:MODEL', on a device."""
    from ..networks.patch import dissimilarity

    model = metric_model(similarity.removeprefix(PREFIX) or AUTO)
    return partial(dissimilarity, _network(model.folder, model.card.sha256, device))


@lru_cache(maxsize=2)
def _network(folder: Path, _sha256: str, device: str) -> Any:
    """Return the network of a model; every level of a pyramid asks for it."""
    from ..networks.model_store import load_model

    return load_model(folder)[1].to(device).requires_grad_(False)
