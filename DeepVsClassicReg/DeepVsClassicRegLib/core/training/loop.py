"""The training loop: steps, curves, validation and checkpoints, until it is finished or canceled."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..device import Compute, torch_threads
from ..errors import Cancelled
from ..networks.base import Batch
from ..networks.card import Card
from ..networks.catalogue import get_method
from ..networks.model_store import fill, load_model
from ..pair import Pair
from ..progress import Progress
from .checkpoint import has_checkpoint, read_checkpoint, write_checkpoint
from .config import TrainingConfig
from .curves import TRAINING_FILE, VALIDATION_FILE, Curve, draw_curves, mean_row
from .export import MODEL_FOLDER, card_of, domain_of, refresh_card, write_model
from .group import Group, joined_group
from .rng import kept_random
from .sources import Source
from .stages import part_done
from .state import State, fitted_config, new_state
from .step import Stepper, to_device
from .validation import Register, score, start_dice, validate, validate_pairs

PICTURE_EVERY_S = 60.0
POOR_DICE = 0.2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOutcome:
    """The outcome of `train`.

    Attributes
    ----------
    finished : bool
        Whether the requested steps or hours were reached (otherwise it was canceled and can be resumed).
    step : int
        Total number of steps.
    hours : float
        Total training time.
    best : dict
        Validation measures of the saved weights.
    model : Path
        The model folder.
    """

    finished: bool
    step: int
    hours: float
    best: dict[str, Any]
    model: Path


def train(
    config: TrainingConfig,
    source: Source,
    folder: Path,
    *,
    compute: Compute | None = None,
    progress: Progress | None = None,
    register: Register | None = None,
) -> TrainingOutcome:
    """Train from the checkpoint of the folder, or from the beginning when there is none.

    Parameters
    ----------
    config : TrainingConfig
        The configuration; the same as before when resuming.
    source : Source
        Training data.
    folder : Path
        Receives checkpoint, curves and model; created when it does not exist.
    compute : Compute
        Device and threads; the seed is the config's.
    progress : Progress
        Receives every step; on cancel a checkpoint is written and the function returns.
    register : callable, optional
        Registers a pair with a network as the network engine does; used to validate on real pairs.
    """
    compute = compute or Compute()
    config = fitted_config(config, source.labels)
    folder.mkdir(parents=True, exist_ok=True)
    with joined_group(compute.device) as group, kept_random(group.device), torch_threads(compute.thread_count):
        return _Loop(
            config, source, folder, group, progress or Progress(), register, threads=compute.thread_count
        ).run()


class _Loop:
    def __init__(
        self,
        config: TrainingConfig,
        source: Source,
        folder: Path,
        group: Group,
        progress: Progress,
        register: Register | None,
        *,
        threads: int,
    ) -> None:
        self.config, self.source, self.folder, self.group, self.progress = config, source, folder, group, progress
        self.method = get_method(config.method)
        self.state = begun(config, source, folder, group.device)
        self.stepper = Stepper(config, source, self.method, self.state, group)
        self.batches: Sequence[Batch] = source.validation() if group.leads else ()
        self.register = register
        registers = group.leads and register is not None and self.method.info.kind == "field"
        self.pairs: Sequence[Pair] = source.validation_pairs() if registers else ()
        self.threads = threads
        self.start_dice = start_dice(self.pairs, threads=threads)
        self.domain = domain_of(source, config.texts().get("name", folder.name)) if group.leads else {}
        self.rows: list[dict[str, float]] = []
        self.stopped = False
        self.before, self.first = self.state.seconds, self.state.step
        self.clock = time.process_time if config.train.clock == "cpu" else time.monotonic
        self.started = self.clock()
        self.saved = self.drawn = time.monotonic()

    def run(self) -> TrainingOutcome:
        if self.group.leads:
            self.training_curve = Curve(self.folder / TRAINING_FILE, self.state.step)
            self.validation_curve = Curve(self.folder / VALIDATION_FILE, self.state.step)
        log.info("Training starts at step %d on %s.", self.state.step, self.group.device)
        if self.state.step == 0:
            self._validate()
            self._warn_of_misaligned_data()
        while not self._done():
            self._advance()
            self._step()
        if not self.stopped and self.state.step % self.config.train.validate_every:
            self._validate()
        self._flush()
        self._save()
        if self.group.leads:
            self._draw()
            if self.state.best:  # nothing is saved when the first validation was canceled
                refresh_card(self.folder, self.config, self.state)
        log.info("Training %s at step %d.", "stopped" if self.stopped else "finished", self.state.step)
        return self._outcome()

    def _advance(self) -> None:
        """Enter the next stages that are due, after validating the weights at the end of the previous one."""
        while self.stepper.is_stage_over():
            self._flush()
            if self.state.step % self.config.train.validate_every:
                self._validate()
            former = self.stepper.stage.name
            self.stepper.advance()
            log.info("Step %d: stage '%s' ended, '%s' starts.", self.state.step, former, self.stepper.stage.name)
            if "dice" not in self.state.best:
                # Objectives of different stages are not comparable: the weights of the next validation are saved.
                self.state.best = {}
            self._save()

    def _step(self) -> None:
        self.rows.append(self.stepper.step())
        self.state.seconds = self.before + self.clock() - self.started
        self._report()
        at_row = self.state.step % self.config.train.log_every == 0
        if at_row:
            self._flush()
        if self.state.step % self.config.train.validate_every == 0:
            self._validate()
            self._save()
        elif at_row and time.monotonic() - self.saved > 60 * self.config.train.checkpoint_minutes:
            self._save()  # at a row of the curves, so that a killed run loses no part of a row

    def _done(self) -> bool:
        train, state = self.config.train, self.state
        if train.steps and state.step >= train.steps:
            return True
        late = bool(train.hours) and state.seconds >= 3600 * train.hours
        self.stopped = self.group.any_true(self.stopped)
        return self.group.any_true(late) or self.stopped

    def _report(self) -> None:
        train, state, row = self.config.train, self.state, self.rows[-1]
        pace = (state.seconds - self.before) / (state.step - self.first)
        words = f"Step {state.step}, {pace:.2g} s each"
        if len(self.stepper.stages) > 1:
            words = f"{self.stepper.stage.name}: {words}"
        best = state.best.get("dice")
        words += "" if best is None else f", best Dice {best:.3f}"
        try:
            self.progress.report(
                part_done(train, state.step, state.seconds), words, metric=row["loss"], iteration=state.step
            )
        except Cancelled:
            self.stopped = True

    def _validate(self) -> None:
        if not self.group.leads:
            return
        state = self.state
        if not self.batches:
            self._keep({})
            return
        try:
            numbers = self._measured()
        except Cancelled:  # the same step is not validated again, except the first one
            self.stopped = True
            return
        hours = state.seconds / 3600
        self.validation_curve.add({"step": state.step, "hours": hours, **numbers})
        better = not state.best or score(numbers) > state.best.get("score", -math.inf)
        log.info("Step %d: %s%s", state.step, _words(numbers), " (kept)" if better else "")
        if better:
            self._keep({"pairs": len(self.batches), "score": score(numbers), **numbers})
        if time.monotonic() - self.drawn > PICTURE_EVERY_S:
            self._draw()

    def _measured(self) -> dict[str, float]:
        """Return the validation measures of the current weights; a cancel between two pairs raises `Cancelled`."""
        state = self.state
        batches = (to_device(batch, self.group.device) for batch in self._checked(self.batches))
        numbers = validate(state.kept, self.method, self.stepper.context, batches)
        if self.pairs and self.register is not None:
            pairs = self._checked(self.pairs)
            numbers |= validate_pairs(state.kept, self._card(), pairs, self.register, threads=self.threads)
            if self.start_dice is not None:
                numbers["dice_before"] = self.start_dice
        return numbers

    def _checked(self, entries: Iterable[Any]) -> Iterator[Any]:
        for entry in entries:
            self.progress.check()
            yield entry

    def _warn_of_misaligned_data(self) -> None:
        before = self.state.best.get("dice_before", 1.0)
        if before < POOR_DICE:
            log.warning("The Dice of validation pairs is only %.2f: align real data with --linear first.", before)

    def _draw(self) -> None:
        draw_curves(self.folder)
        self.drawn = time.monotonic()

    def _keep(self, numbers: dict[str, Any]) -> None:
        """Save the current weights as the model: the best so far, or the last ones without validation pairs."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self.state.best = {"step": self.state.step, **finite}
        write_model(self.folder, self._card(), self.config, self.state)

    def _card(self) -> Card:
        return card_of(self.folder, self.config, self.source, self.state, self.domain, str(self.group.device))

    def _flush(self) -> None:
        if not self.rows:
            return
        mean = mean_row(self.rows)
        rate = self.stepper.learning_rate()
        if self.group.leads:
            stage = {"stage": self.state.stage + 1} if len(self.stepper.stages) > 1 else {}
            self.training_curve.add(
                {"step": self.state.step, "hours": self.state.seconds / 3600, "learning_rate": rate, **stage, **mean}
            )
        self.rows = []

    def _save(self) -> None:
        if self.group.leads:
            write_checkpoint(self.folder, self.state)
        self.saved = time.monotonic()

    def _outcome(self) -> TrainingOutcome:
        state = self.state
        return TrainingOutcome(
            not self.stopped, state.step, state.seconds / 3600, state.best, self.folder / MODEL_FOLDER
        )


def begun(config: TrainingConfig, source: Source, folder: Path, device: torch.device) -> State:
    """Return the initial state: the folder's checkpoint, the weights of a model, or random weights."""
    state = new_state(config, len(source.size), device)
    if has_checkpoint(folder):
        read_checkpoint(folder, state)
    elif config.start:
        start = Path(config.start["folder"])
        _card, module = load_model(start)
        for network in (state.module, *([state.averaged] if state.averaged is not None else [])):
            fill(network, module.state_dict(), where=str(start))
    else:
        get_method(config.method).prepare(state.module, source.sample)
        if state.averaged is not None:
            state.averaged.load_state_dict(state.module.state_dict())
    return state


def _words(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in numbers.items())
