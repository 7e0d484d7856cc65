"""Keeping model folders: what a person reads of them, adding them to the user's folder, and removing them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FileError
from ..files import NO_SPACE
from .card import CARD_FILE, WEIGHTS_FILE, Card, Model, read_card
from .models import find_models, get_model, user_models_folder

SAFETENSORS_HEADER = 8
# Numbers of a card that tell how good a model is, best known first.
MEASURED = ("dice", "tre", "folds")
MOST_MEASURED = 3


def facts(model: Model) -> dict[str, str]:
    """Return what a person wants to know before using a model: title of a fact -> text, empty facts left out."""
    card = model.card
    found = {
        "Name": card.name,
        "Summary": card.summary,
        "Method": card.method,
        "Anatomy": card.anatomy,
        "Contrasts": card.contrasts,
        "Voxel size": f"{card.spacing_mm:g} mm",
        "Training grid": f"{' x '.join(map(str, card.size))} voxels ({card.orientation})",
        "Aligned structures": ", ".join(card.supervised_labels.values()),
        "Training data": _data(card.training.get("data")),
        "Licence of the data": _text(card.training.get("data_licence")),
        "Training": _training(card.training),
        "Domain": _domain(card.domain),
        "Validation": _text(card.validation),
        "Licence": card.licence,
        "Citation": card.citation,
        "Weights": f"{size_mb(model):.1f} MB, sha256 {card.sha256[:16]}…" if card.sha256 else "",
        "Folder": f"{model.folder}{' (ships with the extension)' if model.bundled else ''}",
    }
    return {title: text for title, text in found.items() if text}


def headline(card: Card) -> str:
    """Return the measured numbers of a card that matter most, in one short line."""
    numbers = {name: value for name, value in card.validation.items() if isinstance(value, (int, float))}
    found = [name for start in MEASURED for name in numbers if name.startswith(start)]
    return ", ".join(f"{name.replace('_', ' ')} {numbers[name]:.3g}" for name in found[:MOST_MEASURED])


def size_mb(model: Model) -> float:
    """Return the size of the weights file in MB; 0 when it is missing."""
    path = model.folder / WEIGHTS_FILE
    return path.stat().st_size / 1e6 if path.is_file() else 0.0


def add_model(source: Path, *, into: Path | None = None) -> Model:
    """Copy a model folder to the user's models, where every later run finds it.

    Parameters
    ----------
    source : Path
        A folder with card.json and weights.safetensors.
    into : Path, optional
        The user's folder when not given.

    Raises
    ------
    FileError
        When it is no model folder, its weights are not those of the card, its name is taken, or it cannot be copied.
    """
    card = read_card(source)
    _check(source, card)
    if card.name in {model.card.name for model in find_models()}:
        raise FileError(
            f"There is a model '{card.name}' already.",
            hint="Remove that one first (`dvcreg models remove`), or change the name in card.json.",
        )
    shelf = into or user_models_folder()
    target = shelf / card.name
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        # A hidden draft first: a copy that is cut off is never found as a model.
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=shelf) as folder:
            draft = Path(folder) / card.name
            draft.mkdir()
            for name in (WEIGHTS_FILE, CARD_FILE):
                shutil.copyfile(source / name, draft / name)
            draft.rename(target)
    except OSError as error:
        raise FileError(f"Could not copy the model to {target}: {error.strerror or error}.", hint=NO_SPACE) from error
    return Model(card, target)


def remove_model(name: str) -> Path:
    """Remove a model from the user's folder and return where it was.

    Raises
    ------
    FileError
        When there is none, it ships with the extension, lies elsewhere, or cannot be removed.
    """
    model = get_model(name)
    if model.bundled:
        raise FileError(f"Model '{name}' ships with the extension and stays.", hint="Choose another model to use.")
    if not is_removable(model):
        raise FileError(
            f"Model '{name}' lies in {model.folder}, outside of {user_models_folder()}.",
            hint="Remove that folder yourself, or take it out of DVCREG_MODELS.",
        )
    try:
        shutil.rmtree(model.folder)
    except OSError as error:
        raise FileError(f"Could not remove {model.folder}: {error.strerror or error}.") from error
    return model.folder


def is_removable(model: Model) -> bool:
    """Return whether a model lies in the user's folder: nothing else is ever deleted."""
    return not model.bundled and model.folder.resolve().parent == user_models_folder().resolve()


def _check(folder: Path, card: Card) -> None:
    if card.name in ("", ".", "..") or Path(card.name).name != card.name or card.name.startswith("."):
        raise FileError(f"'{card.name}' cannot be the name of a folder.", hint="Change the name in card.json.")
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"Could not read {path}: {error.strerror or error}.") from error
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise FileError(
            f"{path} is not the file its card describes (sha256 differs).", hint="Copy the model again from its origin."
        )
    # A safetensors file begins with the length of its JSON header; a pickle does not.
    length = int.from_bytes(content[:SAFETENSORS_HEADER], "little")
    if content[SAFETENSORS_HEADER : SAFETENSORS_HEADER + 1] != b"{" or length > len(content):
        raise FileError(f"{path} is no safetensors file.", hint="Other formats can hide programs and are not used.")


def _data(about: Any) -> str:
    """Return the description of the training data without its nested settings, which fill the card's file."""
    if isinstance(about, Mapping):
        return _text({key: value for key, value in about.items() if not isinstance(value, Mapping)})
    return _text(about)


def _training(history: Mapping[str, Any]) -> str:
    parts = []
    if "supervision" in history:
        parts.append("with labels" if history["supervision"] == "labels" else "without labels")
    if "steps" in history:
        parts.append(f"{history['steps']} steps")
    if "hours" in history:
        parts.append(f"{history['hours']:g} h on {history.get('device', 'unknown')}")
    if "date" in history:
        parts.append(str(history["date"]))
    return ", ".join(parts)


def _domain(domain: Mapping[str, Any]) -> str:
    if not domain:
        return ""
    spacing = " x ".join(f"{value:.2g}" for value in domain.get("spacing_mm", ()))
    return f"{domain.get('name', 'training images')} ({domain.get('count', '?')} images, {spacing} mm)"


def _text(value: Any) -> str:
    """Return plain JSON values as one line a person reads."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_text(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_text(entry) for entry in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
