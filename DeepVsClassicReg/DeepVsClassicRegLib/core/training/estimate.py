"""Time and memory of a training run, measured on a few steps whose result is discarded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from ..device import Compute, peak_memory_mb, torch_threads
from ..networks.catalogue import get_method
from .config import TrainingConfig
from .group import Group, joined_group
from .rng import kept_random
from .sources import Source
from .state import fitted_config, new_state
from .step import Stepper, to_device
from .validation import validate

WARM, MEASURED = 1, 2


@dataclass(frozen=True)
class TrainingEstimate:
    """The measured time and memory.

    Attributes
    ----------
    device : str
        Where.
    parameters : int
        Weights of the network.
    seconds_per_step, seconds_per_sample, seconds_per_validation : float
        Wall seconds of an update, of making its batch alone, of one validation pair.
    memory_mb : float or None
        Peak of the GPU, or of this process on the CPU.
    validation_pairs : int
        Number of fixed pairs.
    """

    device: str
    parameters: int
    seconds_per_step: float
    seconds_per_sample: float
    seconds_per_validation: float
    memory_mb: float | None
    validation_pairs: int

    def steps_in(self, hours: float, validate_every: int) -> int:
        """Return the number of steps in a time, including validation."""
        each = self.seconds_per_step + self.validation_pairs * self.seconds_per_validation / validate_every
        return int(3600 * hours / each)

    def hours_for(self, steps: int, validate_every: int) -> float:
        """Return the hours for a number of steps, including validation."""
        each = self.seconds_per_step + self.validation_pairs * self.seconds_per_validation / validate_every
        return steps * each / 3600


def estimate(config: TrainingConfig, source: Source, *, compute: Compute | None = None) -> TrainingEstimate:
    """Run a few steps and a validation without writing files; return their time and memory."""
    compute = compute or Compute()
    config = fitted_config(config, source.labels)
    with joined_group(compute.device) as group, kept_random(group.device), torch_threads(compute.thread_count):
        return _measured(config, source, group)


def _measured(config: TrainingConfig, source: Source, group: Group) -> TrainingEstimate:
    method = get_method(config.method)
    state = new_state(config, len(source.size), group.device)
    stepper = Stepper(config, source, method, state, group)
    for _ in range(WARM):
        stepper.step()
    each = _seconds(group, lambda: [stepper.step() for _ in range(MEASURED)]) / MEASURED
    sampling = _seconds(group, lambda: source.sample(WARM + MEASURED))
    pairs = source.validation()
    first = [to_device(batch, group.device) for batch in pairs[:1]]
    judging = 0.0
    if pairs:
        judging = _seconds(group, lambda: validate(state.kept, method, stepper.context, first))
    return TrainingEstimate(
        device=str(group.device),
        parameters=sum(parameter.numel() for parameter in state.module.parameters()),
        seconds_per_step=each,
        seconds_per_sample=sampling,
        seconds_per_validation=judging,
        memory_mb=_memory_mb(group.device),
        validation_pairs=len(pairs),
    )


def _seconds(group: Group, work: Any) -> float:
    started = time.perf_counter()
    work()
    if group.device.type == "cuda":
        torch.cuda.synchronize(group.device)
    return time.perf_counter() - started


def _memory_mb(device: torch.device) -> float | None:
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return peak_memory_mb()
