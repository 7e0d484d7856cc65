"""Model cards: what a trained network is and what it was trained on, as a dataclass and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileError, did_you_mean
from ..files import jsonable, read_json

CARD_FILE = "card.json"
WEIGHTS_FILE = "weights.safetensors"
SUPERVISION = ("none", "labels", "displacement", "error", "pose", "momentum")
KINDS = ("field", "metric", "features", "error", "agent", "segmentation")


@dataclass(frozen=True)
class Card:
    """The information for users and programs about a model.

    Attributes
    ----------
    name, title, summary : str
        Name used in commands (also the folder's name), name shown, one sentence.
    method : str
        Name in the catalogue of methods.
    kind : str
        What the model does, one of `KINDS`: 'field' registers pairs; cards of the first release do not say it.
    settings : mapping
        Settings of the method that shape the network (JSON).
    spacing_mm : float
        Isotropic voxel size of the grid the network works on.
    size : tuple of 3 int
        (X, Y, Z) of the training grid; larger inputs are allowed, the network is convolutional.
    dimensions : int
        3, or 2 for plane images (the size then ends with 1).
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
        Data and its license, supervision, steps, hours, command, seed, date, versions.
    validation : mapping
        Measured numbers of the kept weights.
    citation, licence : str
        The paper; the license of the weights.
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
    dimensions: int = 3
    orientation: str = "LPS"
    kind: str = "field"
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
        return jsonable(self)


def from_json(content: Mapping[str, Any], *, where: str = "The card") -> Card:
    """Return a card made of plain JSON values.

    Parameters
    ----------
    content : mapping
        As `Card.to_json` returns it.
    where : str
        Put in front of messages, e.g. the path of the file.

    Raises
    ------
    FileError
        When an entry is missing, unknown or of the wrong type.
    """
    fields = {entry.name: entry for entry in dataclasses.fields(Card)}
    for name in content:
        if name not in fields:
            raise FileError(f"{where} has an unknown entry '{name}'.", hint=did_you_mean(name, fields))
    missing = [name for name, entry in fields.items() if name not in content and _is_required(entry)]
    if missing:
        raise FileError(
            f"{where} lacks {', '.join(missing)}.", hint="Check that this is a model folder of `dvcreg train`."
        )
    return Card(**{name: _checked(name, content[name], where) for name in fields if name in content})


def read_card(folder: Path) -> Card:
    """Read the card of a model folder; `FileError` when it is missing or broken."""
    path = folder / CARD_FILE
    return from_json(read_json(path), where=str(path))


def _is_required(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _checked(name: str, value: Any, where: str) -> Any:
    if name == "size":
        if not isinstance(value, (list, tuple)) or len(value) != 3 or not all(_is_count(entry) for entry in value):
            raise FileError(f"{where}: 'size' must be three integers, got {value!r}.")
        return tuple(value)
    if name == "dimensions":
        valid = value in (2, 3)
    elif name == "kind":
        valid = value in KINDS
    elif name == "spacing_mm":
        valid = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    elif name in ("settings", "supervised_labels", "domain", "training", "validation"):
        valid = isinstance(value, Mapping)
    else:
        valid = isinstance(value, str)
    if not valid:
        raise FileError(f"{where}: '{name}' cannot be {value!r}.")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


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
