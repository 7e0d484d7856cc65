"""The checkpoint: one safetensors file with weights, optimizer and counters, written atomically, without pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save

from ..errors import FileError
from ..files import write_bytes
from .state import State

CHECKPOINT_FILE = "checkpoint.safetensors"
WEIGHTS, AVERAGE, OPTIMIZER = "weights/", "average/", "optimizer/"


def write_checkpoint(folder: Path, state: State) -> Path:
    """Write the state atomically; a reader finds the previous or the new checkpoint."""
    path = folder / CHECKPOINT_FILE
    return write_bytes(path, save(_tensors(state), metadata={"training": json.dumps(_counters(state))}))


def read_checkpoint(folder: Path, state: State) -> None:
    """Restore the state of the checkpoint.

    Raises
    ------
    FileError
        When there is none, or it belongs to another network.
    """
    tensors, counters = _read(folder / CHECKPOINT_FILE)
    try:
        state.module.load_state_dict(_part(tensors, WEIGHTS))
        if state.averaged is not None:
            state.averaged.load_state_dict(_part(tensors, AVERAGE))
    except RuntimeError as error:
        raise FileError(f"The checkpoint in {folder} belongs to another network: {error}") from error
    _fill_optimizer(state.optimizer, _part(tensors, OPTIMIZER))
    state.scaler.load_state_dict(counters["scaler"])
    state.step, state.seconds = counters["step"], counters["seconds"]
    state.best, state.skipped = counters["best"], counters["skipped"]
    # Checkpoints of the first release have no stages.
    state.stage, state.stage_step = counters.get("stage", 0), counters.get("stage_step", 0)


def has_checkpoint(folder: Path) -> bool:
    """Return whether a training run can be resumed there."""
    return (folder / CHECKPOINT_FILE).is_file()


def _tensors(state: State) -> dict[str, torch.Tensor]:
    found = {WEIGHTS + name: tensor for name, tensor in state.module.state_dict().items()}
    if state.averaged is not None:
        found |= {AVERAGE + name: tensor for name, tensor in state.averaged.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        found |= {f"{OPTIMIZER}{index}/{name}": torch.as_tensor(value) for name, value in moments.items()}
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in found.items()}


def _counters(state: State) -> dict[str, Any]:
    return {
        "step": state.step,
        "seconds": state.seconds,
        "best": state.best,
        "skipped": state.skipped,
        "stage": state.stage,
        "stage_step": state.stage_step,
        "scaler": state.scaler.state_dict(),
    }


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise FileError(f"There is no checkpoint {path}.", hint="Omit --resume to start from the beginning.")
    try:
        return safetensors.safe_open(path, framework="pt")
    except (safetensors.SafetensorError, OSError) as error:
        raise FileError(f"Could not read {path}: {error}.") from error


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["training"])  # noqa: SIM118


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _fill_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, kind = name.partition("/")
        moments.setdefault(int(index), {})[kind] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
