"""What is to be trained, and how: frozen, kept as JSON beside the checkpoint so that a resume needs no options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileError, SettingsError
from ..files import read_json, write_json
from ..networks.card import Card
from ..settings import from_json, option, to_json

PLAN_FILE = "training.json"


@dataclass(frozen=True)
class TrainSettings:
    """How the weights are optimized (Adam)."""

    steps: int = option(0, "Steps", tooltip="Stop after so many steps altogether; 0 for no limit.", minimum=0)
    hours: float = option(
        0.0, "Hours", unit="h", tooltip="Stop after so many hours altogether (resumed ones count); 0 for no limit.",
        minimum=0.0,
    )  # fmt: skip
    learning_rate: float = option(1e-4, "Learning rate", minimum=1e-9, maximum=1.0)
    schedule: str = option(
        "constant", "Schedule", tooltip="'cosine' falls to 1 % of the learning rate at the last of --steps.",
        choices=("constant", "cosine"),
    )  # fmt: skip
    warmup: int = option(0, "Warm-up", unit="steps", tooltip="The learning rate rises linearly at first.", minimum=0)
    clip: float = option(1.0, "Gradient clipping", tooltip="Largest gradient norm; 0 for none.", minimum=0.0)
    average: float = option(
        0.0, "Averaging", minimum=0.0, maximum=0.99999,
        tooltip="Decay of the running average of the weights that is validated and kept; 0 keeps the weights as is.",
    )  # fmt: skip
    precision: str = option(
        "auto", "Precision", choices=("auto", "full", "mixed"),
        tooltip="'mixed' computes convolutions with 16 bits; 'auto' does so on CUDA alone.",
    )  # fmt: skip
    validate_every: int = option(250, "Validate every", unit="steps", minimum=1)
    log_every: int = option(10, "A row of the curves every", unit="steps", minimum=1)
    checkpoint_minutes: float = option(5.0, "Checkpoint every", unit="min", minimum=0.0)
    half: bool = option(False, "Half precision weights", tooltip="Halves the size of the model folder.")
    seed: int = option(0, "Seed", minimum=0)

    def __post_init__(self) -> None:
        if self.schedule == "cosine" and not self.steps:
            raise SettingsError("The schedule 'cosine' needs the number of steps.", hint="Give --steps as well.")


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes
    ----------
    method : str
        Name in the catalogue of methods.
    method_settings : mapping
        Its settings, complete (JSON).
    supervision : str
        'none' or 'labels'.
    data : mapping
        What the source is made of (`specs.DataSettings` as JSON).
    train : TrainSettings
        How the weights are optimized.
    card : mapping
        Texts of the card: name, title, summary, contrasts, anatomy, licence.
    start : mapping
        Model whose weights the training began with (name, sha256, folder); empty for fresh weights.
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
        """Write the plan into a training folder."""
        content = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        write_json(folder / PLAN_FILE, {**content, "train": to_json(self.train)})

    def texts(self) -> dict[str, str]:
        """Return the texts of the card that were given."""
        known = {entry.name for entry in dataclasses.fields(Card)}
        return {name: text for name, text in self.card.items() if text and name in known}


def read_plan(folder: Path) -> Plan:
    """Read the plan of a training folder; `FileError` when there is none."""
    path = folder / PLAN_FILE
    if not path.is_file():
        raise FileError(f"{folder} holds no training.", hint="Leave out --resume to start one there.")
    content = read_json(path)
    try:
        train = from_json(TrainSettings, content.pop("train"))
        return Plan(**content, train=train)
    except (KeyError, TypeError) as error:
        raise FileError(f"{path} is no training plan of this version: {error}.") from error
