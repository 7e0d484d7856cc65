"""The state of training: weights, optimizer, counters."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..networks.base import Method, RegistrationNetwork
from ..networks.catalogue import get_method
from ..settings import from_json, to_json
from .config import TrainingConfig, TrainSettings
from .stages import begin_stage


@dataclass
class State:
    """The state of training at a step; `step` is the number of completed updates.

    Attributes
    ----------
    module : RegistrationNetwork
        The network being trained.
    optimizer : Adam
        Optimizer of all parameters; frozen ones keep their moments.
    averaged : RegistrationNetwork or None
        Running average of its weights.
    seconds : float
        Training time so far, including resumed runs.
    best : dict
        Validation measures of the saved weights; empty before the first validation.
    skipped : int
        Number of consecutive updates skipped because the gradient was not finite.
    stage, stage_step : int
        Index of the current stage, and the step at which it started.
    """

    module: RegistrationNetwork
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    averaged: RegistrationNetwork | None = None
    step: int = 0
    seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    skipped: int = 0
    stage: int = 0
    stage_step: int = 0

    @property
    def kept(self) -> RegistrationNetwork:
        """The network to validate and save."""
        return self.module if self.averaged is None else self.averaged


def new_state(config: TrainingConfig, dimensions: int, device: torch.device) -> State:
    """Return the state at step 0, with random weights from the seed of the config."""
    method, train = get_method(config.method), config.train
    torch.manual_seed(train.seed)
    settings = method_settings(method, config)
    module = method.network(settings, dimensions=dimensions).to(device)
    optimizer = torch.optim.Adam(module.parameters(), lr=train.learning_rate)
    scaler = torch.amp.GradScaler(device.type, enabled=mixed_type(train, device) is torch.float16)
    averaged = copy.deepcopy(module).requires_grad_(False) if train.average else None
    begin_stage(module, method.stages(settings)[0])
    return State(module, optimizer, scaler, averaged)


def fitted_config(config: TrainingConfig, labels: Mapping[int, str]) -> TrainingConfig:
    """Return the config with the settings of its method for training data with these labels."""
    method = get_method(config.method)
    settings = method.fitted(method_settings(method, config), labels)
    return dataclasses.replace(config, method_settings=to_json(settings))


def method_settings(method: Method, config: TrainingConfig) -> Any:
    """Return the config's settings of its method."""
    return from_json(method.info.settings, config.method_settings)


def mixed_type(train: TrainSettings, device: torch.device) -> torch.dtype | None:
    """Return the 16 bit type to compute with, None for full precision."""
    if train.precision == "full" or (train.precision == "auto" and device.type != "cuda"):
        return None
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


@torch.no_grad()
def update_average(state: State, decay: float) -> None:
    """Update the running average of the weights; it adapts faster at first, because the first weights are random."""
    if state.averaged is None:
        return
    rate = min(decay, (1 + state.step) / (10 + state.step))
    present = state.module.state_dict()
    for name, tensor in state.averaged.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(present[name], 1 - rate)
        else:
            tensor.copy_(present[name])
