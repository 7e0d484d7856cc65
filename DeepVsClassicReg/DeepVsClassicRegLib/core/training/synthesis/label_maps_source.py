"""Label maps of subjects as a source: pairs of different subjects in random contrasts, skull-stripped or not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import RegistrationError
from ...images.volume import Volume
from ...settings import to_json
from . import sampling, warps
from .brain import FLUID, OUTSIDE, SIDES, STRUCTURES, TISSUES
from .draws import Draws
from .pairs import GeneratedPair, Looked, finished_pair
from .random_maps import RandomMap
from .settings import LABEL_MAPS, SynthesisSettings
from .source import GeneratedSource
from .subjects import LabelMapSubject, read_subjects

Tensor = torch.Tensor
# 2D images are slices at a random height in this range.
_PLANE_MM = 30.0
# Whole heads fit into a cube with this edge length; scans have this margin around the foreground.
_WHOLE_MM = 224.0
_ROOM_MM = (4.0, 40.0)
_SHOWN = 0.1


class LabelMapsSource(GeneratedSource):
    """Pairs of different subjects, coarsely aligned, each slightly warped; images show all labels, losses use some.

    Parameters
    ----------
    folder : path
        Label maps with FreeSurfer's numbers, any geometry.
    structures : mapping of int to str
        Labels in the batches, and their names.
    held_out : int
        Number of subjects for validation, the last ones by file name.
    settings, seed, size, spacing_mm, batch, device, validation_pairs, known_displacement
        As for `GeneratedSource`.
    licence : str
        License of the label maps, for the card.

    Raises
    ------
    FileError
        When a label map cannot be read or lacks structures that align the subjects.
    """

    examples = 16

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        structures: Mapping[int, str] = STRUCTURES,
        held_out: int = 2,
        settings: SynthesisSettings = LABEL_MAPS,
        seed: int,
        size: Sequence[int],
        spacing_mm: float,
        batch: int = 1,
        device: torch.device | str = "cpu",
        validation_pairs: int = 4,
        known_displacement: bool = False,
        licence: str = "Apache-2.0",
    ) -> None:
        super().__init__(
            settings,
            seed=seed,
            size=size,
            spacing_mm=spacing_mm,
            batch=batch,
            device=device,
            validation_pairs=validation_pairs,
            known_displacement=known_displacement,
        )
        if known_displacement and len(self.shape) == 2:
            raise RegistrationError(
                "Slices of label maps are warped out of their plane, so their displacement in the plane is not known.",
                hint="Use three sizes, or the data 'shapes'.",
            )
        self.folder, self.labels, self.licence = Path(folder), dict(structures), licence
        subjects, self._values = read_subjects(self.folder)
        if held_out < 2 or len(subjects) - held_out < 2:
            raise RegistrationError(
                f"{len(subjects)} label maps with {held_out} for validation: both parts need at least 2 subjects."
            )
        self._subjects, self._held_out = subjects[:-held_out], subjects[-held_out:]
        self._maps = {subject.name: subject.codes.to(self.device) for subject in subjects}
        self._code = {value: code for code, value in enumerate(self._values)}
        self._mirrored = self._table({**dict(SIDES), **{right: left for left, right in SIDES}})

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {
            "kind": "generated from label maps",
            "folder": self.folder.name,
            "persons": [subject.name for subject in self._subjects],
            "held_out": [subject.name for subject in self._held_out],
            "structures": {str(value): name for value, name in self.labels.items()},
            "seed": self.seed,
            "size": list(self.size),
            "spacing_mm": self.spacing_mm,
            "batch": self.batch,
            "licence": self.licence,
            "settings": to_json(self.settings),
        }

    def domain_examples(self) -> Sequence[Volume]:
        """Return inputs of the trained network: whole heads and brains, not the crops used in training."""
        if len(self.shape) == 2:
            return super().domain_examples()
        whole = copy(self)
        whole.size = (round(_WHOLE_MM / self.spacing_mm),) * 3
        whole.settings = replace(
            self.settings, cropped=0.0, pose_translation_mm=0.0, empty_background=1.0, points=1, dice_labels=1
        )
        examples = super(LabelMapsSource, whole).domain_examples()
        return [_with_room(volume, self._draws("room", number)) for number, volume in enumerate(examples)]

    def _pair(self, step: int, number: int) -> GeneratedPair:
        draws = self._draws("training", step, number)
        return self._generated(draws, self._subjects, self.settings)

    def _validation_pair(self, number: int) -> GeneratedPair:
        return self._generated(self._draws("validation", number), self._held_out, self.settings.for_validation())

    def _generated(
        self, draws: Draws, subjects: Sequence[LabelMapSubject], settings: SynthesisSettings
    ) -> GeneratedPair:
        first, second = draws.order(len(subjects))[:2]
        # The displacement between two subjects is not known, so both images show the same one.
        if self.known_displacement or (settings.same_person and draws.chance(settings.same_person)):
            second = first
        pose = warps.pose_of(draws, 3, settings)
        if len(self.shape) == 2:
            pose[0, -1] += draws.uniform(-_PLANE_MM, _PLANE_MM)
        kept = self._kept(draws)
        same_extraction = draws.chance(0.7)
        flip = draws.chance(0.5)
        fixed = self._looked(draws, subjects[first], pose, kept, settings, flip=flip)
        moving_kept = kept if same_extraction else self._kept(draws)
        moving_flip = flip if self.known_displacement else draws.chance(0.5)
        moving = self._looked(draws, subjects[second], pose, moving_kept, settings, flip=moving_flip)
        order = list(range(len(self.labels)))
        if settings.dice_labels:
            order = draws.order(len(self.labels))[: settings.dice_labels]
        values = [list(self.labels)[position] for position in order]
        return finished_pair(
            draws,
            fixed,
            moving,
            count=len(self._values) - 1,
            channel_of=self._channels(values),
            channels=len(values),
            spacing_mm=self.spacing_mm,
            settings=settings,
            alike=self._alike(draws),
        )

    def _looked(
        self,
        draws: Draws,
        subject: LabelMapSubject,
        pose: Tensor,
        kept: Tensor,
        settings: SynthesisSettings,
        *,
        flip: bool,
    ) -> Looked:
        mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0 if flip else 1.0], dtype=torch.float64))
        frame = warps.chain(torch.cat([mirror, torch.zeros(3, 1, dtype=torch.float64)], dim=1), pose)
        frame = warps.chain(warps.jitter_of(draws, 3, settings), frame)
        inverse: Tensor | None = None
        if self.known_displacement:
            warp, inverse = warps.warp_and_inverse_of(draws, self.shape, self.spacing_mm, settings)
        else:
            warp = warps.warp_of(draws, self.shape, self.spacing_mm, settings)
        if warp.ndim == 3:
            warp = torch.cat([torch.zeros_like(warp[:1]), warp])[:, None]
        to_mm = warps.mm_of_grid(warp.shape[1:], self.spacing_mm)
        affine = warps.chain(subject.index_of_frame, warps.chain(frame, to_mm))
        samples = sampling.lookup(self._maps[subject.name], affine, warp, points=settings.points)
        samples = samples.reshape(len(samples), *self.shape)
        true = self._mirrored[samples] if flip else samples
        return Looked(kept[true], true, RandomMap(affine, warp, inverse) if inverse is not None else None)

    def _kept(self, draws: Draws) -> Tensor:
        """Return the table that removes labels as an automatic brain extraction does, or none."""
        around = [value for value in self._values if value >= OUTSIDE]
        if not draws.chance(self.settings.stripped):
            return self._table({})
        kind = draws.uniform(0, 1)
        if kind < 0.5:
            gone = [*around, FLUID]
        elif kind < 0.75:
            gone = around
        else:
            number = draws.integer(1, max(1, len(around)))
            gone = [around[position] for position in draws.order(len(around))[:number]]
        return self._table(dict.fromkeys(gone, 0))

    def _alike(self, draws: Draws) -> list[list[int]]:
        groups: list[tuple[int, ...]] = []
        if draws.chance(0.9):
            groups.extend(SIDES)
        if draws.chance(self.settings.tissues):
            groups = list(TISSUES)
        known = [[self._code[value] for value in group if value in self._code] for group in groups]
        return [group for group in known if len(group) > 1]

    def _channels(self, values: Sequence[int]) -> Tensor:
        channel_of = torch.zeros(len(self._values), dtype=torch.int64)
        for channel, value in enumerate(values, start=1):
            if value in self._code:
                channel_of[self._code[value]] = channel
        return channel_of.to(self.device)

    def _table(self, changes: Mapping[int, int]) -> Tensor:
        """Return the new code of every code when labels change."""
        codes = [self._code.get(changes.get(value, value), 0) for value in self._values]
        return torch.tensor(codes, dtype=torch.int64, device=self.device)


def _with_room(volume: Volume, draws: Draws) -> Volume:
    """Return the part of the volume in a typical scan: the foreground with a margin."""
    spacing = volume.grid.spacing_mm[0]
    shown = np.argwhere(volume.array > _SHOWN)
    if not len(shown):
        return volume
    first, last = shown.min(axis=0), shown.max(axis=0) + 1
    room = [round(draws.uniform(*_ROOM_MM) / spacing) for _ in range(6)]
    first = np.maximum(first - room[:3], 0)
    last = np.minimum(last + room[3:], volume.array.shape)
    part = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    grid = volume.grid.cropped([int(n) for n in first[::-1]], [int(n) for n in (last - first)[::-1]])
    return Volume(volume.array[part], grid, volume.name)
