"""Sources of training batches; `source_factory` creates those of a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..images.volume import Volume
from ..networks.base import Batch
from ..pair import Pair


class Source(Protocol):
    """Generated or real pairs on one grid.

    A source has no state: `sample(step)` does not depend on previous samples, so that training can be resumed exactly.
    It does not use the global random generators. With w processes, process r uses `sample(step * w + r)`.

    Attributes
    ----------
    size : tuple of int
        (X, Y, Z) of every batch; (X, Y) for 2D images.
    spacing_mm : float
        Isotropic voxel size of that grid.
    labels : mapping of int to str
        Label value -> name, in the order of the label channels of a batch; empty without labels.
    licence : str
        License of the data in words, for the card.
    """

    size: tuple[int, ...]
    spacing_mm: float
    labels: Mapping[int, str]
    licence: str

    def sample(self, step: int) -> Batch:
        """Return the batch of a step, on the device of the source."""
        ...

    def validation(self) -> Sequence[Batch]:
        """Return the validation pairs, always the same, never among the training samples; labels give a Dice."""
        ...

    def validation_pairs(self) -> Sequence[Pair]:
        """Return the original volumes of the validation pairs, none for generated ones; see `validate_pairs`."""
        ...

    def domain_examples(self) -> Sequence[Volume]:
        """Return a few images like those that users register, for the statistics on the card (2D images with Z = 1)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the description of the data for the card, as plain JSON values."""
        ...


class LazyBatches(Sequence[Batch]):
    """Batches that are created on access, so that many of them need no memory.

    Parameters
    ----------
    count : int
        Number of batches.
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
    """A source with changed training batches; see `Source`.

    Parameters
    ----------
    inner : Source
        The original source.
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
        """Return the changed batch, a function of batch, seed and step only."""
        raise NotImplementedError

    def validation(self) -> Sequence[Batch]:
        """Return the validation batches of the original source."""
        return self.inner.validation()

    def validation_pairs(self) -> Sequence[Pair]:
        """Return the validation pairs of the original source."""
        return self.inner.validation_pairs()

    def domain_examples(self) -> Sequence[Volume]:
        """Return the examples of the original source."""
        return self.inner.domain_examples()

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return self.inner.describe()
