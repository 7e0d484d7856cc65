"""Which source a data specification of the command line means, and making it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..progress import Progress
from ..settings import from_json, to_json
from .source import Source

if TYPE_CHECKING:
    import torch

    from .prepare import Align
    from .synthesis.source import GeneratedSource

SHAPES, LABELS = "shapes", "labels:"
FIRST = "first"


@dataclass(frozen=True)
class DataSettings:
    """What a training learns from.

    Attributes
    ----------
    spec : str
        'shapes', 'labels:FOLDER', several of these joined by '+', or a dataset: a Learn2Reg JSON, a
        CSV manifest, a folder.
    size : tuple of int
        (X, Y, Z) of the training grid; (X, Y) for plane images (generators only). Multiples of 16 suit all networks.
    spacing_mm : float
        Its isotropic voxel size.
    batch : int
        Pairs per step (and process).
    synthesis : mapping
        Settings of the generator that differ from its defaults.
    linear : str
        For real data: '' when their headers align them, else the volume that all are aligned to first, or 'first'
        for the first training image.
    labels_per_step : int
        For real data: labels drawn per step, 0 for all.
    validation : int
        Number of fixed validation pairs (real data may name their own).
    """

    spec: str
    size: tuple[int, ...]
    spacing_mm: float
    batch: int = 1
    synthesis: Mapping[str, Any] = field(default_factory=dict)
    linear: str = ""
    labels_per_step: int = 0
    validation: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(int(entry) for entry in self.size))
        if len(self.size) not in (2, 3) or min(self.size) < 16:
            raise SettingsError(f"The training grid needs 2 or 3 sizes of at least 16, got {self.size}.")
        if self.spacing_mm <= 0 or self.batch < 1:
            raise SettingsError("The spacing and the batch must be positive.")

    @property
    def generated(self) -> bool:
        """Whether the pairs are generated."""
        return all(part == SHAPES or part.startswith(LABELS) for part in parts_of(self.spec))


def make_source(
    data: DataSettings,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    align: Align | None = None,
    progress: Progress | None = None,
) -> Source:
    """Return the source of a specification.

    Parameters
    ----------
    data : DataSettings
        What is wanted.
    seed : int
        Of every random choice of the source.
    device : device
        Where generators compute.
    cache : Path, optional
        Folder for prepared volumes of real data.
    align : callable, optional
        `align(template, volume)` returns the linear map from template to volume points; needed with `data.linear`.
        (The engines are not known here: training and engines are rooms beside each other.)
    progress : Progress, optional
        Told which real volume is being prepared.
    """
    if data.generated:
        return _generator(data, seed, device)
    return _dataset(data, seed, cache, align, progress or Progress())


def _dataset(data: DataSettings, seed: int, cache: Path | None, align: Align | None, progress: Progress) -> Source:
    from ..images.io import read_volume
    from .dataset import DatasetSource
    from .listing import read_listing
    from .prepare import training_frame

    if len(data.size) != 3 or cache is None:
        raise SettingsError(f"Real data need a grid of 3 sizes and a cache folder, got {data.size}, {cache}.")
    if data.linear and align is None:
        raise SettingsError("Linear alignment was asked for, but no way to do it was given.")
    listing = read_listing(Path(data.spec), validation=data.validation)
    first = listing.cases[listing.training[0][0]].image
    reference = read_volume(first if data.linear in ("", FIRST) else data.linear)
    frame = training_frame(reference, data.size, data.spacing_mm, align if data.linear else None)
    return DatasetSource(
        listing, frame, cache, seed=seed, batch=data.batch, labels_per_step=data.labels_per_step, progress=progress
    )


def parts_of(spec: str) -> list[str]:
    """Return the generators that a specification joins by '+'; a plus within a path stays."""
    return re.split(rf"\+(?={LABELS}|{SHAPES}(?:$|\+{SHAPES}|\+{LABELS}))", spec)


def _generator(data: DataSettings, seed: int, device: torch.device | str) -> Source:
    from .synthesis.mixed_source import MixedSource

    parts = parts_of(data.spec)
    made = {part: _part(part, data, seed, device) for part in dict.fromkeys(parts)}
    return made[parts[0]] if len(parts) == 1 else MixedSource([made[part] for part in parts])


def _part(spec: str, data: DataSettings, seed: int, device: torch.device | str) -> GeneratedSource:
    from .synthesis.label_maps_source import LabelMapsSource
    from .synthesis.settings import LABEL_MAPS, SynthesisSettings
    from .synthesis.settings import SHAPES as FROM_NOTHING
    from .synthesis.shapes_source import ShapesSource

    base = FROM_NOTHING if spec == SHAPES else LABEL_MAPS
    settings = from_json(SynthesisSettings, {**to_json(base), **data.synthesis})
    common: dict[str, Any] = {
        "seed": seed,
        "size": data.size,
        "spacing_mm": data.spacing_mm,
        "batch": data.batch,
        "device": device,
        "validation_pairs": data.validation,
    }
    if spec == SHAPES:
        return ShapesSource(settings, **common)
    return LabelMapsSource(Path(spec.removeprefix(LABELS)), settings=settings, **common)
