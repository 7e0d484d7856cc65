"""A source that changes the batches of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..images.volume import Volume
from ..networks.base import Batch
from ..pair import Pair
from .sources import Source


class WrappedSource:
    """Everything as in the source inside, but for the training batches; see `sources.Source`.

    Parameters
    ----------
    inner : Source
        Where the batches come from.
    """

    def __init__(self, inner: Source) -> None:
        self.inner = inner
        self.size: tuple[int, ...] = inner.size
        self.spacing_mm: float = inner.spacing_mm
        self.labels: Mapping[int, str] = inner.labels
        self.licence: str = inner.licence

    def sample(self, step: int) -> Batch:
        """Return the changed batch of a step."""
        return self.changed(self.inner.sample(step), step)

    def changed(self, batch: Batch, step: int) -> Batch:
        """Return what becomes of a batch; a function of the batch, the seed and the step alone."""
        raise NotImplementedError

    def validation(self) -> Sequence[Batch]:
        """Return the validation batches of the source inside."""
        return self.inner.validation()

    def validation_pairs(self) -> Sequence[Pair]:
        """Return the validation pairs of the source inside."""
        return self.inner.validation_pairs()

    def domain_examples(self) -> Sequence[Volume]:
        """Return the examples of the source inside."""
        return self.inner.domain_examples()

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return self.inner.describe()
