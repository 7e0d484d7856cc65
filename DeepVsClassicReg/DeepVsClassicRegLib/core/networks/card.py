"""Model cards and model folders: what a trained network is, what it was trained on, and loading it safely."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Card:
    """Everything a person or a program wants to know before using a model.

    Attributes
    ----------
    name, title, summary : str
        Name used in commands (also the folder's name), name shown, one sentence.
    method : str
        Name in the catalogue of methods.
    settings : mapping
        Settings of the method that shape the network (JSON).
    spacing_mm : float
        Isotropic voxel size of the grid the network works on.
    size : tuple of 3 int
        (X, Y, Z) of the training grid; larger inputs are allowed, the network is convolutional.
    orientation : str
        Axis codes of the training grid, e.g. 'LPS' (x to the left, y to posterior, z to superior).
    supervised_labels : mapping
        Label value -> name of the structures the training aligned; empty when unsupervised.
    contrasts : str
        'any', or the contrast it was trained on ('T1').
    anatomy : str
        'brain', 'any', ...
    domain : mapping
        Statistics of the training images for the shift detector (`recommendation.domain.DomainStatistics` as JSON).
    training : mapping
        Data and its licence, supervision, steps, hours, command, seed, date, versions.
    validation : mapping
        Measured numbers of the kept weights.
    citation, licence : str
        The paper; the licence of the weights.
    sha256 : str
        Of the weights file.
    """

    name: str
    title: str
    summary: str
    method: str
    settings: Mapping[str, Any]
    spacing_mm: float
    size: tuple[int, int, int]
    orientation: str = "LPS"
    supervised_labels: Mapping[str, str] = field(default_factory=dict)
    contrasts: str = "any"
    anatomy: str = "any"
    domain: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    citation: str = ""
    licence: str = "Apache-2.0"
    sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Model:
    """A model folder that was found.

    Attributes
    ----------
    card : Card
        Its card.
    folder : Path
        Where it lies.
    bundled : bool
        Whether it ships with the extension (cannot be removed).
    """

    card: Card
    folder: Path
    bundled: bool = False
