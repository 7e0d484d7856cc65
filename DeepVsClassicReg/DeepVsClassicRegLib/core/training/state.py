"""Everything a training changes: weights, optimizer, schedule, counters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..networks.base import Method
from ..networks.catalogue import get_method
from ..settings import from_json
from .plan import Plan, TrainSettings

FLOOR = 0.01  # of the learning rate, at the end of a cosine


@dataclass
class State:
    """A training at some step; `step` counts the updates made.

    Attributes
    ----------
    module : nn.Module
        The network that learns.
    averaged : nn.Module or None
        Running average of its weights.
    seconds : float
        Training time so far, resumed runs included.
    best : dict
        Validation numbers of the kept weights; empty before the first validation.
    skipped : int
        Updates left out in a row because the gradient was not finite.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    averaged: nn.Module | None = None
    step: int = 0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    skipped: int = 0

    @property
    def kept(self) -> nn.Module:
        """The network to validate and to keep."""
        return self.module if self.averaged is None else self.averaged


def new_state(plan: Plan, dimensions: int, device: torch.device) -> State:
    """Return a training at step 0, its weights drawn with the plan's seed."""
    method, train = get_method(plan.method), plan.train
    torch.manual_seed(train.seed)
    module = method.network(method_settings(method, plan), dimensions=dimensions).to(device)
    optimizer = torch.optim.Adam(module.parameters(), lr=train.learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(train))
    scaler = torch.amp.GradScaler(device.type, enabled=mixed_type(train, device) is torch.float16)
    averaged = copy.deepcopy(module).requires_grad_(False) if train.average else None
    return State(module, optimizer, scheduler, scaler, averaged)


def method_settings(method: Method, plan: Plan) -> Any:
    """Return the plan's settings of its method."""
    return from_json(method.info.settings, plan.method_settings)


def learning_rate_factor(train: TrainSettings) -> Callable[[int], float]:
    """Return the factor of the learning rate as a function of the step."""

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (train.warmup + 1))
        if train.schedule == "constant":
            return warm
        done = min(1.0, max(0, step - train.warmup) / max(1, train.steps - train.warmup))
        return warm * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))

    return factor


def mixed_type(train: TrainSettings, device: torch.device) -> torch.dtype | None:
    """Return the 16 bit type to compute with, None for full precision."""
    if train.precision == "full" or (train.precision == "auto" and device.type != "cuda"):
        return None
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


@torch.no_grad()
def update_average(state: State, decay: float) -> None:
    """Move the running average towards the present weights; it starts quickly, as the first weights are random."""
    if state.averaged is None:
        return
    rate = min(decay, (1 + state.step) / (10 + state.step))
    present = state.module.state_dict()
    for name, tensor in state.averaged.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(present[name], 1 - rate)
        else:
            tensor.copy_(present[name])
