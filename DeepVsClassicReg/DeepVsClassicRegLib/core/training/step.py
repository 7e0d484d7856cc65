"""One update of the weights: sample, predict, objective, gradient, optimizer."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import nn

from ..errors import RegistrationError
from ..networks.base import Batch, Method, Prediction
from .group import Group
from .plan import Plan
from .source import Source
from .state import State, method_settings, mixed_type, update_average
from .tools import narrow_in_full_precision
from .validation import supervised

PATIENCE = 20  # updates with a gradient that is not finite, in a row
STRIDE = 1_000_003


class Stepper:
    """Makes the updates of a training.

    Parameters
    ----------
    plan : Plan
        What is trained.
    source : Source
        What it learns from.
    method : Method
        The method of the plan.
    state : State
        Changed in place.
    group : Group
        The processes that learn together.
    """

    def __init__(self, plan: Plan, source: Source, method: Method, state: State, group: Group) -> None:
        self.plan, self.source, self.method, self.state, self.group = plan, source, method, state, group
        self.settings = method_settings(method, plan)
        self.shared: nn.Module = group.share(state.module)
        self.sixteen_bit = mixed_type(plan.train, group.device)
        if self.sixteen_bit is not None:
            narrow_in_full_precision(state.module)

    def step(self) -> dict[str, float]:
        """Make one update and return the terms of the objective and the gradient's norm.

        Raises
        ------
        RegistrationError
            When the gradient was not finite many times in a row.
        """
        state = self.state
        index = state.step * self.group.size + self.group.rank
        torch.manual_seed(self.plan.train.seed * STRIDE + index + 1)  # sampling methods: a function of the step alone
        batch = to_device(self.source.sample(index), self.group.device)
        prediction = self._predicted(batch)
        terms = self.method.loss(
            prediction, supervised(batch, self.plan.supervision), self.settings, self.plan.supervision
        )
        loss = torch.stack(list(terms.values())).sum()
        norm = self._update(loss) if self._is_sound(prediction, loss) else math.nan
        self._count(math.isfinite(norm))
        state.scheduler.step()
        state.step += 1
        update_average(state, self.plan.train.average)
        names, values = ("loss", *terms), torch.stack([loss, *terms.values()]).detach().double()
        row = dict(zip(names, self.group.mean(values).tolist(), strict=True))
        return {**row, "gradient": norm}

    def _predicted(self, batch: Batch) -> Prediction:
        if self.sixteen_bit is None:
            prediction: Prediction = self.shared(batch.fixed, batch.moving)
            return prediction
        with torch.autocast(self.group.device.type, dtype=self.sixteen_bit):
            prediction = self.shared(batch.fixed, batch.moving)
        return in_full_precision(prediction)

    def _is_sound(self, prediction: Prediction, loss: torch.Tensor) -> bool:
        """Return whether all processes may go backward; `grid_sample` crashes there at positions that are NaN."""
        sound = bool(loss.isfinite()) and bool(prediction.displacement.isfinite().all())
        return not self.group.any_true(not sound)

    def _update(self, loss: torch.Tensor) -> float:
        """Change the weights and return the gradient's norm; when that is not finite, leave them as they are."""
        state, limit = self.state, self.plan.train.clip
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
                f"The training diverged: {PATIENCE} gradients in a row were not finite (step {self.state.step}).",
                hint="Lower --learning-rate or --clip; a resume goes on from the last checkpoint.",
            )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device."""
    moved: dict[str, Any] = {}
    for entry in dataclasses.fields(batch):
        tensor = getattr(batch, entry.name)
        moved[entry.name] = None if tensor is None else tensor.to(device, non_blocking=True)
    return Batch(**moved)


def in_full_precision(prediction: Prediction) -> Prediction:
    """Return the prediction with 32 bit tensors; the objective is never computed with 16 bits."""
    return dataclasses.replace(
        prediction,
        displacement=prediction.displacement.float(),
        velocity=None if prediction.velocity is None else prediction.velocity.float(),
        log_variance=None if prediction.log_variance is None else prediction.log_variance.float(),
        levels=tuple(level.float() for level in prediction.levels),
        backward=None if prediction.backward is None else in_full_precision(prediction.backward),
        extras={name: tensor.float() for name, tensor in prediction.extras.items()},
    )
