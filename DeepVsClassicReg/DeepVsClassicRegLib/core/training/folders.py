"""Training folders: where the user's are, what state they are in, and their way into the model store. No torch."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileError, RegistrationError
from ..files import read_json, user_folder, write_json
from ..networks.card import CARD_FILE, Model, read_card
from ..networks.model_store import add_model, find_models, is_removable, remove_model
from .config import CONFIG_FILE, TrainingConfig, read_config
from .curves import TRAINING_FILE, VALIDATION_FILE, read_curve

STATE_FILE, LOCK_FILE = "state.json", "training.lock"
MODEL_FOLDER = "model"
CASES_FOLDER = "cases"
RUNNING, PAUSED, FINISHED, FAILED, INTERRUPTED = "running", "paused", "finished", "failed", "interrupted"
RESUMABLE = (PAUSED, FAILED, INTERRUPTED)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingFolder:
    """The state of a training folder, as found on the disk.

    Attributes
    ----------
    folder : Path
        The folder.
    config : TrainingConfig
        Its configuration.
    state : str
        'running' (in some process), 'paused' (with a checkpoint), 'finished', 'failed' (see `message`), or
        'interrupted' (its process ended without a word, it was killed).
    message, hint : str
        Why it failed, and what to do.
    step : int
        Steps so far.
    hours : float
        Hours so far.
    dice, dice_before : float or None
        Best validation Dice, and that of the linear start.
    best_step : int
        Step of the best weights so far; 0 when nothing is better than the initial ones.
    installed : str
        Name of the model in the user's folder; empty before it is installed.
    """

    folder: Path
    config: TrainingConfig
    state: str
    message: str = ""
    hint: str = ""
    step: int = 0
    hours: float = 0.0
    dice: float | None = None
    dice_before: float | None = None
    best_step: int = 0
    installed: str = ""

    @property
    def name(self) -> str:
        """Name of the model that is trained."""
        return self.config.texts().get("name", self.folder.name)

    @property
    def resumable(self) -> bool:
        """Whether it can continue."""
        return self.state in RESUMABLE

    @property
    def fraction(self) -> float:
        """Completed fraction of the requested steps or hours, 0 to 1; 0 without a limit."""
        train = self.config.train
        parts = [self.step / train.steps] if train.steps else []
        parts += [self.hours / train.hours] if train.hours else []
        return min(1.0, max(parts, default=0.0))


def user_trainings_folder() -> Path:
    """Return the folder for the training runs of the panel and the console, which may not exist yet."""
    return user_folder("data") / "Trainings"


def find_trainings() -> tuple[TrainingFolder, ...]:
    """Return the training runs of the user, the latest first; broken ones are logged."""
    found = []
    shelf = user_trainings_folder()
    folders = [path.parent for path in shelf.glob(f"*/{CONFIG_FILE}")] if shelf.is_dir() else []
    for folder in sorted(folders, key=lambda path: (path / CONFIG_FILE).stat().st_mtime, reverse=True):
        try:
            found.append(read_training(folder))
        except FileError as error:
            log.warning("Training folder skipped: %s", error)
    return tuple(found)


def read_training(folder: Path) -> TrainingFolder:
    """Return the state of a training folder; `FileError` when it contains no training run."""
    config = read_config(folder)
    content = _state(folder)
    state = str(content.get("state", INTERRUPTED))
    if is_locked(folder):
        state = RUNNING
    elif state == RUNNING:
        state = INTERRUPTED
    steps, checks = read_curve(folder / TRAINING_FILE), read_curve(folder / VALIDATION_FILE)
    last = (steps or checks or [{}])[-1]
    dice = [float(row["dice"]) for row in checks if row.get("dice")]
    before = [float(row["dice_before"]) for row in checks if row.get("dice_before")]
    return TrainingFolder(
        folder=folder,
        config=config,
        state=state,
        message=str(content.get("message", "")),
        hint=str(content.get("hint", "")),
        step=int(float(last.get("step", 0))),
        hours=float(last.get("hours", 0.0)),
        dice=max((value for value in dice if math.isfinite(value)), default=None),
        dice_before=before[0] if before else None,
        best_step=_best_step(folder),
        installed=str(content.get("installed", {}).get("name", "")),
    )


def write_state(folder: Path, state: str, message: str = "", hint: str = "", **entries: Any) -> None:
    """Write the state of a training folder; a full disk, which ends the training anyway, is only logged."""
    kept = {name: value for name, value in _state(folder).items() if name == "installed"}
    try:
        write_json(folder / STATE_FILE, {**kept, "state": state, "message": message, "hint": hint, **entries})
    except FileError as error:
        log.warning("%s", error)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a training folder, which the system releases when the process ends in any way.

    Raises
    ------
    RegistrationError
        When another process is training there.
    """
    import filelock

    lock = filelock.FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RegistrationError(
            f"Another process is training in {folder}.", hint="Wait for its end, or use another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether a process is training there; without the package filelock, which comes with torch, none is."""
    try:
        import filelock
    except ImportError:
        return False
    if not (folder / LOCK_FILE).is_file():
        return False
    lock = filelock.FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def check_name(name: str) -> str:
    """Return the name of a new model.

    Raises
    ------
    RegistrationError
        When it cannot be the name of a folder, or belongs to a model or to another training run.
    """
    if not name or name != Path(name).name or name.startswith(".") or set(name) & set('\\/:*?"<>|'):
        raise RegistrationError(
            f"'{name}' cannot be the name of a model.", hint="Use letters, digits, '-' and '_', without slashes."
        )
    if name in {model.card.name for model in find_models()}:
        raise RegistrationError(f"A model '{name}' already exists.", hint="Choose another name.")
    if (user_trainings_folder() / name / CONFIG_FILE).exists():
        raise RegistrationError(
            f"There is already a training '{name}'.", hint="Resume it, delete it, or choose another name."
        )
    return name


def free_name(wanted: str) -> str:
    """Return a name that is free, `wanted` or `wanted-2`, `wanted-3`, ..."""
    names = (wanted, *(f"{wanted}-{number}" for number in range(2, 10_000)))
    return next(name for name in names if not _is_taken(name))


def _is_taken(name: str) -> bool:
    return (user_trainings_folder() / name / CONFIG_FILE).exists() or name in {
        model.card.name for model in find_models()
    }


def install(folder: Path) -> Model:
    """Copy the best weights of a training folder to the user's models; a model of the same run is replaced.

    Raises
    ------
    RegistrationError
        When there are no weights yet, none better than the initial ones, or the name is taken by another model.
    """
    if not (folder / MODEL_FOLDER / CARD_FILE).is_file():
        raise RegistrationError(f"{folder} has no weights yet.", hint="Train longer.")
    card = read_card(folder / MODEL_FOLDER)
    if _best_step(folder) == 0:
        raise RegistrationError(
            "The training has found nothing better than its initial weights, so there is no model to install.",
            hint="Train longer, with more cases, or with another method.",
        )
    former = _state(folder).get("installed", {})
    mine = next((model for model in find_models() if model.card.name == card.name), None)
    if mine is not None and is_removable(mine) and former.get("sha256") == mine.card.sha256:
        if mine.card.sha256 == card.sha256:
            return mine
        remove_model(card.name)
    model = add_model(folder / MODEL_FOLDER)
    state = str(_state(folder).get("state", PAUSED))
    write_state(folder, state, installed={"name": card.name, "sha256": card.sha256})
    return model


def remove_training(folder: Path) -> None:
    """Delete a training folder of the user with its checkpoint and copies of cases; installed models stay.

    Raises
    ------
    RegistrationError
        When it is elsewhere, a process is training there, or it cannot be deleted.
    """
    if folder.resolve().parent != user_trainings_folder().resolve():
        raise RegistrationError(f"{folder} is not in {user_trainings_folder()}.", hint="Delete that folder yourself.")
    if is_locked(folder):
        raise RegistrationError(f"A process is training in {folder}.", hint="Pause the training first.")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise FileError(f"Could not remove {folder}: {error.strerror or error}.") from error


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE_FILE
    try:
        return read_json(path) if path.is_file() else {}
    except FileError as error:  # written by another program: the curves still tell how far it is
        log.warning("%s", error)
        return {}


def _best_step(folder: Path) -> int:
    """Return the step of the best weights, from their card."""
    try:
        return int(read_card(folder / MODEL_FOLDER).training.get("steps", 0))
    except FileError:
        return 0
