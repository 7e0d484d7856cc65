"""The ANTs engine: symmetric normalization (SyN) of the antspyx package, run as a child process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from ..device import Compute
from ..errors import EngineFailed, SettingsError
from ..images.simple import image_from_array, to_sitk
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.files import read_transform
from ._levels import usable_levels
from ._program import Output, python_child, run_program, scratch_folder
from ._start import Start, native_start
from .base import EngineInfo, Recorder, Requirement, Result

FEWEST_VOXELS = 6
ITERATION = re.compile(r"^\s*\d+DIAGNOSTIC,\s*(\d+),\s*([-+.\deE]+),")
LEVEL = "XXDIAGNOSTIC,Iteration"


@dataclass(frozen=True)
class AntsSettings:
    """What drives SyN."""

    metric: str = option(
        "CC", "Similarity", choices=("CC", "MI", "Demons"), tooltip="CC: local correlation; MI: any contrast."
    )
    metric_parameter: int = option(
        2, "Radius or bins", minimum=1, maximum=256, tooltip="Radius in voxels of CC, number of bins of MI."
    )
    step: float = option(0.2, "Gradient step", minimum=0.01, maximum=2, tooltip="Larger is faster and rougher.")
    update_sigma_vox2: float = option(
        3.0, "Update smoothing", unit="voxels²", minimum=0, maximum=20, tooltip="Variance, as ANTs counts it."
    )
    total_sigma_vox2: float = option(
        0.0, "Field smoothing", unit="voxels²", minimum=0, maximum=20, tooltip="Variance.", advanced=True
    )
    iterations: tuple[int, ...] = option(
        (100, 70, 50, 20), "Iterations", minimum=0, maximum=10000, tooltip="Most per level, coarsest first."
    )
    shrink: tuple[int, ...] = option((8, 4, 2, 1), "Shrink factors", minimum=1, maximum=32)
    smoothing_vox: tuple[float, ...] = option((3.0, 2.0, 1.0, 0.0), "Smoothing", unit="voxels", minimum=0, maximum=20)
    convergence: float = option(1e-6, "Convergence", minimum=0, maximum=1, advanced=True)
    window: int = option(10, "Convergence window", minimum=2, maximum=100, advanced=True)
    winsorize: tuple[float, ...] = option(
        (0.005, 0.995), "Clip intensities", minimum=0, maximum=1, tooltip="Quantiles.", advanced=True
    )
    match_histograms: bool = option(False, "Match histograms", tooltip="Same contrast only.", advanced=True)


class AntsEngine:
    """SyN by Advanced Normalization Tools."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="ants",
        title="ANTs SyN",
        summary="Symmetric diffeomorphic registration; the reference of brain mapping, thorough and slow.",
        family="classical",
        settings=AntsSettings,
        citation="Avants et al., Med. Image Anal. 12:26-41, 2008, doi 10.1016/j.media.2007.06.004",
        # antspyx asks for older numpy and scipy than Slicer has, and runs with the newer ones.
        requires=(
            Requirement(name="ants", package="antspyx", no_deps=True),
            Requirement(name="pandas", package="pandas"),
            Requirement(name="statsmodels", package="statsmodels"),
            Requirement(name="sklearn", package="scikit-learn"),
            Requirement(name="matplotlib", package="matplotlib"),
            Requirement(name="requests", package="requests"),
        ),
        uses_masks=True,
        multimodal=True,
        interruptible=True,
    )

    def run(self, pair: Pair, settings: AntsSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        _check(settings)
        recorder = Recorder(compute, packages=("antspyx",))
        progress.report(0.0, "Preparing ANTs")
        start = native_start(pair)
        levels = usable_levels(pair.fixed.grid, settings.shrink, fewest=FEWEST_VOXELS)
        if len(levels) < len(settings.shrink):
            recorder.notes.append(f"The volume is small: {len(levels)} of {len(settings.shrink)} levels were run.")
        with scratch_folder("ants") as folder, recorder.stage("ants"):
            arguments = _write_inputs(start, folder) + _arguments(start, settings, levels, compute)
            follower = _Follower(settings, levels, progress, recorder)
            output = run_program(
                python_child("_ants_child", *arguments),
                folder=folder,
                progress=progress,
                on_line=follower.hear,
                threads=compute.thread_count,
            )
            found = folder / "out_Composite.h5"
            _check_output(output, found)
            transform = read_transform(found)
        progress.report(1.0, "ANTs done")
        return Result(start.complete(transform), recorder.diagnostics("converged or all iterations"), settings=settings)


def _check(settings: AntsSettings) -> None:
    if len({len(settings.iterations), len(settings.shrink), len(settings.smoothing_vox)}) != 1 or not settings.shrink:
        raise SettingsError("ANTs needs one number of iterations, shrink factor and smoothing per level.")
    if len(settings.winsorize) != 2:
        raise SettingsError(f"Clipping needs 2 quantiles, got {settings.winsorize}.")


def _write_inputs(start: Start, folder: Path) -> list[str]:
    """Write volumes, masks and the affine start; return the arguments that name them."""
    for name, volume in (("fixed", start.fixed), ("moving", start.moving)):
        sitk.WriteImage(to_sitk(volume), str(folder / f"{name}.mha"))
    arguments = []
    if start.affine_matters:
        sitk.WriteTransform(start.affine.to_sitk(), str(folder / "start.tfm"))
        arguments += ["--initial-moving-transform", "start.tfm"]
    if start.fixed_mask is not None or start.moving_mask is not None:
        names = []
        for name, mask in (("fixed_mask.mha", start.fixed_mask), ("moving_mask.mha", start.moving_mask)):
            names.append("NULL" if mask is None else name)
            if mask is not None:
                sitk.WriteImage(image_from_array(mask.mask().astype(np.uint8), mask.grid), str(folder / name))
        arguments += ["--masks", f"[{','.join(names)}]"]
    return arguments


def _arguments(start: Start, settings: AntsSettings, levels: list[int], compute: Compute) -> list[str]:
    def per_level(values: tuple[float, ...]) -> str:
        return "x".join(f"{values[level]:g}" for level in levels)

    low, high = settings.winsorize
    return [
        *("--dimensionality", "3", "--float", "1", "--verbose", "1"),
        *("--random-seed", str(compute.seed + 1)),  # 0 would mean the wall clock
        *("--output", "out_", "--write-composite-transform", "1"),
        *("--winsorize-image-intensities", f"[{low:g},{high:g}]"),
        *("--use-histogram-matching", str(int(settings.match_histograms))),
        *("--transform", f"SyN[{settings.step:g},{settings.update_sigma_vox2:g},{settings.total_sigma_vox2:g}]"),
        *("--metric", f"{settings.metric}[fixed.mha,moving.mha,1,{settings.metric_parameter}]"),
        *(
            "--convergence",
            f"[{per_level(settings.iterations)},{settings.convergence:g},{settings.window}]",
        ),
        *("--shrink-factors", per_level(settings.shrink)),
        *("--smoothing-sigmas", f"{per_level(settings.smoothing_vox)}vox"),
    ]


class _Follower:
    """Turns antsRegistration's lines into progress and a metric trace."""

    def __init__(self, settings: AntsSettings, levels: list[int], progress: Progress, recorder: Recorder) -> None:
        self.iterations = [max(1, settings.iterations[level]) for level in levels]
        # An iteration costs by its voxels; levels often converge early, so these are upper bounds.
        costs = [n / settings.shrink[level] ** 3 for n, level in zip(self.iterations, levels, strict=True)]
        self.ends = [0.0, *(np.cumsum(costs) / np.sum(costs)).tolist()]
        self.level = -1
        self.progress, self.recorder = progress, recorder

    def hear(self, line: str) -> None:
        """Take in one line."""
        if LEVEL in line:
            self.level = min(self.level + 1, len(self.iterations) - 1)
        elif (match := ITERATION.match(line)) and self.level >= 0:
            self._iteration(int(match[1]), float(match[2]))

    def _iteration(self, number: int, metric: float) -> None:
        title = f"SyN, level {self.level + 1} of {len(self.iterations)}"
        before, after = self.ends[self.level], self.ends[self.level + 1]
        done = min(1.0, number / self.iterations[self.level])
        if np.isfinite(metric):
            self.recorder.trace(title, number, metric)
        self.progress.report(0.02 + 0.96 * (before + done * (after - before)), title, metric=metric, iteration=number)


def _check_output(output: Output, found: Path) -> None:
    if output.status == 0 and found.is_file():
        return
    if output.said("bad_alloc") or output.said("Failed to allocate memory") or output.status == 137:
        raise EngineFailed("ANTs ran out of memory.", hint="Use a smaller volume or close other programs.")
    if output.said("All samples map outside moving image buffer"):
        raise EngineFailed(
            "ANTs stopped: the volumes do not overlap at the start.",
            hint="Check the linear alignment first (engine 'linear'), or give landmarks or an initial transform.",
        )
    raise EngineFailed(f"ANTs stopped with status {output.status}: {output.last_words()}", hint="See the log.")
