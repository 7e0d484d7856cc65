"""Real pairs as a training source: every epoch uses each training pair once, in random order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import RegistrationError
from ..images.io import read_labels
from ..images.volume import Volume
from ..networks.base import Batch
from ..pair import Pair
from ..progress import Progress
from ..transforms.transform import Transform
from .manifest import Manifest, with_labels
from .preprocessing import Align, Array, Frame, preprocessed, read_case
from .sources import LazyBatches
from .teacher import Teacher

EXAMPLES = 30


class DatasetSource:
    """Pairs of a dataset on a common grid.

    Parameters
    ----------
    manifest : Manifest
        Cases and pairs.
    frame : Frame
        The grid, and the alignment of cases to it.
    cache : Path
        Folder for preprocessed arrays.
    seed : int
        Determines the order of the pairs.
    batch : int
        Pairs per step.
    labels_per_step : int
        Number of random labels of the fixed image per step; 0 for all.
    partial_labels : bool
        Whether batches may contain labels of one side only; otherwise labels are used when all training cases have
        some.
    teacher : Teacher, optional
        Provides fields of the batches.
    teacher_pairs : int
        Number of training pairs for the teacher.
    align : callable, optional
        `align(fixed, moving)` returns the linear map with which the engine starts; used for `validation_pairs`.
    progress : Progress, optional
        Receives the case being prepared.

    Raises
    ------
    FileError, RegistrationError
        When a case cannot be read or is outside the grid.
    """

    def __init__(
        self,
        manifest: Manifest,
        frame: Frame,
        cache: Path,
        *,
        seed: int,
        batch: int = 1,
        labels_per_step: int = 0,
        partial_labels: bool = False,
        teacher: Teacher | None = None,
        teacher_pairs: int = 0,
        align: Align | None = None,
        progress: Progress | None = None,
    ) -> None:
        if teacher is not None and len(manifest.training) > teacher_pairs > 0:
            chosen = np.random.default_rng([seed, 2]).permutation(len(manifest.training))[:teacher_pairs]
            manifest = replace(manifest, training=tuple(manifest.training[place] for place in sorted(chosen)))
        if partial_labels:
            manifest = with_labels(manifest)
        self.manifest, self.frame = manifest, frame
        self.partial_labels, self.teacher, self._align = partial_labels, teacher, align
        self._starts: dict[tuple[int, int], Transform] = {}
        self.seed, self.batch, self.labels_per_step = seed, batch, labels_per_step
        self.size: tuple[int, ...] = frame.grid.size
        self.spacing_mm = float(frame.grid.spacing_mm[0])
        self.licence = manifest.licence or "not stated by the dataset"
        self._cases = []
        for number, case in enumerate(manifest.cases, start=1):
            (progress or Progress()).report(0.0, f"Preparing {case.name}, {number} of {len(manifest.cases)}")
            self._cases.append(preprocessed(case, frame, cache))
        self._used = sorted({place for pair in manifest.training for place in pair})
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
        pairs, every = self.manifest.validation, np.arange(1, len(self.labels) + 1)
        if not pairs:
            return []
        return LazyBatches(len(pairs), lambda number: self._batch([pairs[number]], every if self.labels else None))

    def validation_pairs(self) -> Sequence[Pair]:
        """Return the validation pairs with their original volumes and label maps, linearly aligned."""
        return [self._original(pair) for pair in self.manifest.validation]

    def domain_examples(self) -> Sequence[Volume]:
        """Return training images as they were before they were resampled to the training grid, like those of users."""
        chosen = self._used[:: max(1, len(self._used) // EXAMPLES)][:EXAMPLES]
        return [read_case(self.manifest.cases[place]) for place in chosen]

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {
            "kind": "dataset",
            "name": self.manifest.name,
            "training_cases": len(self._used),
            "training_pairs": len(self.manifest.training),
            "validation_pairs": len(self.manifest.validation),
            "labels": len(self.labels),
            "labels_per_step": self.labels_per_step,
            "size": list(self.size),
            "spacing_mm": self.spacing_mm,
            "batch": self.batch,
            "linear": "" if self.frame.template is None else self.frame.template.name,
            "licence": self.licence,
            **({} if self.teacher is None else {"teacher": self.teacher.name}),
        }

    def _label_names(self) -> dict[int, str]:
        """Return the labels of the training cases; empty when a case has none and partial labels are not used."""
        maps = [self._cases[place][1] for place in self._used]
        found: set[int] = set()
        for labels in maps:
            if labels is None:
                if not self.partial_labels:
                    return {}
                continue
            found |= {int(value) for value in np.unique(labels) if value > 0}
        return {value: self.manifest.label_names.get(value, f"label {value}") for value in sorted(found)}

    def _channels(self) -> npt.NDArray[np.int64]:
        table = np.zeros(max(self.labels, default=0) + 1, np.int64)
        table[list(self.labels)] = np.arange(1, len(self.labels) + 1)
        return table

    def _pair_at(self, index: int) -> tuple[int, int]:
        count = len(self.manifest.training)
        epoch, place = divmod(index, count)
        if self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng([self.seed, epoch]).permutation(count)
        return self.manifest.training[int(self._epoch[1][place])]

    def _chosen(self, step: int, pairs: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
        every = np.arange(1, len(self.labels) + 1)
        if not 0 < self.labels_per_step < len(every):
            return every
        shown = [place for pair in pairs for place in pair if self._cases[place][1] is not None]
        first = [fixed for fixed, _moving in pairs if fixed in shown] or shown
        there = np.unique(np.concatenate([np.unique(self._numbers(place)) for place in first] or [np.zeros(1)]))
        there = there[there > 0]
        if len(there) < self.labels_per_step:
            there = every
        order = np.random.default_rng([self.seed, 1, step]).permutation(there)
        return np.sort(order[: self.labels_per_step])

    def _numbers(self, place: int) -> Array:
        labels = self._cases[place][1]
        if labels is None:
            raise RegistrationError(f"'{self.manifest.cases[place].name}' has no segmentation.")
        known = np.where((labels > 0) & (labels < len(self._channel_of)), labels, 0)
        return np.asarray(self._channel_of[known])

    def _batch(self, pairs: Sequence[tuple[int, int]], chosen: npt.NDArray[np.int64] | None = None) -> Batch:
        sides = list(zip(*pairs, strict=True))
        fixed, moving = (torch.stack([self._image(place) for place in places]) for places in sides)
        members = [None if chosen is None else self._members_of(places, chosen) for places in sides]
        if not self.partial_labels and None in members:
            members = [None, None]
        batch = Batch(fixed, moving, members[0], members[1])
        if self.teacher is None:
            return batch
        return replace(batch, **{self.teacher.fills: torch.stack([self._taught(self.teacher, pair) for pair in pairs])})

    def _taught(self, teacher: Teacher, pair: tuple[int, int]) -> torch.Tensor:
        """Return the field of the teacher for a pair, (3, Z, Y, X) voxels."""
        fixed, moving = (self._volume(place) for place in pair)
        return torch.from_numpy(np.asarray(teacher.field(fixed, moving), np.float32))

    def _volume(self, place: int) -> Volume:
        image = np.asarray(self._cases[place][0], np.float32)
        return Volume(image, self.frame.grid, self.manifest.cases[place].name)

    def _original(self, pair: tuple[int, int]) -> Pair:
        volumes = [read_case(self.manifest.cases[place]) for place in pair]
        paths = [self.manifest.cases[place].labels for place in pair]
        maps = [None if path is None else read_labels(path) for path in paths]
        if pair not in self._starts:
            self._starts[pair] = Transform() if self._align is None else self._align(volumes[0], volumes[1])
        start = self._starts[pair]
        return Pair(volumes[0], volumes[1], fixed_labels=maps[0], moving_labels=maps[1], initial=start)

    def _members_of(self, places: Sequence[int], chosen: npt.NDArray[np.int64]) -> torch.Tensor | None:
        """Return the memberships of some cases, None when one of them has no segmentation."""
        if any(self._cases[place][1] is None for place in places):
            return None
        return torch.stack([self._members(place, chosen) for place in places])

    def _image(self, place: int) -> torch.Tensor:
        return torch.from_numpy(np.asarray(self._cases[place][0], np.float32))[None]

    def _members(self, place: int, chosen: npt.NDArray[np.int64]) -> torch.Tensor:
        numbers = torch.from_numpy(self._numbers(place))
        return (torch.from_numpy(chosen).view(-1, 1, 1, 1) == numbers).float()
