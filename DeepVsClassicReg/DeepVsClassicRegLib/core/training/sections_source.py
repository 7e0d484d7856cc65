"""Neighboring sections of a stack as 2D training pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import RegistrationError, SettingsError
from ..images.channels import PICTURES
from ..images.grid import Grid
from ..images.intensity import normalized
from ..images.resample import sampled_on
from ..images.sections import MEDICAL, Sections, read_sections
from ..images.volume import Volume
from ..networks.base import Batch
from ..pair import Pair
from .sources import LazyBatches
from .synthesis.draws import Draws

Tensor = torch.Tensor
EXAMPLES = 6
LEAST_CONTENT = 0.02  # fraction of pixels above 5 % of the range: sections with less are not used
SHOWN = 0.05


class SectionsSource:
    """Pairs of neighboring sections on a plane grid around the middle of the sections; see `Source`.

    Parameters
    ----------
    folder : Path
        A folder of 2D images (one stack), a volume, or a folder of volumes (several stacks).
    seed : int
        Determines, with the step, all batches.
    size : tuple of 2 int
        (X, Y) of the grid.
    spacing_mm : float
        Its pixel size.
    batch : int
        Pairs per step.
    validation_pairs : int
        Number of pairs that are kept for validation, at most a quarter of all.
    device : device
        Device of the batches.

    Raises
    ------
    SettingsError
        When the grid is not 2D.
    RegistrationError
        When there are fewer than 4 pairs of sections with content.
    """

    labels: Mapping[int, str] = {}
    licence = "that of the sections"

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        size: Sequence[int],
        spacing_mm: float,
        batch: int,
        validation_pairs: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(size) != 2:
            raise SettingsError(f"Sections need a grid of 2 sizes, got {tuple(size)}.", hint="Give --size X,Y.")
        self.folder, self.seed, self.batch = folder, seed, batch
        self.size, self.spacing_mm = tuple(int(n) for n in size), float(spacing_mm)
        self.device = torch.device(device)
        stacks = [self._on_grid(sections) for sections in _stacks(folder)]
        self.count = sum(map(len, stacks))
        pairs = [pair for images in stacks for pair in itertools.pairwise(images)]
        self.pairs = [pair for pair in pairs if all(_has_content(image) for image in pair)]
        if len(self.pairs) < 4:
            raise RegistrationError(
                f"{folder} has only {len(self.pairs)} pairs of neighboring sections with content; at least 4 are "
                "needed.",
                hint="Give more sections, or a larger --size or --spacing.",
            )
        order = np.random.default_rng(seed).permutation(len(self.pairs))
        kept = min(validation_pairs, len(self.pairs) // 4)
        self.held, self.used = order[:kept].tolist(), order[kept:].tolist()

    def sample(self, step: int) -> Batch:
        """Return the batch of a step."""
        draws = Draws(self.seed, "sections", step)
        numbers = [self.used[draws.integer(0, len(self.used) - 1)] for _ in range(self.batch)]
        return self._batch([self.pairs[number][:: 1 if draws.chance(0.5) else -1] for number in numbers])

    def validation(self) -> Sequence[Batch]:
        """Return the pairs kept for validation."""
        return LazyBatches(len(self.held), lambda number: self._batch([self.pairs[self.held[number]]]))

    def validation_pairs(self) -> Sequence[Pair]:
        """Return nothing: engines register volumes or single slices of the user."""
        return ()

    def domain_examples(self) -> Sequence[Volume]:
        """Return a few sections on the grid."""
        step = max(1, len(self.pairs) // EXAMPLES)
        x, y = self.size
        grid = Grid((x, y, 1), (self.spacing_mm,) * 3)
        return [
            Volume(pair[0][None], grid, f"example {number}")
            for number, pair in enumerate(self.pairs[::step][:EXAMPLES], start=1)
        ]

    def describe(self) -> dict[str, Any]:
        """Return what the card says about the data."""
        return {
            "kind": "neighboring sections",
            "folder": self.folder.name,
            "sections": self.count,
            "pairs": len(self.used),
            "size": list(self.size),
            "spacing_mm": self.spacing_mm,
            "batch": self.batch,
            "settings": {},
        }

    def _batch(self, pairs: Sequence[tuple[Any, ...]]) -> Batch:
        sides = (torch.from_numpy(np.stack([pair[side] for pair in pairs]))[:, None] for side in (0, 1))
        fixed, moving = (side.to(self.device) for side in sides)
        return Batch(fixed, moving)

    def _on_grid(self, sections: Sections) -> list[Any]:
        """Return the sections on the plane grid, (Y, X) each, intensities 0 to 1."""
        volume, (x, y) = sections.volume, self.size
        whole = volume.grid
        step = np.array(whole.spacing_mm[:2])
        first = ((np.array(whole.size[:2]) - 1) * step - (np.array(self.size) - 1) * self.spacing_mm) / 2
        flat = Grid((whole.size[0], whole.size[1], 1), (float(step[0]), float(step[1]), 1.0))
        target = Grid((x, y, 1), (self.spacing_mm, self.spacing_mm, 1.0), (float(first[0]), float(first[1]), 0.0))
        return [
            normalized(sampled_on(Volume(plane[None], flat, name), target))[0]
            for plane, name in zip(volume.array, sections.names, strict=True)
        ]


def _stacks(folder: Path) -> list[Sections]:
    """Return one stack of a folder of 2D images or of a volume, or one of each volume of a folder."""
    planes = folder.is_dir() and any(entry.name.lower().endswith(PICTURES) for entry in folder.iterdir())
    if planes or not folder.is_dir():
        return [read_sections(folder)]
    volumes = sorted(entry for entry in folder.iterdir() if entry.name.lower().endswith(MEDICAL))
    if not volumes:
        return [read_sections(folder)]
    return [read_sections(volume) for volume in volumes]


def _has_content(image: Any) -> bool:
    return float((image > SHOWN).mean()) > LEAST_CONTENT
