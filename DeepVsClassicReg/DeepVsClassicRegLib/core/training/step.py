"""One update of the weights: sample, predict, objective, gradient, optimizer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..errors import RegistrationError, SettingsError
from ..networks.base import Batch, LossContext, Method, Prediction, Stage, map_tensors
from .config import TrainingConfig
from .group import Group
from .sources import Source
from .stages import (
    begin_stage,
    checked_stages,
    is_over,
    learning_rate_factor,
    let_learn,
    part_of_stage_done,
    stage_steps,
)
from .state import State, method_settings, mixed_type, update_average
from .workarounds import narrow_in_full_precision

PATIENCE = 20  # consecutive updates with a gradient that is not finite
STRIDE = 1_000_003


class Stepper:
    """Runs the training steps.

    Parameters
    ----------
    config : TrainingConfig
        The configuration.
    source : Source
        Training data.
    method : Method
        The method of the config.
    state : State
        Changed in place.
    group : Group
        The processes of the training run.
    """

    def __init__(self, config: TrainingConfig, source: Source, method: Method, state: State, group: Group) -> None:
        self.config, self.source, self.method, self.state, self.group = config, source, method, state, group
        self.settings = method_settings(method, config)
        self.stages = checked_stages(method.stages(self.settings), config.train)
        if group.size > 1 and any(stage.turns for stage in self.stages):
            raise SettingsError(
                f"'{config.method}' alternates between parameter groups, which needs a single process.",
                hint="Start without torchrun.",
            )
        self.sixteen_bit = mixed_type(config.train, group.device)
        if self.sixteen_bit is not None:
            narrow_in_full_precision(state.module)
        self._enter()

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.stages[self.state.stage]

    @property
    def supervision(self) -> str:
        """The supervision of the current stage."""
        return self.stage.supervision or self.config.supervision

    def is_stage_over(self) -> bool:
        """Return whether the next stage is due in any process (all must call)."""
        state = self.state
        over = is_over(self.stages, state.stage, self.config.train, state.step, state.seconds)
        return self.group.any_true(over)

    def advance(self) -> None:
        """Enter the next stage."""
        self.state.stage, self.state.stage_step = self.state.stage + 1, self.state.step
        self._enter()

    def context(self, prediction: Prediction, batch: Batch) -> LossContext:
        """Return the input of the loss for a batch."""
        state = self.state
        return LossContext(
            network=state.module,
            prediction=prediction,
            batch=batch.shown(self.supervision),
            settings=self.settings,
            supervision=self.supervision,
            stage=self.stage,
            step=state.step - state.stage_step,
            done=part_of_stage_done(self.stages, state.stage, self.config.train, state.step, state.seconds),
        )

    def step(self) -> dict[str, float]:
        """Run one step and return the terms of the loss and the norm of the gradient.

        Raises
        ------
        RegistrationError
            When many consecutive gradients are not finite.
        """
        state = self.state
        index = state.step * self.group.size + self.group.rank
        torch.manual_seed(self.config.train.seed * STRIDE + index + 1)  # sampling is a function of the step alone
        if self.stage.turns:
            let_learn(state.module, self.stage.learning(state.step - state.stage_step))
        batch = to_device(self.source.sample(index), self.group.device)
        prediction = self._predicted(batch)
        terms = self.method.loss(self.context(prediction, batch))
        loss = torch.stack(list(terms.values())).sum()
        norm = self._update(loss) if self._is_sound(prediction, loss) else math.nan
        self._count(math.isfinite(norm))
        state.step += 1
        update_average(state, self.config.train.average)
        names, values = ("loss", *terms), torch.stack([loss, *terms.values()]).detach().double()
        row = dict(zip(names, self.group.mean(values).tolist(), strict=True))
        return {**row, "gradient": norm}

    def learning_rate(self) -> float:
        """Return the learning rate of the next update."""
        train, state = self.config.train, self.state
        _, last = stage_steps(self.stages, state.stage, train)
        part = part_of_stage_done(self.stages, state.stage, train, state.step, state.seconds)
        factor = learning_rate_factor(train, state.step, state.stage_step, last, part=part)
        return train.learning_rate * self.stage.learning_rate * factor

    def _enter(self) -> None:
        begin_stage(self.state.module, self.stage)
        self.state.kept.set_stage(self.stage.name)
        self.shared: nn.Module = self.group.share(self.state.module)

    def _predicted(self, batch: Batch) -> Prediction:
        if self.sixteen_bit is None:
            return self.shared(batch.fixed, batch.moving)
        with torch.autocast(self.group.device.type, dtype=self.sixteen_bit):
            prediction = self.shared(batch.fixed, batch.moving)
        return in_full_precision(prediction)

    def _is_sound(self, prediction: Any, loss: torch.Tensor) -> bool:
        """Return whether all processes can run the backward pass; `grid_sample` crashes there for NaN positions."""
        values = prediction.displacement if isinstance(prediction, Prediction) else prediction.values
        sound = bool(loss.isfinite()) and bool(values.isfinite().all())
        return not self.group.any_true(not sound)

    def _update(self, loss: torch.Tensor) -> float:
        """Update the weights and return the norm of the gradient; without update when it is not finite."""
        state, limit = self.state, self.config.train.clip
        for group in state.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss).backward()
        state.scaler.unscale_(state.optimizer)
        norm = float(nn.utils.clip_grad_norm_(state.module.parameters(), limit or float("inf")))
        if math.isfinite(norm):
            state.scaler.step(state.optimizer)
        state.scaler.update()
        return norm

    def _count(self, updated: bool) -> None:
        self.state.skipped = 0 if updated else self.state.skipped + 1
        if self.state.skipped >= PATIENCE:
            raise RegistrationError(
                f"Training diverged: {PATIENCE} consecutive gradients were not finite (step {self.state.step}).",
                hint="Reduce --learning-rate or --clip; resuming continues from the last checkpoint.",
            )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device."""
    return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def in_full_precision(prediction: Prediction) -> Prediction:
    """Return the prediction with 32 bit tensors; the objective is never computed with 16 bits."""
    return map_tensors(prediction, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
