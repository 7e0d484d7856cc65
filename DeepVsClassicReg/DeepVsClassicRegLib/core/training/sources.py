"""Sources of batches: what a training learns from; `source_factory` makes those of a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..images.volume import Volume
from ..networks.base import Batch
from ..pair import Pair


class Source(Protocol):
    """Generated or real pairs on one grid.

    A source has no memory: `sample(step)` returns the same batch whatever was sampled before, which is all that an
    exact resume needs. It never touches the global random generators. With several processes the trainer asks
    process r of w for `sample(step * w + r)`.

    Attributes
    ----------
    size : tuple of int
        (X, Y, Z) of every batch; (X, Y) for plane images.
    spacing_mm : float
        Isotropic voxel size of that grid.
    labels : mapping of int to str
        Label value -> name, in the order of the label channels of a batch; empty without labels.
    licence : str
        What the data allow, in words, for the card.
    """

    size: tuple[int, ...]
    spacing_mm: float
    labels: Mapping[int, str]
    licence: str

    def sample(self, step: int) -> Batch:
        """Return the batch of a step, on the device the source was made for."""
        ...

    def validation(self) -> Sequence[Batch]:
        """Return fixed pairs, always the same, never among the training samples; those with labels give a Dice."""
        ...

    def validation_pairs(self) -> Sequence[Pair]:
        """Return the same pairs as the user would register them, none for generated ones; see `validate_pairs`."""
        ...

    def domain_examples(self) -> Sequence[Volume]:
        """Return a few images as the network sees them, for the statistics on the card (plane images with Z = 1)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data, as plain JSON values."""
        ...


class LazyBatches(Sequence[Batch]):
    """Batches that are made when they are looked at, so that many of them need no memory.

    Parameters
    ----------
    count : int
        How many.
    make : callable
        Returns the batch of a number.
    """

    def __init__(self, count: int, make: Callable[[int], Batch]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __getitem__(self, index: Any) -> Any:
        """Return a batch, or the batches of a slice."""
        if isinstance(index, slice):
            return [self._make(number) for number in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._make(index % self._count)


class WrappedSource:
    """Everything as in the source inside, but for the training batches; see `Source`.

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
