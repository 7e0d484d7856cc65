"""Training runs: a config or choices in, a training folder and a model out; used by commands, worker and console.

It connects the training to the engines (linear alignment, teacher, registration of validation pairs), which training
itself must not import.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .device import Compute, torch_device
from .errors import Cancelled, FileError, RegistrationError, SettingsError
from .files import NO_SPACE, protect_inputs
from .networks.card import CARD_FILE, WEIGHTS_FILE, Model
from .networks.catalogue import get_method
from .pair import Pair
from .progress import Progress
from .settings import Choice
from .training.config import CONFIG_FILE, FIRST, SHAPES, TrainingConfig, is_generated, parts_of, read_config
from .training.curves import PICTURE_FILE, TRAINING_FILE, VALIDATION_FILE
from .training.folders import (
    FAILED,
    FINISHED,
    MODEL_FOLDER,
    PAUSED,
    RUNNING,
    check_name,
    free_name,
    install,
    locked,
    user_trainings_folder,
    write_state,
)
from .training.options import USUAL_AUGMENTATION, TrainingOptions, config_of, data_settings, start_of
from .transforms.transform import Transform

if TYPE_CHECKING:
    from .training.estimate import TrainingEstimate
    from .training.loop import TrainingOutcome
    from .training.preprocessing import Align
    from .training.sources import Source
    from .training.validation import Register

LOG_FILE = "train.log"
PREPARED_FOLDER = "prepared"
CHECKPOINT = "checkpoint.safetensors"
WRITTEN = (CONFIG_FILE, CHECKPOINT, TRAINING_FILE, VALIDATION_FILE, PICTURE_FILE, LOG_FILE)
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
# What the panel and the console train unless told otherwise: with labels the best of Testing/bench/METHODS.md; without
# labels no method was measured to be better than the others, and LapIRN is a common choice.
DEFAULT_METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "labels": ("vfa", {"label_weight": 3.0}),
    "none": ("lapirn", {}),
}
USUAL_TRAIN: Mapping[str, Any] = {
    "schedule": "cosine",
    "learning_rate": 1e-3,
    "warmup": 50,
    "average": 0.99,
    "validate_every": 100,
}
# Of fine-tuning: small steps, so that the start is not lost.
TUNING = {"learning_rate": 1e-4}
VALIDATION_PAIRS = 10


def train(
    data: str | os.PathLike[str],
    *,
    method: str = "",
    supervision: str = "none",
    hours: float = 0.0,
    steps: int = 0,
    name: str = "",
    out: str | os.PathLike[str] | None = None,
    size: str = "auto",
    spacing_mm: float = 2.0,
    linear: str = FIRST,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Model:
    """Train a network on your cases and add it to your models, which the engine `network` and the advice use.

    Parameters
    ----------
    data : path or str
        A folder, a CSV or JSON manifest, 'shapes', 'labels:FOLDER'; see `dvcreg train --help`.
    method : str
        Name in the catalogue (`dvcreg methods`); by default that of `DEFAULT_METHODS` for the supervision.
    supervision : {'none', 'labels', 'displacement'}
        What is learned from besides the images.
    hours, steps : float, int
        Length of the training; at least one is needed.
    name : str
        Name of the model; default: that of the method with a number.
    out : path, optional
        Training folder; default: one in the user's folder of trainings.
    size, spacing_mm, linear
        Training grid and alignment of the cases, see `TrainingOptions`; by default they fit the cases, which are
        aligned linearly to the first one.
    settings : mapping, optional
        Settings of the method that differ from its defaults.
    options : mapping, optional
        Further entries of `TrainingOptions`.
    device, threads, seed
        As for `register`.
    progress : Progress, optional
        Receives every step; on cancel a checkpoint is written and `Cancelled` is raised; `resume_training` continues.

    Returns
    -------
    Model
        The model in the user's folder.

    Raises
    ------
    RegistrationError
        When data, settings or the name are not usable, or nothing better than the initial weights was found.
    Cancelled
        When the user canceled.
    """
    usual = usual_options(supervision)
    chosen = {} if method in ("", usual["method"]) else {"method": method, "settings": {}}
    wanted = {
        **usual,
        **chosen,
        "data": os.fspath(data),
        "size": size,
        "spacing_mm": spacing_mm,
        "linear": "" if _is_made(os.fspath(data)) else linear,
        **(options or {}),
    }
    wanted["settings"] = {**wanted["settings"], **(settings or {})}
    limits = {"hours": hours, "steps": steps, "seed": seed}
    return _trained(wanted, {}, limits, name, out, Compute(device=device, threads=threads, seed=seed), progress)


def finetune(
    model: str,
    data: str | os.PathLike[str],
    *,
    hours: float = 0.0,
    steps: int = 0,
    supervision: str = "",
    name: str = "",
    out: str | os.PathLike[str] | None = None,
    linear: str = FIRST,
    options: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Model:
    """Adapt a model to your cases and add the result to your models; parameters as for `train`.

    Parameters
    ----------
    model : str
        Name or folder of the model to start from, which does not change.
    supervision : str
        By default labels where the method supports them.
    """
    usual, start = start_of(model)
    wanted = {
        **usual_options(usual["supervision"]),
        **usual,
        "train": {**USUAL_TRAIN, **TUNING},
        "data": os.fspath(data),
        "linear": "" if _is_made(os.fspath(data)) else linear,
        **({"supervision": supervision} if supervision else {}),
        **(options or {}),
    }
    limits = {"hours": hours, "steps": steps, "seed": seed}
    return _trained(wanted, start, limits, name, out, Compute(device=device, threads=threads, seed=seed), progress)


def resume_training(
    folder: str | os.PathLike[str],
    *,
    hours: float = 0.0,
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
) -> Model:
    """Continue a training from its checkpoint and add the model to the user's models.

    Parameters
    ----------
    folder : path
        The training folder.
    hours : float
        New total time; 0 keeps the former limit.
    device, threads, progress
        As for `train`.
    """
    place = Path(folder)
    config = read_config(place)
    if hours:
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, hours=hours))
    return _installed(config, place, Compute(device=device, threads=threads, seed=config.train.seed), progress)


def usual_options(supervision: str) -> dict[str, Any]:
    """Return the default choices of the panel and the console for a supervision, entries of `TrainingOptions`."""
    method, settings = DEFAULT_METHODS.get(supervision, DEFAULT_METHODS["none"])
    return {
        "method": method,
        "settings": dict(settings),
        "supervision": supervision,
        "size": "auto",
        "linear": FIRST,
        "validation": VALIDATION_PAIRS,
        "augmentation": {USUAL_AUGMENTATION: True},
        "train": dict(USUAL_TRAIN),
    }


def run_training(
    config: TrainingConfig,
    folder: Path,
    *,
    compute: Compute,
    leads: bool = True,
    progress: Progress | None = None,
    training: Progress | None = None,
) -> TrainingOutcome:
    """Train in a folder, from its checkpoint when there is one, and keep its state file and log.

    Parameters
    ----------
    config : TrainingConfig
        The configuration; the same as before when resuming.
    folder : Path
        The training folder; created when the data are prepared.
    compute : Compute
        Device and threads.
    leads : bool
        Whether this process writes the files; False for all but one process of a group.
    progress : Progress, optional
        Receives the preparation of the data; a cancel there raises `Cancelled`.
    training : Progress, optional
        Receives the steps, by default as `progress`; on cancel a checkpoint is written and the outcome returned.

    Raises
    ------
    RegistrationError
        When the data are not usable, the disk is full, or another process is training in the folder.
    """
    from .training.loop import train as run

    listener = progress or Progress()
    check_data(config)
    _make_folder(folder)
    mine = folder if leads else None
    with locked(folder) if leads else nullcontext(), _stated(mine), _logged(mine):
        if leads:
            config.write(folder)
        source = make_training_source(config, compute, folder / PREPARED_FOLDER, listener)
        outcome = run(
            config,
            source,
            folder,
            compute=compute,
            progress=training or listener,
            register=_registrar(compute),
        )
        if leads:
            write_state(folder, FINISHED if outcome.finished else PAUSED)
    return outcome


def check_data(config: TrainingConfig) -> None:
    """Raise `FileError` when the cases of a training do not exist or are too few; reads no volumes."""
    from .training.manifest import read_manifest

    data = data_settings(config)
    for part in parts_of(data.spec):
        if not is_generated(part):
            read_manifest(Path(part), validation=data.validation)


def estimate_training(
    config: TrainingConfig, cache: Path, *, compute: Compute, progress: Progress | None = None
) -> TrainingEstimate:
    """Return time and memory of a training, measured on a few steps; prepared volumes are stored in `cache`."""
    from .training.estimate import estimate

    source = make_training_source(config, compute, cache, progress or Progress())
    return estimate(config, source, compute=compute)


def make_training_source(config: TrainingConfig, compute: Compute, cache: Path, progress: Progress) -> Source:
    """Return the data of a config, prepared.

    Raises
    ------
    SettingsError
        When the supervision is 'labels' and a case has none.
    """
    from .training.source_factory import make_source
    from .training.state import method_settings

    data, method = data_settings(config), get_method(config.method)
    source = make_source(
        data,
        seed=config.train.seed,
        device=_device(compute.device),
        cache=cache,
        align=_aligner(compute),
        teach=teacher_engine(data.teacher, compute) if data.teacher else None,
        supervision=config.supervision,
        method_teacher=method.teacher(method_settings(method, config)),
        partial_labels=method.info.partial_labels,
        progress=progress,
    )
    if config.supervision == "labels" and not data.generated and not source.labels:
        raise SettingsError(
            "Training with labels needs a segmentation of every training case.",
            hint="Add the missing segmentations, leave these cases out, or train from images only.",
        )
    return source


def protect_training_inputs(config: TrainingConfig, out: Path) -> None:
    """Raise `FileError` when files of the training folder are inputs of the training."""
    data = data_settings(config)
    parts = [part for part in parts_of(data.spec) if part != SHAPES]
    named = [part.partition(":")[2] if is_generated(part) else part for part in parts]
    named += [path for path in (data.linear, config.start.get("folder")) if path and path != FIRST]
    model = [out / MODEL_FOLDER / name for name in (CARD_FILE, WEIGHTS_FILE)]
    protect_inputs(map(Path, named), [*(out / name for name in WRITTEN), *model, out / PREPARED_FOLDER / "volume"])


def teacher_engine(name: str, compute: Compute) -> Callable[[Pair], Transform]:
    """Return the function with which a teacher ('engine:preset') registers a pair on the training grid."""
    from .engines.catalogue import get_engine
    from .settings import make_settings

    choice = Choice.parse(name)
    engine = get_engine(choice.engine)
    engine.info.require()
    settings: Any = make_settings(engine.info.settings, choice.engine, choice.preset)
    return lambda pair: engine.run(pair, settings, Progress(), compute).transform


def _trained(
    wanted: Mapping[str, Any],
    start: Mapping[str, str],
    limits: Mapping[str, Any],
    name: str,
    out: str | os.PathLike[str] | None,
    compute: Compute,
    progress: Progress | None,
) -> Model:
    if not limits["hours"] and not limits["steps"]:
        raise SettingsError("A training needs a length.", hint="Give hours or steps.")
    name = check_name(name) if name else free_name(f"my-{wanted['method']}")
    options = TrainingOptions.from_json(
        {
            **wanted,
            "train": {**wanted.get("train", {}), **limits},
            "texts": {"title": name, **wanted.get("texts", {}), "name": name},
        }
    )
    config = config_of(options, start=start, command="dvc.finetune" if start else "dvc.train")
    folder = user_trainings_folder() / name if out is None else Path(out)
    protect_training_inputs(config, folder)
    return _installed(config, folder, compute, progress)


def _installed(config: TrainingConfig, folder: Path, compute: Compute, progress: Progress | None) -> Model:
    """Train and install the model; raise `Cancelled` when it was stopped."""
    outcome = run_training(config, folder, compute=compute, progress=progress)
    if not outcome.finished:
        raise Cancelled(f"The training is paused at step {outcome.step} in {folder}.")
    return install(folder)


def _is_made(spec: str) -> bool:
    return all(is_generated(part) for part in parts_of(spec))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"Could not create {folder}: {error.strerror or error}.", hint=NO_SPACE) from error


@contextmanager
def _stated(folder: Path | None) -> Iterator[None]:
    """Write the state 'running', and how the block fails: the reason is shown after a restart, too."""
    if folder is None:
        yield
        return
    write_state(folder, RUNNING)
    try:
        yield
    except Cancelled:
        write_state(folder, PAUSED)
        raise
    except RegistrationError as error:
        write_state(folder, FAILED, error.message, error.hint)
        raise
    except OSError as error:
        if error.errno not in FULL:
            write_state(folder, FAILED, str(error), "See train.log in the training folder.")
            raise
        full = FileError(f"The disk is full: {folder}.", hint="Free some space, then resume the training.")
        write_state(folder, FAILED, full.message, full.hint)
        raise full from error
    except Exception as error:
        write_state(folder, FAILED, f"{type(error).__name__}: {error}", "See train.log in the training folder.")
        raise


def _registrar(compute: Compute) -> Register:
    """Return the function that registers a validation pair with the current network."""
    from .engines.network.engine import transform_with

    return lambda network, card, pair: transform_with(network, card, pair, compute)


def _aligner(compute: Compute) -> Align:
    """Return the linear alignment of the engines in the form that training needs."""
    from .engines.registration import align_linearly

    return lambda template, volume: align_linearly(Pair(template, volume), compute, Progress()).transform


def _device(wanted: str) -> str:
    kind = torch_device(wanted)
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if kind == "cuda" else kind


@contextmanager
def _logged(folder: Path | None) -> Iterator[None]:
    """Write the library's log messages to train.log."""
    if folder is None:
        yield
        return
    logger = logging.getLogger(__name__.partition(".")[0])
    before, handler = logger.level, logging.FileHandler(folder / LOG_FILE, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()
