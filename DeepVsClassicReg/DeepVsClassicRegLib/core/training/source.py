"""What a training learns from: a source of batches that are a function of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..images.volume import Volume
    from ..networks.base import Batch


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

    def domain_examples(self) -> Sequence[Volume]:
        """Return a few images as the network sees them, for the statistics on the card (plane images with Z = 1)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data, as plain JSON values."""
        ...
