"""Estimates the error of a registration with a trained network, for any transform of any pair, without ground truth."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..device import Compute, torch_device, torch_threads
from ..errors import RegistrationError
from ..evaluation.error_map import ErrorMap
from ..images.grid import Grid, is_single_slice, length_text
from ..images.volume import LabelMap, Volume
from ..networks.card import Card, Model
from ..networks.model_store import AUTO, choose_model
from ..pair import Pair, marked_pair
from ..progress import Progress
from ..result import Result
from ..transforms.transform import Transform
from .base import MODEL_REQUIRES, Requirement, missing_of, require_all

if TYPE_CHECKING:
    import torch

    from ..networks.base import RegistrationNetwork
    from .network.inputs import NetworkInputs

KIND = "error"
VOXELS = 600_000.0  # a head at about 2 mm, the voxel size of the training images
LARGEST = "largest_error_voxels"  # in the card's training: larger errors cannot be distinguished
Array = npt.NDArray[np.float32]


def estimate_error(
    pair: Pair,
    result: Result | Transform,
    *,
    model: str = AUTO,
    device: str = "auto",
    threads: int = 0,
    progress: Progress | None = None,
) -> ErrorMap:
    """Estimate the error of a registration at every voxel.

    Parameters
    ----------
    pair : Pair
        The registered pair; its segmentations and landmarks are not used.
    result : Result or Transform
        The result of an engine, or any fixed-to-moving transform.
    model : str
        A model of the kind 'error' (`dvcreg models`), by name or folder; 'auto' for the bundled one.
    device, threads
        Device and threads of the computation.
    progress : Progress, optional
        Receives progress updates and can cancel.

    Raises
    ------
    EngineUnavailable
        When PyTorch is missing.
    RegistrationError
        When there is no such model, it is of another kind, or the pair is a single slice.

    Reference
    ---------
    Eppenhof and Pluim, J. Med. Imaging 5(2):024003, 2018, doi 10.1117/1.JMI.5.2.024003.
    """
    require()
    from ..networks.model_store import load_model

    listener = progress or Progress()
    listener.report(0.0, "Estimating the error")
    chosen = error_model(model)
    compute = Compute(device=device, threads=threads)
    transform = result if isinstance(result, Transform) else result.transform
    with torch_threads(compute.thread_count):
        card, network = load_model(chosen.folder)
        inputs = _inputs(marked_pair(pair), transform, card, network)
        listener.report(0.4, "Estimating the error")
        lengths = _estimated(network, inputs, torch_device(compute.device))
    listener.report(0.9, "Estimating the error")
    return _made(pair, transform, card, inputs.grid, lengths)


def missing() -> tuple[Requirement, ...]:
    """Return the packages that are missing for error estimates."""
    return missing_of(MODEL_REQUIRES)


def require() -> None:
    """Raise `EngineUnavailable`, with a remedy, when a package is missing."""
    require_all(MODEL_REQUIRES, "The error map")


def error_model(name: str = AUTO) -> Model:
    """Return a model of the kind 'error'; see `choose_model`."""
    return choose_model(name, (KIND,), "The error map")


def _inputs(pair: Pair, transform: Transform, card: Card, network: RegistrationNetwork) -> NetworkInputs:
    """Return the fixed and the warped volume on the model's grid, with about the same number of voxels."""
    from .network.grid import affordable_spacing, model_grid
    from .network.inputs import make_inputs

    if is_single_slice(pair.fixed.grid.size):
        raise RegistrationError("The error of single slices cannot be estimated.", hint="Use volumes.")
    at = partial(model_grid, pair, transform, orientation=card.orientation, multiple=network.multiple)
    grid = at(spacing_mm=card.spacing_mm * pair.fixed.grid.unit_mm)
    if network.scale_free:
        finest = min(pair.fixed.grid.spacing_mm)
        grid = at(spacing_mm=max(affordable_spacing(grid, pair, voxels=VOXELS), finest))
    return make_inputs(pair, transform, grid)


def _estimated(network: RegistrationNetwork, inputs: NetworkInputs, device: str) -> Array:
    """Return the estimated lengths, (C, Z, Y, X) voxels; on the CPU when the GPU fails."""
    import torch

    from ..networks.patch import at_voxels
    from .device_fallback import with_cpu_fallback

    def work(where: str) -> torch.Tensor:
        images = [torch.from_numpy(np.ascontiguousarray(image))[None, None] for image in (inputs.fixed, inputs.moving)]
        with torch.inference_mode():
            scores: Any = network.to(where)(*(image.to(where) for image in images))
            return at_voxels(scores, inputs.grid.shape)[0].float().cpu()

    return np.asarray(with_cpu_fallback(device, work, [])[0].numpy(), np.float32)


def _made(pair: Pair, transform: Transform, card: Card, grid: Grid, lengths: Array) -> ErrorMap:
    trusted = _shown(pair, grid) & _seen(pair, transform, grid)
    spacing = float(np.mean(grid.spacing_mm))
    quantiles = tuple(card.settings.get("quantiles") or ())
    factors = _calibration(card, quantiles)
    maps = [
        Volume(np.where(trusted, spacing * factor * values, 0).astype(np.float32), grid, f"{name} mm")
        for factor, values, name in zip(factors, lengths, _names(quantiles), strict=True)
    ]
    middle = (len(maps) - 1) // 2
    band = len(maps) >= 3
    return ErrorMap(
        maps[middle],
        trusted,
        low=maps[0] if band else None,
        high=maps[-1] if band else None,
        inside=float(quantiles[-1] - quantiles[0]) if band else 0.0,
        model=card.title,
        notes=_limits(card, spacing, trusted),
    )


def _names(quantiles: tuple[float, ...]) -> list[str]:
    return [f"error, {100 * level:g} % are below" for level in quantiles] or ["estimated error"]


def _calibration(card: Card, quantiles: tuple[float, ...]) -> list[float]:
    """Return the factors of the lengths of each quantile, measured on pairs not used in training."""
    known = card.validation.get("calibration") or {}
    return [float(known.get(f"{level:g}", 1.0)) for level in quantiles] or [1.0]


def _shown(pair: Pair, grid: Grid) -> npt.NDArray[np.bool_]:
    from ..evaluation.region import fixed_region
    from ..images.resample import warp_labels

    region, _ = fixed_region(pair)
    return warp_labels(LabelMap(region.astype(np.int32), pair.fixed.grid), grid).array > 0


def _seen(pair: Pair, transform: Transform, grid: Grid) -> npt.NDArray[np.bool_]:
    from ..images.resample import warp_volume

    everywhere = Volume(np.ones(pair.moving.grid.shape, np.float32), pair.moving.grid, "seen")
    return np.asarray(warp_volume(everywhere, grid, transform, fill=0.0).array > 0.5)


def _limits(card: Card, spacing_mm: float, trusted: npt.NDArray[np.bool_]) -> tuple[str, ...]:
    """Return the limits of the estimate."""
    found = [
        f"The estimated error is predicted by a network ({card.title}) trained on generated images only. It is not "
        "valid outside the fixed object, in regions without structure (with a wide band), outside the moving volume, "
        "and where the anatomies differ, which is treated as error.",
        "A large estimated error is a warning, a small one is no proof: on real volumes errors are underestimated, "
        "and a small region that is wrong inside an aligned volume may be missed.",
    ]
    largest = card.training.get(LARGEST)
    if isinstance(largest, (int, float)):
        found.append(f"Estimated errors above {length_text(float(largest) * spacing_mm)} only mean 'large'.")
    if not trusted.any():
        found.append("The volumes do not overlap in known voxels, so no error was estimated.")
    return tuple(found)
