"""What the stages of one linear alignment share: the pair at several resolutions, settings and watchers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..images.volume import Volume
from ..pair import Pair
from ..progress import Progress
from .base import Recorder
from .linear_sampling import Coarse, Level, coarse_copy, make_level, pair_size_mm, shrink
from .linear_settings import LinearSettings

Array = npt.NDArray[np.floating]
SEARCH_SAMPLES = 8000


@dataclass(frozen=True, eq=False)
class Work:
    """One run.

    Attributes
    ----------
    pair : Pair
        Volumes, shrunk where they are much finer than needed, with masks.
    settings, progress, recorder
        As the engine got them.
    levels : tuple of Level
        Coarse to fine.
    coarse_fixed : Coarse
        The fixed volume at the coarsest level.
    size_mm : float
        Edge of a cube as large as the smaller field of view.
    probes : (N, 3) array
        A few fixed points, LPS mm, at which poses are compared.
    """

    pair: Pair
    settings: LinearSettings
    progress: Progress
    recorder: Recorder
    levels: tuple[Level, ...]
    coarse_fixed: Coarse
    size_mm: float
    probes: Array

    @property
    def finer(self) -> tuple[Level, ...]:
        """The levels after the coarsest, or that one when there is no other."""
        return self.levels[1:] or self.levels

    def watch(self, stage: str) -> Callable[[int, float], None]:
        """Return a watcher that traces the objective and stops the optimization on cancel."""

        def note(iteration: int, metric: float) -> None:
            self.recorder.trace(stage, iteration, metric)
            self.progress.check()

        return note


def prepare(pair: Pair, settings: LinearSettings, progress: Progress, recorder: Recorder, seed: int) -> Work:
    """Return the work with its levels made."""
    size_mm = pair_size_mm(pair)
    finest = size_mm / max(settings.resolutions)
    small = pair
    for number, side in enumerate(("fixed", "moving")):
        progress.report(0.02 * number, "Linear alignment: reading intensities")
        volume: Volume = getattr(pair, side)
        array, grid = shrink(volume, finest / 2)
        if grid.size != volume.grid.size:
            small = small.replace(**{side: Volume(array, grid, volume.name)})
    levels = []
    for number, resolution in enumerate(settings.resolutions):
        progress.report(0.04 + 0.02 * number, "Linear alignment: reading intensities")
        share = (number + 1) / len(settings.resolutions)
        samples = int(settings.samples * share) if number else min(SEARCH_SAMPLES, settings.samples)
        levels.append(
            make_level(
                small,
                voxel_mm=size_mm / resolution,
                samples=samples,
                bins=settings.bins,
                seed=seed + number,
                smooth=1 if number == 0 else 0,
            )
        )
    first = levels[0]
    coarse_fixed = coarse_copy(small.fixed, size_mm / settings.resolutions[0], bins=settings.bins, smooth=1)
    probes = np.asarray(first.points.T[:: max(1, first.points.shape[1] // 150)] + first.center, dtype=np.float64)
    return Work(small, settings, progress, recorder, tuple(levels), coarse_fixed, size_mm, probes)
