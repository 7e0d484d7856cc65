"""The forward pass: from two images on a lattice to a field in voxels, and how sure the network is of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...errors import EngineFailed
from ...networks.base import Prediction
from ...networks.flow import compose, warp
from ...progress import Progress
from .inputs import Inputs

Tensor = torch.Tensor
Field = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Found:
    """What the network says.

    Attributes
    ----------
    displacement : (3, Z, Y, X) array
        z, y, x in voxels of the lattice.
    spread : (Z, Y, X) array or None
        Root mean square distance of sampled displacements from their mean, voxels; None for methods
        that predict no distribution.
    """

    displacement: Field
    spread: Field | None = None


def predict(
    module: nn.Module,
    inputs: Inputs,
    *,
    device: str,
    passes: int,
    samples: int,
    seed: int,
    progress: Progress,
    after_pass: Callable[[int, Field], None],
) -> Found:
    """Return the field of a network in evaluation mode.

    Parameters
    ----------
    module : nn.Module
        Called as `module(fixed, moving)`, returns a `Prediction`.
    inputs : Inputs
        Both images.
    device : str
        A torch device.
    passes : int
        How often the network is asked; each time the moving image is warped by what was found before.
    samples : int
        Fields drawn for the uncertainty of the first pass; below 2: none.
    seed : int
        Of the drawn fields.
    progress : Progress
        Hears of every layer, and may cancel there.
    after_pass : callable
        Gets the number of the pass and the warped moving image.
    """
    module = module.to(device)
    fixed, moving = (_tensor(array, device) for array in (inputs.fixed, inputs.moving))
    total: Tensor | None = None
    spread: Tensor | None = None
    with torch.inference_mode(), _reproducible():
        warped = moving
        for number in range(passes):
            title = "Network" if passes == 1 else f"Network, pass {number + 1} of {passes}"
            part = progress.part(number / (passes + 1), (number + 1) / (passes + 1))
            with _watched(module, part, title):
                prediction: Prediction = module(fixed, warped)
            _check(prediction, fixed)
            # The new field is the inner one: it lives where the moving image was warped to.
            u = prediction.displacement
            total = u if total is None else compose(u, total)
            if number == 0 and samples > 1 and prediction.log_variance is not None:
                spread = _spread(module, prediction, (fixed, moving), samples, seed, progress)
            warped = warp(moving, total)
            after_pass(number + 1, _array(warped[0, 0]))
    if total is None:
        raise ValueError(f"passes must be at least 1, got {passes}")
    return Found(_array(total[0]), None if spread is None else _array(spread[0]))


def _spread(
    module: nn.Module,
    prediction: Prediction,
    images: tuple[Tensor, Tensor],
    samples: int,
    seed: int,
    progress: Progress,
) -> Tensor:
    """Return the spread of drawn displacements, (1, Z, Y, X) voxels.

    References
    ----------
    Dalca et al., Med. Image Anal. 57:226-236, 2019, doi 10.1016/j.media.2019.07.006.
    """
    mean, squares = torch.zeros_like(prediction.displacement), torch.zeros_like(prediction.displacement)
    with torch.random.fork_rng(devices=[mean.device] if mean.device.type == "cuda" else []):
        torch.manual_seed(seed)
        draw = _drawer(module, prediction, images)
        for number in range(samples):
            progress.report(0.9, f"Uncertainty, sample {number + 1} of {samples}")
            u = draw()
            change = u - mean
            mean = mean + change / (number + 1)
            squares = squares + change * (u - mean)
    return (squares.sum(1) / (samples - 1)).sqrt()


def _drawer(module: nn.Module, prediction: Prediction, images: tuple[Tensor, Tensor]) -> Callable[[], Tensor]:
    """Return what draws a displacement: from the predicted velocities where they suffice, else anew."""
    velocity, log_variance = prediction.velocity, prediction.log_variance
    integrated = getattr(module, "from_velocity", None)
    if velocity is not None and log_variance is not None and integrated is not None:
        shape, deviation = prediction.displacement.shape[2:], (0.5 * log_variance).exp()
        return lambda: integrated(velocity + deviation * torch.randn_like(velocity), shape)

    def whole() -> Tensor:
        module.train()
        try:
            drawn: Prediction = module(*images)
        finally:
            module.eval()
        return drawn.displacement

    return whole


def _check(prediction: Prediction, fixed: Tensor) -> None:
    wanted = (1, 3, *fixed.shape[2:])
    got = tuple(prediction.displacement.shape)
    if got != wanted:
        raise EngineFailed(f"The network returned a field of shape {got}, expected {wanted}.", hint="Update the model.")
    # Not-a-number fails this comparison as well.
    if not float(prediction.displacement.abs().max()) <= max(wanted[2:]):
        raise EngineFailed(
            "The network returned displacements longer than the volume, or no numbers at all.",
            hint="Choose another model, or device 'cpu'.",
        )


@contextmanager
def _watched(module: nn.Module, progress: Progress, title: str) -> Iterator[None]:
    """Report progress at every layer inside the block, so that a cancel is heard within the forward pass."""
    leaves = [part for part in module.modules() if not list(part.children())]
    count = max(len(leaves), 1)
    done = 0

    def step(*_: object) -> None:
        nonlocal done
        progress.report(done / count, title)
        done += 1

    handles = [part.register_forward_pre_hook(step) for part in leaves]
    try:
        progress.report(0.0, title)
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _reproducible() -> Iterator[None]:
    """Make the GPU's convolutions give the same numbers each time inside the block."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


def _tensor(array: Field, device: str) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))[None, None].to(device)


def _array(tensor: Tensor) -> Field:
    return np.ascontiguousarray(tensor.float().cpu().numpy())
