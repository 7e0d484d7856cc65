"""Models whose answer tells how far two images are apart: which there are, and one of them as a loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..networks.card import Model
from ..networks.model_store import AUTO, choose_model

if TYPE_CHECKING:
    import torch

KINDS = ("metric", "error")  # models whose answer is a dissimilarity, the preferred kind first
PREFIX = "metric:"  # in front of the name of a model where a similarity is asked for


def metric_model(name: str = AUTO) -> Model:
    """Return a model whose answer is a dissimilarity; see `choose_model`."""
    return choose_model(name, KINDS, "A learned metric")


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
