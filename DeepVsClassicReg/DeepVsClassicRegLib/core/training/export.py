"""Writes the model folder of a training run: card and weights."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_json
from ..networks.card import CARD_FILE, Card, read_card
from ..networks.catalogue import get_method
from ..networks.model_store import save_model
from ..recommendation.domain import domain_statistics
from ..recommendation.likeness import most_alike
from ..settings import to_json
from ..version import VERSION
from .config import TrainingConfig
from .folders import MODEL_FOLDER
from .sources import Source
from .state import State

PACKAGES = ("torch", "numpy", "SimpleITK", "safetensors")


def domain_of(source: Source, name: str) -> dict[str, Any]:
    """Return the statistics of the training images for the card; empty when the source has no examples."""
    examples = list(source.domain_examples())
    if not examples:
        return {}
    statistics = domain_statistics(examples, name=name)
    if source.labels and source.describe().get("kind") == "dataset":  # real images, of different subjects
        statistics = dataclasses.replace(statistics, most_alike=most_alike(examples))
    return statistics.to_json()


def write_model(folder: Path, card: Card, config: TrainingConfig, state: State) -> Card:
    """Write the current weights and their card to `folder`/model."""
    return save_model(folder / MODEL_FOLDER, card, state.kept, half=config.train.half)


def card_of(
    folder: Path, config: TrainingConfig, source: Source, state: State, domain: Mapping[str, Any], device: str
) -> Card:
    """Return the card of the current weights."""
    info = get_method(config.method).info
    texts = config.texts()
    supervised = config.supervision == "labels"
    size = tuple(source.size) + (1,) * (3 - len(source.size))
    return Card(
        name=texts.get("name", folder.resolve().name),
        title=texts.get("title", f"{info.title} ({folder.resolve().name})"),
        summary=texts.get("summary", info.summary),
        method=config.method,
        kind=info.kind,
        settings=dict(config.method_settings),
        spacing_mm=float(source.spacing_mm),
        size=(size[0], size[1], size[2]),
        dimensions=len(source.size),
        supervised_labels={str(value): name for value, name in source.labels.items()} if supervised else {},
        contrasts=texts.get("contrasts", "as the training images"),
        anatomy=texts.get("anatomy", "as the training images"),
        domain=dict(domain),
        training=_history(config, source, state, device),
        validation={name: _rounded(value) for name, value in state.best.items()},
        citation=info.citation,
        licence=texts.get("licence", source.licence),
    )


def refresh_card(folder: Path, config: TrainingConfig, state: State) -> None:
    """Update the card of the saved weights with the current texts and the total length of training."""
    model = folder / MODEL_FOLDER
    card = read_card(model)
    whole = {"steps_altogether": state.step, "hours_altogether": round(state.seconds / 3600, 3)}
    texts: dict[str, Any] = dict(config.texts())
    card = dataclasses.replace(card, **texts, training={**card.training, **whole})
    write_json(model / CARD_FILE, card.to_json())


def versions() -> dict[str, str]:
    """Return the versions of the packages used."""
    found = {"DeepVsClassicReg": VERSION}
    for package in PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def _history(config: TrainingConfig, source: Source, state: State, device: str) -> dict[str, Any]:
    return {
        "data": source.describe(),
        "data_licence": source.licence,
        "supervision": config.supervision,
        "steps": state.step,
        "hours": round(state.seconds / 3600, 3),
        "device": device,
        "seed": config.train.seed,
        "settings": to_json(config.train),
        "start": dict(config.start),
        "command": config.command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
    }


def _rounded(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value
