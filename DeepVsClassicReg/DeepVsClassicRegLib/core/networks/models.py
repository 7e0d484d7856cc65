"""Model folders: finding them, and writing and reading weights so that only the right ones are ever used."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileError, SettingsError, did_you_mean
from ..files import NO_SPACE, write_json
from ..resources import resource_folder
from ..settings import from_json as settings_from_json
from .card import CARD_FILE, WEIGHTS_FILE, Card, Model, read_card
from .catalogue import get_method

if TYPE_CHECKING:
    from torch import Tensor, nn

MODELS_VARIABLE = "DVCREG_MODELS"
AGAIN = "Copy the model folder again from where it came; weights of unknown origin are never loaded."
log = logging.getLogger(__name__)


def user_models_folder() -> Path:
    """Return the folder for a user's own models (maybe not there yet)."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "DeepVsClassicReg" / "Models"


def find_models(extra: Sequence[Path] = ()) -> tuple[Model, ...]:
    """Return the models that ship, then those of `extra`, of the variable DVCREG_MODELS and of the user's folder.

    Of two models with the same name the first is taken; a folder with a broken card is left out with a warning in the
    log. torch is not loaded, the weights are not read.

    Parameters
    ----------
    extra : sequence of Path
        Folders that hold model folders (or are one).
    """
    found: dict[str, Model] = {}
    for folder, bundled in _candidates(extra):
        try:
            card = read_card(folder)
        except FileError as error:
            log.warning("Model folder left out: %s", error)
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
        hint = did_you_mean(name, models) if models else "No model is installed; give a model folder."
        raise FileError(f"There is no model '{name}'.", hint=hint)
    return models[name]


def save_model(folder: Path, card: Card, module: nn.Module, *, half: bool = False) -> Card:
    """Write a model folder: the weights first, then the card with their sha256.

    Parameters
    ----------
    folder : Path
        Made when it is not there; a model that lies there is replaced.
    card : Card
        Its `sha256` is filled in.
    module : nn.Module
        Its state is written.
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
        draft = folder / f".{WEIGHTS_FILE}.{os.getpid()}.part"
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / WEIGHTS_FILE)
    except OSError as error:
        raise FileError(f"Could not write the model to {folder}: {error.strerror or error}.", hint=NO_SPACE) from error
    write_json(folder / CARD_FILE, card.to_json())
    return card


def load_model(folder: Path) -> tuple[Card, nn.Module]:
    """Return the card and the network of a model folder, in evaluation mode, 32 bit, on the CPU.

    Raises
    ------
    FileError
        When the weights are missing, no safetensors, not those of the card, or do not fit the method.
    SettingsError
        When the card names a method or settings that do not exist.
    """
    card = read_card(folder)
    weights = read_weights(folder, card)
    module = fresh_network(card)
    fill(module, weights, where=str(folder / WEIGHTS_FILE))
    return card, module.eval()


def fresh_network(card: Card) -> nn.Module:
    """Return the network of a card with weights that are about to be replaced; random generators stay as they are."""
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
        raise FileError(f"{path} is no safetensors file: {error}.", hint=AGAIN) from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}


def fill(module: nn.Module, weights: Mapping[str, Tensor], *, where: str) -> None:
    """Put weights into a network; `FileError` unless every tensor is there, fits and is finite."""
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
