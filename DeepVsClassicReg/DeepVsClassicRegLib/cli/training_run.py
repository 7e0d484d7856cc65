"""Trains a network in this process: config, log, progress, signals, and the final summary."""

from __future__ import annotations

import dataclasses
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..core.device import Compute
from ..core.networks.card import Model
from ..core.progress import Progress, Update
from ..core.train import estimate_training, protect_training_inputs, run_training
from ..core.training.config import CONFIG_FILE, TrainingConfig
from ..core.training.estimate import TrainingEstimate
from ..core.training.folders import check_name, install, read_training
from ..core.training.group import group_rank
from ..core.training.loop import TrainingOutcome
from ..worker.protocol import EXIT_CANCELLED, EXIT_RESULT
from .output import show_entries, show_json
from .running import shown_updates
from .training_config import config_from

LINE_EVERY_S = 60.0


def train_from_options(
    context: click.Context, options: Mapping[str, Any], start: Mapping[str, str] | None = None
) -> int:
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
            found = estimate_training(config, Path(cache), compute=compute, progress=Progress(listener))
        return _show_estimate(found, config, as_json=options["as_json"])
    out, leads = Path(options["out"]), group_rank() == 0
    quiet = options["quiet"] or not leads
    if not options["resume"]:
        protect_training_inputs(config, out)
    if options["install"] and not _was_installed(out):
        check_name(config.texts().get("name", out.resolve().name))
    with shown_updates(_once_a_minute(), quiet=quiet) as listener, _stoppable() as stopped:
        outcome = run_training(
            config,
            out.resolve(),
            compute=compute,
            leads=leads,
            progress=Progress(listener),
            training=Progress(listener, stopped),
        )
    model = install(out) if options["install"] and outcome.finished and leads else None
    if leads:
        _show(outcome, out.resolve(), model, quiet=quiet, as_json=options["as_json"])
    return EXIT_RESULT if outcome.finished else EXIT_CANCELLED


def _was_installed(out: Path) -> bool:
    return (out / CONFIG_FILE).is_file() and bool(read_training(out).installed)


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


def _show(outcome: TrainingOutcome, folder: Path, model: Model | None, *, quiet: bool, as_json: bool) -> None:
    content = {**dataclasses.asdict(outcome), "model": str(outcome.model)}
    if model is not None:
        content["installed"] = model.card.name
    if as_json:
        show_json(content)
    elif not quiet:
        numbers = {f"best {name.replace('_', ' ')}": value for name, value in outcome.best.items()}
        title = "Finished" if outcome.finished else f"Stopped; continue with: dvcreg train --resume --out {folder}"
        use = f"--engine network --set model={model.card.name}" if model else f"dvcreg models add {outcome.model}"
        about = {"step": outcome.step, "hours": f"{outcome.hours:.3f}", **numbers, "model": outcome.model}
        show_entries(title, {**about, "installed as" if model else "to install it": use})
