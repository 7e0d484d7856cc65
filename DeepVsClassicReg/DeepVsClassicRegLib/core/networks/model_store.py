"""The model store: finds, describes, adds, removes, writes and loads model folders with verified weights."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileError, RegistrationError, SettingsError, did_you_mean
from ..files import NO_SPACE, resource_folder, user_folder, write_bytes, write_json
from ..settings import from_json as settings_from_json
from .card import CARD_FILE, WEIGHTS_FILE, Card, Model, read_card
from .catalogue import get_method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .base import RegistrationNetwork

AUTO = "auto"
MODELS_VARIABLE = "DVCREG_MODELS"
AGAIN = "Copy the model folder again from its source; weights of unknown origin are not loaded."
SAFETENSORS_HEADER = 8
# Measures of a card that describe the quality of a model, best known first.
MEASURED = ("dice", "tre", "folds", "correlation", "rms")
MOST_MEASURED = 3
log = logging.getLogger(__name__)


def user_models_folder() -> Path:
    """Return the folder for the user's models, which may not exist yet."""
    return user_folder("data") / "Models"


def find_models(extra: Sequence[Path] = ()) -> tuple[Model, ...]:
    """Return the bundled models, then those of `extra`, of the variable DVCREG_MODELS and of the user's folder.

    Of two models with the same name the first is used; a folder with an invalid card is skipped with a warning in the
    log. torch is not loaded, the weights are not read.

    Parameters
    ----------
    extra : sequence of Path
        Folders that contain model folders (or are one).
    """
    found: dict[str, Model] = {}
    for folder, bundled in _candidates(extra):
        try:
            card = read_card(folder)
        except FileError as error:
            log.warning("Model folder skipped: %s", error)
            continue
        if card.name in found:
            if found[card.name].folder != folder:
                log.warning("Model '%s' in %s is hidden by %s.", card.name, folder, found[card.name].folder)
            continue
        found[card.name] = Model(card, folder, bundled)
    return tuple(found.values())


def get_model(name: str, extra: Sequence[Path] = ()) -> Model:
    """Return a model by name, or by the path of its folder.

    Raises
    ------
    FileError
        When there is none.
    """
    folder = Path(name).expanduser()
    if (folder / CARD_FILE).is_file():
        return Model(read_card(folder), folder)
    models = {model.card.name: model for model in find_models(extra)}
    if name not in models:
        hint = did_you_mean(name, models) if models else "No model is installed; use a model folder."
        raise FileError(f"There is no model '{name}'.", hint=hint)
    return models[name]


def choose_model(name: str, kinds: Sequence[str], purpose: str) -> Model:
    """Return a model of one of these kinds for volumes, by name or folder; with 'auto' the first installed one.

    Parameters
    ----------
    name : str
        Name, folder, or `AUTO`.
    kinds : sequence of str
        Kinds that fit, the preferred first.
    purpose : str
        What needs the model, as the beginning of a sentence: "The error map".

    Raises
    ------
    FileError
        When there is none of this name, or none at all.
    RegistrationError
        When it is of another kind or for plane images.
    """
    wanted = " or ".join(f"'{kind}'" for kind in kinds)
    if name == AUTO:
        known = [model for model in find_models() if model.card.dimensions == 3]
        found = [model for kind in kinds for model in known if model.card.kind == kind]
        if not found:
            raise FileError(
                f"{purpose} needs a model of kind {wanted}; none is installed.", hint="Give the path of a model folder."
            )
        return found[0]
    model = get_model(name)
    if model.card.kind not in kinds or model.card.dimensions != 3:
        what = f"is of kind '{model.card.kind}'" if model.card.kind not in kinds else "works on plane images"
        raise RegistrationError(
            f"Model '{model.card.name}' {what}. {purpose} needs one of kind {wanted} for volumes.",
            hint="`dvcreg models list` lists the installed models.",
        )
    return model


def save_model(folder: Path, card: Card, module: nn.Module, *, half: bool = False) -> Card:
    """Write a model folder: the weights first, then the card with their sha256.

    Parameters
    ----------
    folder : Path
        Created if necessary; an existing model is replaced.
    card : Card
        Its `sha256` is filled in.
    module : nn.Module
        The network whose weights are written.
    half : bool, default False
        Store floating-point weights with 16 bits.

    Returns
    -------
    Card
        The card as written.
    """
    content = _serialized(module.state_dict(), half=half)
    card = dataclasses.replace(card, sha256=hashlib.sha256(content).hexdigest())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"Could not create {folder}: {error.strerror or error}.", hint=NO_SPACE) from error
    write_bytes(folder / WEIGHTS_FILE, content)
    write_json(folder / CARD_FILE, card.to_json())
    return card


def load_model(folder: Path) -> tuple[Card, RegistrationNetwork]:
    """Return the card and the network of a model folder, in evaluation mode, 32 bit, on the CPU.

    Raises
    ------
    FileError
        When the weights are missing, not safetensors, not those of the card, or do not match the method.
    SettingsError
        When the card names a method or settings that do not exist.
    """
    card = read_card(folder)
    weights = read_weights(folder, card)
    module = fresh_network(card)
    fill(module, weights, where=str(folder / WEIGHTS_FILE))
    module.eval()
    return card, module


def fresh_network(card: Card) -> RegistrationNetwork:
    """Return the network of a card with weights to be replaced; random generators do not change."""
    import torch

    method = get_method(card.method)
    try:
        settings: Any = settings_from_json(method.info.settings, card.settings)
    except SettingsError as error:
        raise SettingsError(f"The card of model '{card.name}': {error.message}", hint=error.hint) from error
    with torch.random.fork_rng(devices=[]):
        return method.network(settings, dimensions=card.dimensions)


def read_weights(folder: Path, card: Card) -> dict[str, Tensor]:
    """Read the weights of a model after comparing their sha256 with the card's; see `load_model`."""
    import safetensors
    from safetensors.torch import load

    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"Could not read {path}: {error.strerror or error}.", hint=AGAIN) from error
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise FileError(f"{path} is not the file its card describes (sha256 differs).", hint=AGAIN)
    try:
        stored = load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise FileError(f"{path} is not a safetensors file: {error}.", hint=AGAIN) from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}


def fill(module: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Load weights into a network; `FileError` unless all tensors exist, match and are finite."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wanted != given:
        name = sorted(set(wanted.items()) ^ set(given.items()))[0][0]
        words = f"got {given.get(name, 'nothing')}, expected {wanted.get(name, 'nothing')}"
        raise FileError(f"{where} does not fit its method: '{name}': {words}.", hint=AGAIN)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise FileError(f"{where}: '{name}' has values that are not finite.", hint=AGAIN)
    module.load_state_dict(dict(weights))


def _serialized(state: Mapping[str, Any], *, half: bool) -> bytes:
    import torch
    from safetensors.torch import save

    kept = {}
    for name, tensor in state.items():
        plain = tensor.detach().to("cpu", copy=True).contiguous()
        kept[name] = plain.to(torch.float16) if half and plain.is_floating_point() else plain
        if half and plain.is_floating_point() and not bool(kept[name].isfinite().all()):
            raise FileError(f"The weights '{name}' do not fit into 16 bits.", hint="Write them without half precision.")
    return save(kept, metadata={"format": "pt"})


def _candidates(extra: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    yield from ((folder, True) for folder in _models_in(resource_folder() / "Models"))
    variable = os.environ.get(MODELS_VARIABLE, "")
    own = [*extra, *(Path(entry).expanduser() for entry in variable.split(os.pathsep) if entry), user_models_folder()]
    for folder in own:
        yield from ((found, False) for found in _models_in(folder))


def _models_in(folder: Path) -> list[Path]:
    if (folder / CARD_FILE).is_file():
        return [folder]
    try:
        return sorted(path for path in folder.iterdir() if (path / CARD_FILE).is_file())
    except OSError:
        return []


def facts(model: Model) -> dict[str, str]:
    """Return the most important facts about a model: title -> text, without empty facts."""
    card = model.card
    found = {
        "Name": card.name,
        "Summary": card.summary,
        "Method": card.method,
        "Kind": card.kind,
        "Anatomy": card.anatomy,
        "Contrasts": card.contrasts,
        "Voxel size": f"{card.spacing_mm:g} mm",
        "Training grid": f"{' x '.join(map(str, card.size))} voxels ({card.orientation})",
        "Aligned structures": ", ".join(card.supervised_labels.values()),
        "Training data": _data(card.training.get("data")),
        "License of the data": _text(card.training.get("data_licence")),
        "Training": _training(card.training),
        "Domain": _domain(card.domain),
        "Validation": _text(card.validation),
        "License": card.licence,
        "Citation": card.citation,
        "Weights": f"{size_mb(model):.1f} MB, sha256 {card.sha256[:16]}…" if card.sha256 else "",
        "Folder": f"{model.folder}{' (bundled with the extension)' if model.bundled else ''}",
    }
    return {title: text for title, text in found.items() if text}


def headline(card: Card) -> str:
    """Return the most important measures of a card in one short line."""
    numbers = {name: value for name, value in card.validation.items() if isinstance(value, (int, float))}
    found = [name for start in MEASURED for name in numbers if name.startswith(start)]
    return ", ".join(f"{name.replace('_', ' ')} {numbers[name]:.3g}" for name in found[:MOST_MEASURED])


def size_mb(model: Model) -> float:
    """Return the size of the weights file in MB; 0 when it is missing."""
    path = model.folder / WEIGHTS_FILE
    return path.stat().st_size / 1e6 if path.is_file() else 0.0


def add_model(source: Path) -> Model:
    """Copy a model folder to the user's models.

    Parameters
    ----------
    source : Path
        A folder with card.json and weights.safetensors.

    Raises
    ------
    FileError
        When it is not a model folder, its weights are not those of the card, its name is taken, or it cannot be copied.
    """
    card = read_card(source)
    _check(source, card)
    if card.name in {model.card.name for model in find_models()}:
        raise FileError(
            f"A model '{card.name}' already exists.",
            hint="Remove it first (`dvcreg models remove`), or change the name in card.json.",
        )
    shelf = user_models_folder()
    target = shelf / card.name
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        # Copied to a hidden folder first, so that an incomplete copy is never found as a model.
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
        When there is none, it is bundled, in another folder, or cannot be removed.
    """
    model = get_model(name)
    if model.bundled:
        raise FileError(
            f"Model '{name}' is bundled with the extension and cannot be removed.", hint="Select another model to use."
        )
    if not is_removable(model):
        raise FileError(
            f"Model '{name}' is in {model.folder}, outside {user_models_folder()}.",
            hint="Delete that folder yourself, or remove it from DVCREG_MODELS.",
        )
    try:
        shutil.rmtree(model.folder)
    except OSError as error:
        raise FileError(f"Could not remove {model.folder}: {error.strerror or error}.") from error
    return model.folder


def is_removable(model: Model) -> bool:
    """Return whether a model is in the user's folder; other models are never deleted."""
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
        raise FileError(
            f"{path} is not a safetensors file.", hint="Other formats can contain programs and are not supported."
        )


def _data(about: Any) -> str:
    """Return the description of the training data without its nested settings, which are in the card's file."""
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
    """Return plain JSON values as one line of text."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {_text(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_text(entry) for entry in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
