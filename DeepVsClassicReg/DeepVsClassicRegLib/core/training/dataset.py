"""Real pairs as a training source: every epoch shows every training pair once, in an order drawn with the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import RegistrationError
from ..images.volume import Volume
from ..networks.base import Batch
from ..progress import Progress
from .listing import Listing
from .prepare import Array, Frame, prepared

EXAMPLES = 30


class DatasetSource:
    """Pairs of a dataset on a common grid.

    Parameters
    ----------
    listing : Listing
        Cases and pairs.
    frame : Frame
        The grid, and how cases get there.
    cache : Path
        Folder for prepared arrays.
    seed : int
        Decides the order of the pairs.
    batch : int
        Pairs per step.
    labels_per_step : int
        Labels shown per step, drawn among those of the fixed image; 0 for all.
    progress : Progress, optional
        Told which case is being prepared.

    Raises
    ------
    FileError, RegistrationError
        When a case cannot be read or lies beyond the grid.
    """

    def __init__(
        self,
        listing: Listing,
        frame: Frame,
        cache: Path,
        *,
        seed: int,
        batch: int = 1,
        labels_per_step: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.listing, self.frame = listing, frame
        self.seed, self.batch, self.labels_per_step = seed, batch, labels_per_step
        self.size: tuple[int, ...] = frame.grid.size
        self.spacing_mm = float(frame.grid.spacing_mm[0])
        self.licence = listing.licence or "not stated by the dataset"
        self._cases = []
        for number, case in enumerate(listing.cases, start=1):
            (progress or Progress()).report(0.0, f"Preparing {case.name}, {number} of {len(listing.cases)}")
            self._cases.append(prepared(case, frame, cache))
        self._used = sorted({place for pair in listing.training for place in pair})
        self.labels: Mapping[int, str] = self._label_names()
        self._channel_of = self._channels()
        self._epoch: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def sample(self, step: int) -> Batch:
        """Return the batch of a step."""
        pairs = [self._pair_at(step * self.batch + number) for number in range(self.batch)]
        if not self.labels:
            return self._batch(pairs)
        return self._batch(pairs, self._chosen(step, pairs))

    def validation(self) -> Sequence[Batch]:
        """Return the validation pairs with all labels."""
        every = np.arange(1, len(self.labels) + 1)
        return [self._batch([pair], every if self._has_labels(pair) else None) for pair in self.listing.validation]

    def domain_examples(self) -> Sequence[Volume]:
        """Return training images on the grid."""
        chosen = self._used[:: max(1, len(self._used) // EXAMPLES)][:EXAMPLES]
        return [
            Volume(np.asarray(self._cases[place][0], np.float32), self.frame.grid, self.listing.cases[place].name)
            for place in chosen
        ]

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {
            "kind": "dataset",
            "name": self.listing.name,
            "training_cases": len(self._used),
            "training_pairs": len(self.listing.training),
            "validation_pairs": len(self.listing.validation),
            "labels": len(self.labels),
            "labels_per_step": self.labels_per_step,
            "size": list(self.size),
            "spacing_mm": self.spacing_mm,
            "batch": self.batch,
            "linear": "" if self.frame.template is None else self.frame.template.name,
            "licence": self.licence,
        }

    def _label_names(self) -> dict[int, str]:
        """Return the labels of the training cases; none when a training case lacks a segmentation."""
        maps = [self._cases[place][1] for place in self._used]
        found: set[int] = set()
        for labels in maps:
            if labels is None:
                return {}
            found |= {int(value) for value in np.unique(labels) if value > 0}
        return {value: self.listing.label_names.get(value, f"label {value}") for value in sorted(found)}

    def _channels(self) -> npt.NDArray[np.int64]:
        table = np.zeros(max(self.labels, default=0) + 1, np.int64)
        table[list(self.labels)] = np.arange(1, len(self.labels) + 1)
        return table

    def _pair_at(self, index: int) -> tuple[int, int]:
        count = len(self.listing.training)
        epoch, place = divmod(index, count)
        if self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng([self.seed, epoch]).permutation(count)
        return self.listing.training[int(self._epoch[1][place])]

    def _chosen(self, step: int, pairs: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
        every = np.arange(1, len(self.labels) + 1)
        if not 0 < self.labels_per_step < len(every):
            return every
        there = np.unique(np.concatenate([np.unique(self._numbers(fixed)) for fixed, _moving in pairs]))
        there = there[there > 0]
        if len(there) < self.labels_per_step:
            there = every
        order = np.random.default_rng([self.seed, 1, step]).permutation(there)
        return np.sort(order[: self.labels_per_step])

    def _has_labels(self, pair: tuple[int, int]) -> bool:
        return bool(self.labels) and all(self._cases[place][1] is not None for place in pair)

    def _numbers(self, place: int) -> Array:
        labels = self._cases[place][1]
        if labels is None:
            raise RegistrationError(f"'{self.listing.cases[place].name}' has no segmentation.")
        known = np.where((labels > 0) & (labels < len(self._channel_of)), labels, 0)
        return np.asarray(self._channel_of[known])

    def _batch(self, pairs: Sequence[tuple[int, int]], chosen: npt.NDArray[np.int64] | None = None) -> Batch:
        sides = list(zip(*pairs, strict=True))
        fixed, moving = (torch.stack([self._image(place) for place in places]) for places in sides)
        if chosen is None:
            return Batch(fixed, moving)
        members = [torch.stack([self._members(place, chosen) for place in places]) for places in sides]
        return Batch(fixed, moving, members[0], members[1])

    def _image(self, place: int) -> torch.Tensor:
        return torch.from_numpy(np.asarray(self._cases[place][0], np.float32))[None]

    def _members(self, place: int, chosen: npt.NDArray[np.int64]) -> torch.Tensor:
        numbers = torch.from_numpy(self._numbers(place))
        return (torch.from_numpy(chosen).view(-1, 1, 1, 1) == numbers).float()
