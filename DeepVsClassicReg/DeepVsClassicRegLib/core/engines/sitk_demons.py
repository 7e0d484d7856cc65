"""The demons engine of SimpleITK: the log-demons of the paper, or multi-resolution diffeomorphic demons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import SimpleITK as sitk

from ..device import Compute
from ..errors import EngineFailed, RegistrationError, SettingsError
from ..images.grid import Grid
from ..images.resample import continued_image, grid_of, image_from_array, resampled
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.transform import DisplacementField
from .base import EngineInfo, Recorder, Result
from .engine_input import EngineInput, same_grid_start, shrink_factors
from .sitk_watch import Watch

FORCES = {
    "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
    "fast-symmetric": sitk.FastSymmetricForcesDemonsRegistrationFilter,
    "symmetric": sitk.SymmetricForcesDemonsRegistrationFilter,
}
# A level ends when the root mean square change of the field is below this value: ITK's default, for a head.
SETTLED_RMS = 0.02


@dataclass(frozen=True)
class SitkDemonsSettings:
    """Settings of the demons."""

    variant: str = option(
        "diffeomorphic",
        "Variant",
        choices=tuple(FORCES),
        tooltip="Variant of the demons. Diffeomorphic composes small smooth steps and does not fold.",
    )
    iterations: tuple[int, ...] = option(
        (100, 60, 30), "Iterations", minimum=0, maximum=10000, tooltip="Per level, coarsest first."
    )
    shrink: tuple[int, ...] = option((4, 2, 1), "Shrink factors", minimum=1, maximum=16, tooltip="One per level.")
    sigma_vox: float = option(
        1.5, "Field smoothing", unit="voxels", minimum=0, maximum=10, tooltip="Gaussian sigma, in each iteration."
    )
    update_sigma_vox: float = option(
        0.0, "Update smoothing", unit="voxels", minimum=0, maximum=10, tooltip="0: none.", special="none", advanced=True
    )
    step_vox: float = option(
        0.5, "Longest step", unit="voxels", minimum=0.1, maximum=10, tooltip="Per iteration.", advanced=True
    )
    match_levels: int = option(
        1024, "Histogram levels", minimum=16, maximum=65536, tooltip="For the histogram matching.", advanced=True
    )
    match_points: int = option(
        7,
        "Histogram match points",
        minimum=0,
        maximum=100,
        tooltip="Points of the histogram matching; 0 disables it.",
        special="none",
        advanced=True,
    )


class SitkDemonsEngine:
    """Demons on the fixed volume's grid; volumes of the same contrast only."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="sitk-demons",
        title="Demons (SimpleITK)",
        summary="Dense registration of volumes with the same contrast; fast, needs only SimpleITK.",
        family="classical",
        settings=SitkDemonsSettings,
        citation="Vercauteren et al., Diffeomorphic demons, NeuroImage 45:S61-S72, 2009, "
        "doi 10.1016/j.neuroimage.2008.10.040",
        uses_masks=True,
    )

    def run(self, pair: Pair, settings: SitkDemonsSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        _check(settings)
        recorder = Recorder(compute)
        progress.report(0.0, "Matching intensities")
        with recorder.stage("preparation"):
            start = same_grid_start(pair)
            fixed, moving = _prepared(start, settings)
        with recorder.stage("demons"):
            field = _pyramid(fixed, moving, settings, progress, recorder)
        found = DisplacementField.from_sitk(field)
        if not np.isfinite(found.array_mm).all():
            raise EngineFailed("The demons diverged.", hint="Increase the field smoothing or reduce the step length.")
        progress.report(1.0, "Demons done")
        return Result(start.complete(found), recorder.diagnostics("all iterations done"), settings=settings)


def _check(settings: SitkDemonsSettings) -> None:
    if len(settings.iterations) != len(settings.shrink) or not settings.iterations:
        raise SettingsError(
            f"Demons needs one shrink factor per level of iterations, got {settings.shrink} and {settings.iterations}."
        )


def _prepared(start: EngineInput, settings: SitkDemonsSettings) -> tuple[sitk.Image, sitk.Image]:
    """Return both volumes with matched intensities; outside of the masks they are equal, so that there are no forces.

    The region outside must not affect the matching either, so it is background when the histograms are computed.
    """
    grid = start.fixed.grid
    masks = [mask.mask() for mask in (start.fixed_mask, start.moving_mask) if mask is not None]
    inside = np.logical_and.reduce(masks) if masks else np.ones(grid.shape, dtype=bool)
    if not inside.any():
        raise RegistrationError(
            "The masks do not overlap at the start.", hint="Check the linear alignment or the masks."
        )
    fixed, moving = (
        image_from_array(np.where(inside, volume.array, volume.array[inside].min()), grid)
        for volume in (start.fixed, start.moving)
    )
    if settings.match_points:
        moving = sitk.HistogramMatching(moving, fixed, settings.match_levels, settings.match_points, True)
    if masks:
        kept = np.where(inside, sitk.GetArrayViewFromImage(moving), sitk.GetArrayViewFromImage(fixed))
        moving = image_from_array(kept.astype(np.float32), grid)
    return fixed, moving


def _pyramid(
    fixed: sitk.Image, moving: sitk.Image, settings: SitkDemonsSettings, progress: Progress, recorder: Recorder
) -> sitk.Image:
    """Return the displacement field on the fixed grid, computed from coarse to fine."""
    costs = np.array([n / s**3 + 1e-6 for n, s in zip(settings.iterations, settings.shrink, strict=True)])
    ends = [0.02, *(0.02 + 0.97 * np.cumsum(costs / costs.sum())).tolist()]
    field: sitk.Image | None = None
    for level, (iterations, shrink) in enumerate(zip(settings.iterations, settings.shrink, strict=True)):
        small_fixed = _shrunk(fixed, shrink)
        small_moving = _shrunk(moving, shrink)
        if field is not None:
            field = _on_grid(field, grid_of(small_fixed))
        title = f"Demons, level {level + 1} of {len(settings.shrink)}"
        part = progress.part(ends[level], ends[level + 1])
        field = _level(small_fixed, small_moving, field, settings, iterations, title, part, recorder)
    assert field is not None
    return _on_grid(field, grid_of(fixed))


def _level(
    fixed: sitk.Image,
    moving: sitk.Image,
    field: sitk.Image | None,
    settings: SitkDemonsSettings,
    iterations: int,
    title: str,
    progress: Progress,
    recorder: Recorder,
) -> sitk.Image:
    demons: Any = FORCES[settings.variant]()
    demons.SetNumberOfIterations(iterations)
    demons.SetMaximumRMSError(SETTLED_RMS)
    demons.SetSmoothDisplacementField(settings.sigma_vox > 0)
    demons.SetStandardDeviations(settings.sigma_vox)
    demons.SetSmoothUpdateField(settings.update_sigma_vox > 0)
    demons.SetUpdateFieldStandardDeviations(settings.update_sigma_vox)
    if settings.variant != "symmetric":
        demons.SetMaximumUpdateStepLength(settings.step_vox)
    watch = Watch(demons, progress, recorder)

    def iteration() -> None:
        done = demons.GetElapsedIterations()
        watch.note(done / max(1, iterations), title, done, demons.GetMetric())

    watch.on(sitk.sitkIterationEvent, iteration)
    watch.on(sitk.sitkProgressEvent, progress.check)  # these events occur within an iteration
    found: sitk.Image | None = None
    with watch.guard("Check that both volumes show the same anatomy in the same contrast."):
        found = demons.Execute(fixed, moving, field) if field is not None else demons.Execute(fixed, moving)
    assert found is not None
    return found


def _shrunk(image: sitk.Image, shrink: int) -> sitk.Image:
    """Return the image smoothed and downsampled by `shrink`; thick or few slices are kept."""
    grid = grid_of(image)
    factors = shrink_factors(grid, shrink)
    if max(factors) == 1:
        return image
    # 0.5 voxel of the coarse grid is the usual compromise between aliasing and blur.
    sigmas = [0.5 * f * s if f > 1 else 1e-3 * s for f, s in zip(factors, grid.spacing_mm, strict=True)]
    smooth = sitk.SmoothingRecursiveGaussian(image, sigmas)
    coarse = grid.with_spacing([s * f for s, f in zip(grid.spacing_mm, factors, strict=True)])
    return resampled(smooth, coarse, None, sitk.sitkLinear, 0)


def _on_grid(field: sitk.Image, grid: Grid) -> sitk.Image:
    """Return the field on the grid; outside it has its border values."""
    return field if grid_of(field).same_as(grid) else continued_image(field, grid)
