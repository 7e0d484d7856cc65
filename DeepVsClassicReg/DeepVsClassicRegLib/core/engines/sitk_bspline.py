"""The B-spline engine of SimpleITK: free-form deformation by mutual information or correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from ..device import Compute
from ..errors import EngineFailed, SettingsError
from ..images.grid import Grid
from ..images.resample import image_from_array, to_sitk
from ..images.volume import LabelMap
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.transform import BSpline
from .base import EngineInfo, Recorder, Result
from .engine_input import EngineInput, native_start, shrink_factors
from .partial_views import is_partial
from .sitk_watch import Watch

METRICS = ("mutual-information", "correlation", "mean-squares")
# In units of the fixed grid (mm for a head); a small field of view gets at least ten cells along its longest edge.
HEAD_GRID_SPACING, FEWEST_CELLS = 16.0, 10
# Edge of a cell in voxels where a volume shows a part of the body: with few compared voxels per cell the spline, which
# has no regularizer, follows the noise (a slab of 14 voxels ended 0.4 mm further off than its start with 4 voxels).
PARTIAL_CELL_VOXELS = 8


@dataclass(frozen=True)
class SitkBSplineSettings:
    """Settings of the free-form deformation."""

    metric: str = option("mutual-information", "Similarity", choices=METRICS)
    grid_spacing_mm: float = option(
        0.0,
        "Grid spacing",
        unit="mm",
        minimum=0,
        maximum=2000,
        tooltip="Grid spacing of the finest level; 0 is 16 mm for a head and proportional for other volumes, at least "
        "8 voxels for partial views. Half the spacing makes the metric about eight times slower.",
        special="automatic",
    )
    iterations: tuple[int, ...] = option(
        (30, 30, 20), "Iterations", minimum=1, maximum=10000, tooltip="Maximum per level, coarsest first."
    )
    shrink: tuple[int, ...] = option((4, 2, 1), "Shrink factors", minimum=1, maximum=16, tooltip="One per level.")
    grid_factors: tuple[int, ...] = option(
        (4, 2, 1), "Grid factors", minimum=1, maximum=32, tooltip="Factor of the grid spacing per level.", advanced=True
    )
    samples: tuple[int, ...] = option(
        (5000, 10000, 20000), "Samples", minimum=100, maximum=10**9, tooltip="Sampled voxels per level."
    )
    bins: int = option(32, "Histogram bins", minimum=5, maximum=512, advanced=True)


class SitkBSplineEngine:
    """Free-form deformation with SimpleITK's registration framework."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="sitk-bspline",
        title="B-spline (SimpleITK)",
        summary="Smooth B-spline registration for any contrast; needs only SimpleITK.",
        family="classical",
        settings=SitkBSplineSettings,
        citation="Rueckert et al., IEEE TMI 18:712-721, 1999, doi 10.1109/42.796284",
        uses_masks=True,
        multimodal=True,
    )

    def run(self, pair: Pair, settings: SitkBSplineSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        _check(settings)
        recorder = Recorder(compute)
        progress.report(0.0, "Preparing B-spline")
        start = native_start(pair)
        with recorder.stage("B-spline"):
            finest = settings.grid_spacing_mm / start.unit_mm or _automatic_spacing(start.fixed.grid, is_partial(pair))
            spline, stop = _optimized(start, settings, finest, progress, recorder)
        found = BSpline.from_sitk(spline)
        if not np.isfinite(found.coefficients_mm).all():
            raise EngineFailed("The B-spline diverged.", hint="Use a coarser grid or fewer iterations.")
        progress.report(1.0, "B-spline done")
        parts = [found, start.affine] if start.affine_matters else [found]
        return Result(start.complete(*parts), recorder.diagnostics(stop), settings=settings)


def _check(settings: SitkBSplineSettings) -> None:
    lists = (settings.iterations, settings.shrink, settings.grid_factors, settings.samples)
    if len({len(entries) for entries in lists}) != 1 or not settings.shrink:
        raise SettingsError("Iterations, shrink factors, grid factors and samples need one entry per level.")
    if settings.grid_factors[-1] != 1:
        raise SettingsError(f"The last grid factor must be 1, got {settings.grid_factors[-1]}.")


def _optimized(
    start: EngineInput, settings: SitkBSplineSettings, finest: float, progress: Progress, recorder: Recorder
) -> tuple[sitk.BSplineTransform, str]:
    """Return the spline of the finest level and the stop condition of the optimizer.

    Each level is a separate run with its own images, samples and progress, so that a cancel takes at most one
    iteration.
    """
    fixed, moving = to_sitk(start.fixed), to_sitk(start.moving)
    costs = np.array([i * s for i, s in zip(settings.iterations, settings.samples, strict=True)], dtype=float)
    ends = [0.02, *(0.02 + 0.97 * np.cumsum(costs / costs.sum())).tolist()]
    spline: sitk.BSplineTransform | None = None
    stop = ""
    for level, shrink in enumerate(settings.shrink):
        title = f"B-spline, level {level + 1} of {len(settings.shrink)}"
        mesh = _mesh(start.fixed.grid, finest * settings.grid_factors[level])
        spline = _refined(spline, fixed, mesh)
        registration = _method(start, settings, level, shrink_factors(start.fixed.grid, shrink), recorder.compute.seed)
        registration.SetInitialTransform(spline, inPlace=True)
        watch = Watch(registration, progress.part(ends[level], ends[level + 1]), recorder)
        _follow(watch, registration, title, settings.iterations[level])
        with watch.guard("Check that the volumes overlap at the start, or enlarge the masks."):
            registration.Execute(fixed, moving)
        stop = _stop_words(registration.GetOptimizerStopConditionDescription())
    assert spline is not None
    return spline, stop


def _automatic_spacing(grid: Grid, partial: bool) -> float:
    """Return the grid spacing of the finest level, in units of the grid."""
    spacing = min(HEAD_GRID_SPACING, max(grid.extent_mm) / FEWEST_CELLS)
    return max(spacing, PARTIAL_CELL_VOXELS * min(grid.spacing_mm)) if partial else spacing


def _stop_words(description: str) -> str:
    """Return the stop condition; the optimizer describes the iteration limit as requested by the user."""
    return "all iterations done" if "User requested" in description else description


def _method(
    start: EngineInput, settings: SitkBSplineSettings, level: int, factors: list[int], seed: int
) -> sitk.ImageRegistrationMethod:
    registration = sitk.ImageRegistrationMethod()
    if settings.metric == "mutual-information":
        registration.SetMetricAsMattesMutualInformation(settings.bins)
    elif settings.metric == "correlation":
        registration.SetMetricAsCorrelation()
    else:
        registration.SetMetricAsMeanSquares()
    voxels = np.prod([max(1, n // f) for n, f in zip(start.fixed.grid.size, factors, strict=True)])
    share = min(1.0, settings.samples[level] / float(voxels))
    if share < 1:
        registration.SetMetricSamplingStrategy(registration.RANDOM)
        registration.SetMetricSamplingPercentage(share, seed + 1)  # 0 would mean the wall clock
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetShrinkFactorsPerLevel([max(factors)])
    registration.SetSmoothingSigmasPerLevel([0.5 * max(factors) if max(factors) > 1 else 0.0])
    registration.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    registration.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-6,
        numberOfIterations=settings.iterations[level],
        maximumNumberOfCorrections=6,
        maximumNumberOfFunctionEvaluations=2 * settings.iterations[level] + 10,
        costFunctionConvergenceFactor=1e5,
    )
    if start.affine_matters:
        registration.SetMovingInitialTransform(start.affine.to_sitk())
    if start.fixed_mask is not None:
        registration.SetMetricFixedMask(_mask(start.fixed_mask))
    if start.moving_mask is not None:
        registration.SetMetricMovingMask(_mask(start.moving_mask))
    return registration


def _follow(watch: Watch, registration: sitk.ImageRegistrationMethod, title: str, iterations: int) -> None:
    def iteration() -> None:
        done = registration.GetOptimizerIteration()
        watch.note(done / iterations, title, done, registration.GetMetricValue())

    watch.on(sitk.sitkIterationEvent, iteration)


def _mesh(grid: Grid, spacing: float) -> list[int]:
    return [max(1, round(extent / spacing)) for extent in grid.extent_mm]


def _refined(spline: sitk.BSplineTransform | None, fixed: sitk.Image, mesh: list[int]) -> sitk.BSplineTransform:
    """Return a spline with this mesh over the fixed volume that equals the given one."""
    finer = sitk.BSplineTransformInitializer(fixed, mesh, 3)
    if spline is None:
        return finer
    images = []
    for coarse, fine in zip(spline.GetCoefficientImages(), finer.GetCoefficientImages(), strict=True):
        # The finer coefficients are the samples of the coarse spline at the finer nodes, deconvolved.
        values = sitk.Resample(coarse, fine, sitk.Transform(), sitk.sitkBSplineResampler, 0.0, sitk.sitkFloat64)
        images.append(sitk.BSplineDecomposition(values, 3))
    for decomposed, fine in zip(images, finer.GetCoefficientImages(), strict=True):
        decomposed.CopyInformation(fine)
    return sitk.BSplineTransform(images, 3)


def _mask(mask: LabelMap) -> sitk.Image:
    return image_from_array(mask.mask().astype(np.uint8), mask.grid)
