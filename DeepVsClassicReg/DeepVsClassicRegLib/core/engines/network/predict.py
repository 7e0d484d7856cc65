"""The forward pass: computes displacements in voxels, their uncertainty and extras from two images on a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...errors import EngineFailed
from ...networks.base import ExtraMap, Prediction, RegistrationNetwork, map_tensors
from ...networks.flow import compose, warp
from ...networks.parts import Distribution, Part
from ...progress import Progress
from .inputs import NetworkInputs

Tensor = torch.Tensor
Field = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """The output of a network for a pair of images of D dimensions.

    Attributes
    ----------
    displacement : (D, *spatial) array
        z, y, x (or y, x) in voxels of the grid.
    parts : tuple of Part
        The same map as exact parts of one sample on the CPU, the first one applied first; may be empty.
    spread : (*spatial) array or None
        Root mean square distance of sampled displacements from their mean in voxels; None for networks that do not
        predict a distribution.
    backward : (D, *spatial) array or None
        The moving-to-fixed map of networks that predict both directions in one pass.
    extras : mapping of str to ExtraMap
        Further outputs of the network, of one sample on the CPU.
    """

    displacement: Field
    parts: tuple[Part, ...] = ()
    spread: Field | None = None
    backward: Field | None = None
    extras: Mapping[str, ExtraMap] = field(default_factory=dict)


def predict(
    network: RegistrationNetwork,
    inputs: NetworkInputs,
    *,
    device: str,
    passes: int,
    samples: int,
    seed: int,
    progress: Progress,
    after_pass: Callable[[int, Field], None],
    adaptation_steps: int = 0,
) -> NetworkOutput:
    """Return the output of a network in evaluation mode.

    Parameters
    ----------
    network : RegistrationNetwork
        Called as `network(fixed, moving)`, returns a `Prediction`.
    inputs : NetworkInputs
        Both images.
    device : str
        A torch device.
    passes : int
        Number of passes; before each one the moving image is warped with the previous result.
    samples : int
        Number of random fields for the uncertainty of the first pass; none when below 2.
    seed : int
        Seed of the random fields.
    progress : Progress
        Receives a report for every layer, where the run can be canceled.
    after_pass : callable
        Receives the number of the pass and the warped moving image.
    adaptation_steps : int
        Gradient steps on this pair in each pass (networks with test-time adaptation).
    """
    network = network.to(device)
    fixed, moving = (_tensor(array, device) for array in (inputs.fixed, inputs.moving))
    predictions: list[Prediction] = []
    spread: Tensor | None = None
    total: Tensor | None = None
    with _reproducible():
        warped = moving
        for number in range(passes):
            title = "Network" if passes == 1 else f"Network, pass {number + 1} of {passes}"
            part = progress.part(number / (passes + 1), (number + 1) / (passes + 1))
            prediction = _predicted(network, fixed, warped, adaptation_steps, part, title)
            checked(prediction, fixed)
            predictions.append(prediction)
            with torch.inference_mode():
                # The new map is applied first, because it is defined on the grid of the warped image.
                u = prediction.displacement
                total = u if total is None else compose(u, total)
                if number == 0 and samples > 1 and prediction.distribution is not None:
                    spread = _spread(prediction.distribution, samples, seed, progress)
                warped = warp(moving, total)
            after_pass(number + 1, _array(warped[0, 0]))
    if total is None:
        raise ValueError(f"passes must be at least 1, got {passes}")
    only = predictions[0] if len(predictions) == 1 else None
    return NetworkOutput(
        _array(total[0]),
        parts=_all_parts(predictions),
        spread=None if spread is None else _array(spread[0]),
        backward=None if only is None or only.backward is None else _array(only.backward.displacement[0]),
        extras={} if only is None else map_tensors(dict(only.extras), _first_on_cpu),
    )


def _predicted(
    network: RegistrationNetwork, fixed: Tensor, moving: Tensor, steps: int, progress: Progress, title: str
) -> Prediction:
    if steps:
        progress.report(0.0, f"{title}, adapting to the pair")
        with torch.enable_grad():
            adapted = network.adapted(fixed, moving, steps, progress.check)
        return map_tensors(adapted, lambda tensor: tensor.detach())
    with torch.inference_mode(), _watched(network, progress, title):
        prediction: Prediction = network(fixed, moving)
    return prediction


def _all_parts(predictions: list[Prediction]) -> tuple[Part, ...]:
    """Return the parts of all passes, those of the last pass first; empty when a pass has none."""
    if not all(prediction.parts for prediction in predictions):
        return ()
    parts = tuple(part for prediction in reversed(predictions) for part in prediction.parts)
    return map_tensors(parts, _first_on_cpu)


def _spread(distribution: Distribution, samples: int, seed: int, progress: Progress) -> Tensor:
    """Return the spread of random displacements, (1, *spatial) voxels.

    References
    ----------
    Dalca et al., Med. Image Anal. 57:226-236, 2019, doi 10.1016/j.media.2019.07.006.
    """
    first = distribution.sample(seed)
    mean, squares = first, torch.zeros_like(first)
    for number in range(1, samples):
        progress.report(0.9, f"Uncertainty, sample {number + 1} of {samples}")
        u = distribution.sample(seed + number)
        change = u - mean
        mean = mean + change / (number + 1)
        squares = squares + change * (u - mean)
    return (squares.sum(1) / (samples - 1)).sqrt()


def checked(prediction: Prediction, fixed: Tensor) -> None:
    """Check the displacement of a prediction for an image.

    Raises
    ------
    EngineFailed
        When its shape is wrong, or it is longer than the image or not finite.
    """
    wanted = (1, fixed.ndim - 2, *fixed.shape[2:])
    got = tuple(prediction.displacement.shape)
    if got != wanted:
        raise EngineFailed(f"The network returned a field of shape {got}, expected {wanted}.", hint="Update the model.")
    # NaN also fails this comparison.
    if not float(prediction.displacement.abs().max()) <= max(wanted[2:]):
        raise EngineFailed(
            "The network returned displacements longer than the volume, or NaN.",
            hint="Choose another model, or device 'cpu'.",
        )


@contextmanager
def _watched(network: nn.Module, progress: Progress, title: str) -> Iterator[None]:
    """Report progress at every layer inside the block, so that a run can be canceled within the forward pass."""
    leaves = [part for part in network.modules() if not list(part.children())]
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
    """Make convolutions on the GPU deterministic inside the block."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


def _first_on_cpu(tensor: Tensor) -> Tensor:
    return tensor[:1].detach().float().cpu()


def _tensor(array: Field, device: str) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))[None, None].to(device)


def _array(tensor: Tensor) -> Field:
    return np.ascontiguousarray(tensor.float().cpu().numpy())
