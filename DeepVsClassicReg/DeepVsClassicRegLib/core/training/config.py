"""The configuration of a training run, stored as JSON beside the checkpoint so that resuming needs no options."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileError, SettingsError
from ..files import read_json, write_json
from ..networks.card import Card
from ..settings import from_json, option, to_json

CONFIG_FILE = "training.json"
SHAPES, FIRST = "shapes", "first"
APPEARANCE = "appearance"
SECTIONS = "sections"
FOLDER_GENERATORS = ("labels", APPEARANCE, SECTIONS)
"""Names that, followed by ':FOLDER', generate pairs from the files of a folder."""


@dataclass(frozen=True)
class TrainSettings:
    """How the weights are optimized (Adam)."""

    steps: int = option(0, "Steps", tooltip="Maximum total number of steps; 0 for no limit.", minimum=0)
    hours: float = option(
        0.0, "Hours", unit="h", tooltip="Maximum total time, including resumed runs; 0 for no limit.",
        minimum=0.0,
    )  # fmt: skip
    clock: str = option(
        "wall", "Clock", choices=("wall", "cpu"),
        tooltip="Clock of the hours; 'cpu' gives the same budget on a busy computer.",
    )  # fmt: skip
    learning_rate: float = option(1e-4, "Learning rate", minimum=1e-9, maximum=1.0)
    schedule: str = option(
        "constant", "Schedule", tooltip="'cosine' decreases to 1 % of the learning rate at --steps or --hours.",
        choices=("constant", "cosine"),
    )  # fmt: skip
    warmup: int = option(0, "Warm-up", unit="steps", tooltip="Linear increase of the learning rate.", minimum=0)
    clip: float = option(1.0, "Gradient clipping", tooltip="Maximum gradient norm; 0 for none.", minimum=0.0)
    average: float = option(
        0.0, "Averaging", minimum=0.0, maximum=0.99999,
        tooltip="Decay of the running average of the weights, which is validated and saved; 0 saves the weights.",
    )  # fmt: skip
    precision: str = option(
        "auto", "Precision", choices=("auto", "full", "mixed"),
        tooltip="'mixed' computes convolutions with 16 bits; 'auto' does so on CUDA only.",
    )  # fmt: skip
    validate_every: int = option(250, "Validate every", unit="steps", minimum=1)
    log_every: int = option(10, "Interval of the curves", unit="steps", minimum=1)
    checkpoint_minutes: float = option(5.0, "Checkpoint every", unit="min", minimum=0.0)
    half: bool = option(False, "Half precision weights", tooltip="Halves the size of the model folder.")
    seed: int = option(0, "Seed", minimum=0)

    def __post_init__(self) -> None:
        if self.schedule == "cosine" and not (self.steps or self.hours):
            raise SettingsError(
                "The schedule 'cosine' needs the length of the training run.", hint="Give --steps or --hours as well."
            )


@dataclass(frozen=True)
class DataSettings:
    """The data of a training run.

    Attributes
    ----------
    spec : str
        'shapes', 'labels:FOLDER', 'appearance:FOLDER', 'sections:FOLDER', several of these joined by '+', or a dataset:
        a Learn2Reg JSON, a CSV manifest, a folder.
    size : tuple of int
        (X, Y, Z) of the training grid; (X, Y) for 2D images (not datasets and appearance models). Multiples of 16 work
        with all networks.
    spacing_mm : float
        Its isotropic voxel size.
    batch : int
        Pairs per step (and process).
    synthesis : mapping
        Settings of the generator that differ from its defaults.
    linear : str
        For real data: '' to use the headers, else the volume to which all are aligned first, or 'first' for the
        first training image.
    labels_per_step : int
        For real data: number of random labels per step, 0 for all.
    validation : int
        Number of fixed validation pairs; small data sets have fewer, and real data may define their own.
    teacher : str
        For real data: engine, or engine:preset, whose fields are learned with supervision 'displacement'. For
        appearance models: the engine that registers the images of the folder.
    teacher_pairs : int
        Number of training pairs that the teacher registers (once, stored on disk); only these are used.
    patch : tuple of int
        (X, Y, Z) of the patches at random positions; empty for whole images.
    augmentation : mapping
        Settings of the augmentation that differ from the defaults, which change nothing.
    misalignment : mapping
        For supervision 'error' and 'pose': settings of the known errors that differ from their defaults.
    """

    spec: str
    size: tuple[int, ...]
    spacing_mm: float
    batch: int = 1
    synthesis: Mapping[str, Any] = field(default_factory=dict)
    linear: str = ""
    labels_per_step: int = 0
    validation: int = 20
    teacher: str = ""
    teacher_pairs: int = 100
    patch: tuple[int, ...] = ()
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    misalignment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(int(entry) for entry in self.size))
        object.__setattr__(self, "patch", tuple(int(entry) for entry in self.patch))
        if len(self.size) not in (2, 3) or min(self.size) < 16:
            raise SettingsError(f"The training grid needs 2 or 3 sizes of at least 16, got {self.size}.")
        if self.spacing_mm <= 0 or self.batch < 1:
            raise SettingsError("The spacing and the batch must be positive.")
        if self.patch and (len(self.patch) != len(self.size) or min(self.patch) < 16):
            raise SettingsError(f"A patch needs {len(self.size)} sizes of at least 16, got {self.patch}.")
        if self.patch and any(part > whole for part, whole in zip(self.patch, self.size, strict=True)):
            raise SettingsError(f"The patch {self.patch} is larger than the training grid {self.size}.")
        if self.models_appearance:
            if not self.teacher:
                raise SettingsError(
                    "The images of an appearance model must be registered to each other.",
                    hint="Use --teacher ENGINE, for example --teacher sitk-demons.",
                )
        elif self.teacher and self.generated:
            raise SettingsError("Generated pairs need no teacher: their displacement is known.", hint="Omit --teacher.")

    @property
    def generated(self) -> bool:
        """Whether the pairs are generated."""
        return all(is_generated(part) for part in parts_of(self.spec))

    @property
    def models_appearance(self) -> bool:
        """Whether pairs are drawn from an appearance model."""
        return self._has(APPEARANCE)

    @property
    def has_own_images(self) -> bool:
        """Whether intensities of the images themselves are learned from, whose license the weights then depend on."""
        return not self.generated or self._has(APPEARANCE) or self._has(SECTIONS)

    def _has(self, generator: str) -> bool:
        return any(part.partition(":")[0] == generator for part in parts_of(self.spec))


def parts_of(spec: str) -> list[str]:
    """Return the generators joined by '+' in a specification; a plus in a path is kept."""
    names = "|".join(f"{name}:" for name in FOLDER_GENERATORS)
    return re.split(rf"\+(?={names}|{SHAPES}(?:$|\+(?:{names}|{SHAPES})))", spec)


def is_generated(part: str) -> bool:
    """Return whether a part of a specification is a generator, not a dataset."""
    return part == SHAPES or part.partition(":")[0] in FOLDER_GENERATORS


@dataclass(frozen=True)
class TrainingConfig:
    """The configuration of a training run.

    Attributes
    ----------
    method : str
        Name in the catalogue of methods.
    method_settings : mapping
        Its settings, complete (JSON).
    supervision : str
        One of `SUPERVISION` of `networks.card`.
    data : mapping
        The data (`DataSettings` as JSON).
    train : TrainSettings
        How the weights are optimized.
    card : mapping
        Texts of the card: name, title, summary, contrasts, anatomy, licence.
    start : mapping
        Model with the initial weights (name, sha256, folder); empty for random weights.
    command : str
        The command line, for the card.
    """

    method: str
    method_settings: Mapping[str, Any]
    supervision: str
    data: Mapping[str, Any]
    train: TrainSettings
    card: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    def write(self, folder: Path) -> None:
        """Write the config into a training folder."""
        content = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        write_json(folder / CONFIG_FILE, {**content, "train": to_json(self.train)})

    def texts(self) -> dict[str, str]:
        """Return the texts of the card that were given."""
        known = {entry.name for entry in dataclasses.fields(Card)}
        return {name: text for name, text in self.card.items() if text and name in known}


def read_config(folder: Path) -> TrainingConfig:
    """Read the config of a training folder; `FileError` when there is none."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileError(f"{folder} contains no training run.", hint="Omit --resume to start one there.")
    content = read_json(path)
    try:
        train = from_json(TrainSettings, content.pop("train"))
        return TrainingConfig(**content, train=train)
    except (KeyError, TypeError) as error:
        raise FileError(f"{path} is not a training plan of this version: {error}.") from error
