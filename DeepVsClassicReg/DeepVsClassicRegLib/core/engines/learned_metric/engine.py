"""Linear alignment by a learned metric: exploration of poses, then quasi-Newton steps along the metric's derivative."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...device import Compute, torch_device, torch_threads
from ...images.grid import Grid
from ...pair import Pair
from ...progress import Progress
from ...settings import option
from ...transforms.transform import Affine, Transform
from ..base import MODEL_REQUIRES, EngineInfo, Recorder, Result
from ..device_fallback import with_cpu_fallback
from ..engine_input import first_guesses, given_start, in_units
from ..similarity_models import AUTO, metric_model

if TYPE_CHECKING:
    from .objective import MetricObjective

COARSER = 2.0
LEAST_GAIN = 1e-6
SHIFT = 0.2  # of the object's radius: how far shifts are searched


@dataclass(frozen=True)
class LearnedMetricSettings:
    """Which metric, how far it is searched, and how finely."""

    model: str = option(
        AUTO,
        "Model",
        listing="models:metric,error",
        tooltip="A model of the kind 'metric' or 'error', by name or folder; auto: the one that ships.",
    )
    kind: str = option(
        "rigid", "Transform", choices=("rigid", "affine"), tooltip="What the map may do: turn and shift, also stretch."
    )
    translation_mm: float = option(
        0.0, "Search of shifts", tooltip="0: a tenth of the size of the object, 20 mm in a head.", unit="mm", minimum=0
    )
    rotation_deg: float = option(20.0, "Search of turns", unit="degrees", minimum=0, maximum=180)
    stretch: float = option(0.1, "Search of stretches", tooltip="Affine maps only.", minimum=0, maximum=0.5)
    generations: int = option(
        6,
        "Generations of the exploration",
        tooltip="0: no exploration (differential evolution).",
        minimum=0,
        maximum=200,
    )
    population: int = option(
        6, "Poses in a generation", tooltip="Times the number of parameters.", minimum=3, maximum=50, advanced=True
    )
    iterations: int = option(15, "Second-order steps", minimum=0, maximum=500)
    passes: int = option(
        2, "Passes", tooltip="Shifted patches over which the metric is averaged.", minimum=1, maximum=8
    )
    voxels_thousands: float = option(
        80.0, "Voxels", unit="thousand", tooltip="About how many the metric looks at.", minimum=5, maximum=5000
    )


class LearnedMetricEngine:
    """Rigid or affine alignment by a trained metric."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="learned-metric",
        title="Learned metric, linear",
        summary="Rigid or affine alignment by a trained network that tells how far two volumes are apart.",
        family="linear",
        settings=LearnedMetricSettings,
        citation="Haskins et al., IJCARS 14:417-425, 2019, doi 10.1007/s11548-018-1875-7",
        requires=MODEL_REQUIRES,
        starts_linear=False,
        multimodal=True,
        devices=("cpu", "cuda", "mps"),
    )

    def run(self, pair: Pair, settings: LearnedMetricSettings, progress: Progress, compute: Compute) -> Result:
        """Align the pair; see `Engine.run`.

        A linear `pair.initial` is where the search begins; without one, the headers or the centers of what both
        volumes show, whichever the metric prefers.

        Raises
        ------
        RegistrationError
            When the initial transform is not linear or the model is no metric.
        """
        from ...networks.model_store import load_model

        recorder = Recorder(compute, device=torch_device(compute.device), packages=("torch", "safetensors"))
        pair, unit = in_units(pair)
        given = given_start(pair, "The linear alignment")
        with torch_threads(compute.thread_count):
            with recorder.stage("Loading the model"):
                card, network = load_model(metric_model(settings.model).folder)
                recorder.notes.append(f"Metric: {card.title}.")
            # The pair is in units now; lengths of the settings are in those of the headers.
            scaled = dataclasses.replace(settings, translation_mm=settings.translation_mm / unit)
            work = partial(align_by, network, pair, given, scaled, progress, recorder, compute.seed)
            found, recorder.device = with_cpu_fallback(recorder.device, work, recorder.notes)
        progress.report(1.0, "Alignment done")
        transform = Transform((found,)).scaled(unit)
        return Result(transform, recorder.diagnostics("second-order search ended"), settings=settings, start=transform)


def align_by(
    network: Any,
    pair: Pair,
    given: Affine | None,
    settings: LearnedMetricSettings,
    progress: Progress,
    recorder: Recorder,
    seed: int,
    device: str,
) -> Affine:
    """Return the linear map at which a network that scores patches is lowest.

    Parameters
    ----------
    network : module
        Returns `PatchScores` of a fixed and a warped image, a dissimilarity; has `stride`, `multiple`.
    pair : Pair
        The pair, in units (`in_units`).
    given : Affine or None
        Where the search begins; see `LearnedMetricEngine.run`.
    settings, progress, recorder, seed, device
        As for an engine; lengths of the settings are in the units of the pair.
    """
    from .objective import MetricObjective

    network = network.to(device).requires_grad_(False)
    make = partial(MetricObjective, network, pair, device=device)
    coarse, fine = (_grid(pair, network, factor, settings) for factor in (COARSER, 1.0))
    with recorder.stage("Start"):
        progress.report(0.02, "Choosing the start")
        start = _start(make, pair, coarse) if given is None else given
    with recorder.stage("Exploration"):
        begun = _explored(make(coarse, start), settings, progress.part(0.05, 0.6), recorder, seed)
    with recorder.stage("Second order"):
        objective = make(fine, start, passes=settings.passes)
        return _refined(objective, begun, settings, progress.part(0.6, 1.0), recorder)


def _grid(pair: Pair, network: Any, factor: float, settings: LearnedMetricSettings) -> Grid:
    """Return an isotropic grid over what the fixed volume shows, `factor` times coarser than the voxels allow."""
    from ..network.grid import affordable_spacing, model_grid

    alone = Pair(pair.fixed, pair.fixed)
    multiple = network.multiple
    finest = min(pair.fixed.grid.spacing_mm)
    box = model_grid(alone, Transform(), spacing_mm=2 * finest, multiple=multiple)
    spacing = max(affordable_spacing(box, pair, voxels=1e3 * settings.voxels_thousands), finest)
    return model_grid(alone, Transform(), spacing_mm=factor * spacing, multiple=multiple)


def _start(make: Any, pair: Pair, grid: Grid) -> Affine:
    """Return the better of the headers and the centers of what both volumes show."""
    return min(first_guesses(pair), key=lambda start: float(make(grid, start)(np.zeros(6))))


def _explored(
    objective: MetricObjective,
    settings: LearnedMetricSettings,
    progress: Progress,
    recorder: Recorder,
    seed: int,
) -> Any:
    """Return the best of many poses around the start (differential evolution; Storn and Price, 1997)."""
    from scipy.optimize import differential_evolution

    from .objective import FREE, bounds

    free = FREE[settings.kind]
    nothing = np.zeros(free)
    recorder.trace("Exploration", 0, objective(nothing))
    if not settings.generations:
        return nothing
    radius_mm = objective.radius_mm
    shift_mm = settings.translation_mm or SHIFT * radius_mm
    limits = bounds(settings.kind, shift_mm, settings.rotation_deg, settings.stretch, radius_mm)
    count = settings.population * free * (settings.generations + 1)
    done, best = 0, np.inf

    def judged(parameters: Any) -> float:
        nonlocal done, best
        value = objective(parameters)
        done, best = done + 1, min(best, value)
        if done % free == 0:
            recorder.trace("Exploration", done, best)
        progress.report(min(1.0, done / count), "Exploring poses", metric=best, iteration=done)
        return value

    found = differential_evolution(
        judged, limits, x0=nothing, maxiter=settings.generations, popsize=settings.population, seed=seed, polish=False
    )
    return found.x


def _refined(
    objective: MetricObjective, begun: Any, settings: LearnedMetricSettings, progress: Progress, recorder: Recorder
) -> Affine:
    """Return the map after second-order steps (L-BFGS); the start when these do not lower the metric."""
    from scipy.optimize import minimize

    nothing = np.zeros_like(begun)
    at_start = objective(nothing)
    begun = min((nothing, begun), key=objective)
    done = 0

    def judged(parameters: Any) -> tuple[float, Any]:
        nonlocal done
        value, slope = objective.with_slope(parameters)
        done += 1
        recorder.trace("Second order", done, value)
        share = min(1.0, done / (2 * max(settings.iterations, 1)))
        progress.report(share, "Second-order steps", metric=value, iteration=done)
        return value, slope

    best, value = begun, objective(begun)
    if settings.iterations:
        found = minimize(judged, begun, jac=True, method="L-BFGS-B", options={"maxiter": settings.iterations})
        if found.fun < value:
            best, value = found.x, float(found.fun)
    if value >= at_start - LEAST_GAIN:
        recorder.notes.append("The metric found nothing better than its start.")
        best, value = nothing, at_start
    recorder.notes.append(f"The metric fell from {at_start:.3g} to {value:.3g}.")
    return objective.affine(best)
