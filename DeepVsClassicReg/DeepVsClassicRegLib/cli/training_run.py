"""Trains a network in this process: config, log, progress, signals, and the final summary."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..core.choice import Choice
from ..core.device import Compute, torch_device
from ..core.files import protect_inputs
from ..core.networks.card import CARD_FILE, WEIGHTS_FILE
from ..core.networks.catalogue import get_method
from ..core.pair import Pair
from ..core.progress import Progress, Update
from ..core.training.checkpoint import CHECKPOINT_FILE
from ..core.training.config import CONFIG_FILE, FIRST, SHAPES, TrainingConfig, is_generated, parts_of
from ..core.training.curves import PICTURE_FILE, TRAINING_FILE, VALIDATION_FILE
from ..core.training.estimate import TrainingEstimate, estimate
from ..core.training.export import MODEL_FOLDER
from ..core.training.group import group_rank
from ..core.training.loop import TrainingOutcome, train
from ..core.training.preprocessing import Align
from ..core.training.source_factory import make_source
from ..core.training.sources import Source
from ..core.training.state import method_settings
from ..core.training.validation import Register
from ..core.transforms.transform import Transform
from ..worker.protocol import EXIT_CANCELLED, EXIT_RESULT
from .folders import output_folder
from .output import show_entries, show_json
from .running import shown_updates
from .training_config import config_from, data_settings

LOG_FILE = "train.log"
PREPARED_FOLDER = "prepared"
WRITTEN = (CONFIG_FILE, CHECKPOINT_FILE, TRAINING_FILE, VALIDATION_FILE, PICTURE_FILE, LOG_FILE)
LINE_EVERY_S = 60.0


def run_training(context: click.Context, options: Mapping[str, Any], start: Mapping[str, str] | None = None) -> int:
    """Train with the options of a command and return the exit code.

    Parameters
    ----------
    context : click.Context
        Tells which options were given.
    options : mapping
        All options of the command.
    start : mapping, optional
        The model to start from (name, sha256, folder).
    """
    config = config_from(context, options, start or {})
    compute = Compute(device=options["device"], threads=options["threads"], seed=config.train.seed)
    if options["dry_run"]:
        with (
            tempfile.TemporaryDirectory() as cache,
            shown_updates(_once_a_minute(), quiet=options["quiet"]) as listener,
        ):
            source = _source(config, compute, Path(cache), Progress(listener))
            found = estimate(config, source, compute=compute)
        return _show_estimate(found, config, as_json=options["as_json"])
    out, leads = Path(options["out"]), group_rank() == 0
    quiet = options["quiet"] or not leads
    if not options["resume"]:
        _protect_inputs(config, out)
    with shown_updates(_once_a_minute(), quiet=quiet) as listener:
        source = _source(config, compute, out / PREPARED_FOLDER, Progress(listener))
        folder = output_folder(out)
        with _logged(folder if leads else None), _stoppable() as stopped:
            if leads:
                config.write(folder)
            outcome = train(
                config,
                source,
                folder,
                compute=compute,
                progress=Progress(listener, stopped),
                register=_registrar(compute),
            )
    if leads:
        _show(outcome, folder, quiet=quiet, as_json=options["as_json"])
    return EXIT_RESULT if outcome.finished else EXIT_CANCELLED


def _protect_inputs(config: TrainingConfig, out: Path) -> None:
    """Raise when files of the output folder are inputs of the training run."""
    data = data_settings(config)
    parts = [part for part in parts_of(data.spec) if part != SHAPES]
    named = [part.partition(":")[2] if is_generated(part) else part for part in parts]
    named += [path for path in (data.linear, config.start.get("folder")) if path and path != FIRST]
    model = [out / MODEL_FOLDER / name for name in (CARD_FILE, WEIGHTS_FILE)]
    protect_inputs(map(Path, named), [*(out / name for name in WRITTEN), *model, out / PREPARED_FOLDER / "volume"])


def _source(config: TrainingConfig, compute: Compute, cache: Path, progress: Progress) -> Source:
    data, method = data_settings(config), get_method(config.method)
    return make_source(
        data,
        seed=config.train.seed,
        device=_device(compute.device),
        cache=cache,
        align=_aligner(compute),
        teach=_teacher(data.teacher, compute) if data.teacher else None,
        supervision=config.supervision,
        method_teacher=method.teacher(method_settings(method, config)),
        partial_labels=method.info.partial_labels,
        progress=progress,
    )


def _registrar(compute: Compute) -> Register:
    """Return the function that registers a validation pair with the current network."""
    from ..core.engines.network.engine import transform_with

    return lambda network, card, pair: transform_with(network, card, pair, compute)


def _teacher(name: str, compute: Compute) -> Callable[[Pair], Transform]:
    """Return the function with which the teacher engine registers a pair on the training grid."""
    from ..core.engines.catalogue import get_engine
    from ..core.settings import make_settings

    choice = Choice.parse(name)
    engine = get_engine(choice.engine)
    engine.info.require()
    settings: Any = make_settings(engine.info.settings, choice.engine, choice.preset)
    return lambda pair: engine.run(pair, settings, Progress(), compute).transform


def _aligner(compute: Compute) -> Align:
    """Return the linear alignment of the engines in the form that training needs."""
    from ..core.engines.start import align_linearly

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


def _once_a_minute() -> Callable[[Update], bool]:
    last = -LINE_EVERY_S

    def is_due(_update: Update) -> bool:
        nonlocal last
        now = time.monotonic()
        due = now - last >= LINE_EVERY_S
        last = now if due else last
        return due

    return is_due


@contextmanager
def _stoppable() -> Iterator[Any]:
    """Return whether Ctrl-C or SIGTERM was received; the second one ends the process immediately."""
    came: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_estimate(found: TrainingEstimate, config: TrainingConfig, *, as_json: bool) -> int:
    train_settings = config.train
    content = dataclasses.asdict(found)
    if train_settings.hours:
        content["steps_in_the_hours"] = found.steps_in(train_settings.hours, train_settings.validate_every)
    if train_settings.steps:
        content["hours_for_the_steps"] = found.hours_for(train_settings.steps, train_settings.validate_every)
    if as_json:
        show_json(content)
    else:
        rounded = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in content.items()}
        show_entries("Measured on a few steps", {name.replace("_", " "): value for name, value in rounded.items()})
    return EXIT_RESULT


def _show(outcome: TrainingOutcome, folder: Path, *, quiet: bool, as_json: bool) -> None:
    content = {**dataclasses.asdict(outcome), "model": str(outcome.model)}
    if as_json:
        show_json(content)
    elif not quiet:
        numbers = {f"best {name.replace('_', ' ')}": value for name, value in outcome.best.items()}
        title = "Finished" if outcome.finished else f"Stopped; continue with: dvcreg train --resume --out {folder}"
        show_entries(title, {"step": outcome.step, "hours": f"{outcome.hours:.3f}", **numbers, "model": outcome.model})
