"""The stages of a training run: current stage, trained parameters and learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ..errors import SettingsError
from ..networks.base import RegistrationNetwork, Stage
from .config import TrainSettings

FLOOR = 0.01  # fraction of the learning rate at the end of a cosine schedule


def checked_stages(stages: Sequence[Stage], train: TrainSettings) -> tuple[Stage, ...]:
    """Return the stages.

    Raises
    ------
    SettingsError
        When there are several and the length of training is not limited.
    """
    if len(stages) > 1 and not train.steps and not train.hours:
        raise SettingsError(
            f"This method is trained in {len(stages)} stages, which need a limit of the training length.",
            hint="Give --steps or --hours.",
        )
    return tuple(stages)


def part_done(train: TrainSettings, step: int, seconds: float) -> float:
    """Return the completed fraction of training, 0 to 1; 0 without a limit."""
    by_steps = step / train.steps if train.steps else 0.0
    by_time = seconds / 3600 / train.hours if train.hours else 0.0
    return min(1.0, max(by_steps, by_time))


def stage_span(stages: Sequence[Stage], index: int) -> tuple[float, float]:
    """Return the fractions of training, 0 to 1, at which a stage starts and ends."""
    whole = sum(stage.share for stage in stages)
    before = sum(stage.share for stage in stages[:index])
    return before / whole, (before + stages[index].share) / whole


def is_over(stages: Sequence[Stage], index: int, train: TrainSettings, step: int, seconds: float) -> bool:
    """Return whether the next stage is due."""
    if index == len(stages) - 1:
        return False
    end = stage_span(stages, index)[1]
    if train.steps and step >= round(end * train.steps):
        return True
    return bool(train.hours) and seconds >= end * 3600 * train.hours


def part_of_stage_done(stages: Sequence[Stage], index: int, train: TrainSettings, step: int, seconds: float) -> float:
    """Return the completed fraction of a stage, 0 to 1."""
    start, end = stage_span(stages, index)
    return min(1.0, max(0.0, (part_done(train, step, seconds) - start) / (end - start)))


def learning_rate_factor(train: TrainSettings, step: int, first: int = 0, last: int = 0, *, part: float = 0.0) -> float:
    """Return the factor of the learning rate at a step.

    Parameters
    ----------
    train : TrainSettings
        Schedule and warm-up.
    step : int
        Number of completed steps.
    first, last : int
        Steps at which the stage starts and ends; the cosine decreases from one to the other. `last` 0 is the end of
        training.
    part : float
        Completed fraction of the stage, 0 to 1; used by the cosine when only the hours limit training.
    """
    done, whole = step - first, (last or train.steps) - first
    warm = min(1.0, (done + 1) / (train.warmup + 1))
    if train.schedule == "constant":
        return warm
    over = min(1.0, max(0, done - train.warmup) / max(1, whole - train.warmup)) if train.steps else part
    return warm * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * over)))


def stage_steps(stages: Sequence[Stage], index: int, train: TrainSettings) -> tuple[int, int]:
    """Return the steps at which a stage starts and ends."""
    start, end = stage_span(stages, index)
    return round(start * train.steps), round(end * train.steps)


def begin_stage(network: RegistrationNetwork, stage: Stage) -> None:
    """Set the stage of a network, and freeze the parameters that are not trained in it."""
    network.set_stage(stage.name)
    learning = tuple(name for group in stage.turns for name in group) or stage.learns
    let_learn(network, learning)


def let_learn(network: nn.Module, names: Sequence[str]) -> None:
    """Train the parameters whose names start with one of `names`, and freeze the others.

    Raises
    ------
    ValueError
        When no parameter matches: the stage of the method names parameters that do not exist.
    """
    found = False
    for name, parameter in network.named_parameters():
        learns = any(name.startswith(start) for start in names)
        parameter.requires_grad_(learns)
        found = found or learns
    if not found:
        raise ValueError(f"No parameter of the network begins with any of {list(names)}.")
