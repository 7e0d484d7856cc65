"""The ANTs engine: symmetric normalization (SyN) of the antspyx package, run as a child process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import SimpleITK as sitk

from ...errors import SettingsError
from ...settings import option
from ...transforms.files import read_transform
from ...transforms.transform import Part, Transform
from ..base import EngineInfo, Requirement
from .base import Complaint, ExternalEngine, ExternalRun, Step
from .levels import usable_levels, work_done
from .program import python_child

FEWEST_VOXELS = 6
ITERATION = re.compile(r"^\s*\d+DIAGNOSTIC,\s*(\d+),\s*([-+.\deE]+),")
LEVEL = "XXDIAGNOSTIC,Iteration"


@dataclass(frozen=True)
class AntsSettings:
    """Settings of SyN."""

    metric: str = option(
        "CC", "Similarity", choices=("CC", "MI", "Demons"), tooltip="CC: local correlation; MI: any contrast."
    )
    metric_parameter: int = option(
        2, "Radius or bins", minimum=1, maximum=256, tooltip="Radius in voxels for CC, number of bins for MI."
    )
    step: float = option(0.2, "Gradient step", minimum=0.01, maximum=2, tooltip="Larger is faster and less smooth.")
    update_sigma_vox2: float = option(
        3.0, "Update smoothing", unit="voxels²", minimum=0, maximum=20, tooltip="Variance of the Gaussian, as in ANTs."
    )
    total_sigma_vox2: float = option(
        0.0, "Field smoothing", unit="voxels²", minimum=0, maximum=20, tooltip="Variance.", advanced=True
    )
    iterations: tuple[int, ...] = option(
        (100, 70, 50, 20), "Iterations", minimum=0, maximum=10000, tooltip="Maximum per level, coarsest first."
    )
    shrink: tuple[int, ...] = option((8, 4, 2, 1), "Shrink factors", minimum=1, maximum=32)
    smoothing_vox: tuple[float, ...] = option((3.0, 2.0, 1.0, 0.0), "Smoothing", unit="voxels", minimum=0, maximum=20)
    convergence: float = option(1e-6, "Convergence", minimum=0, maximum=1, advanced=True)
    window: int = option(10, "Convergence window", minimum=2, maximum=100, advanced=True)
    winsorize: tuple[float, ...] = option(
        (0.005, 0.995), "Clip intensities", minimum=0, maximum=1, tooltip="Quantiles.", advanced=True
    )
    match_histograms: bool = option(False, "Match histograms", tooltip="For equal contrasts only.", advanced=True)


class AntsEngine(ExternalEngine[AntsSettings]):
    """SyN by Advanced Normalization Tools."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="ants",
        title="ANTs SyN",
        summary="Symmetric diffeomorphic registration; the reference method of brain mapping, accurate and slow.",
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
    )

    program = "ANTs"
    packages = ("antspyx",)
    stop_condition = "converged or all iterations"
    complaints = (
        Complaint(
            "All samples map outside moving image buffer",
            "the volumes do not overlap at the start.",
            "Check the linear alignment first (engine 'linear'), or use landmarks or an initial transform.",
        ),
    )

    def check(self, settings: AntsSettings) -> None:
        """Raise `SettingsError` unless all settings have one value per level."""
        levels = {len(settings.iterations), len(settings.shrink), len(settings.smoothing_vox)}
        if len(levels) != 1 or not settings.shrink:
            raise SettingsError("ANTs needs one number of iterations, shrink factor and smoothing per level.")
        if len(settings.winsorize) != 2:
            raise SettingsError(f"Clipping needs 2 quantiles, got {settings.winsorize}.")

    def register(self, run: ExternalRun[AntsSettings]) -> Sequence[Part | Transform]:
        """Run antsRegistration; its composite transform includes the affine start."""
        shrink = run.settings.shrink
        levels = usable_levels(run.start.fixed.grid, shrink, fewest=FEWEST_VOXELS)
        if len(levels) < len(shrink):
            run.recorder.notes.append(f"The volume is small: only {len(levels)} of {len(shrink)} levels were run.")
        arguments = _write_inputs(run) + _arguments(run, levels)
        command = python_child(f"{__package__}.ants_child", *arguments)
        output = run.execute(command, _Parser(run.settings, levels).parse)
        result = run.folder / "out_Composite.h5"
        self.check_output(output, result)
        return [read_transform(result)]


def _write_inputs(run: ExternalRun[AntsSettings]) -> list[str]:
    """Write volumes, masks and the affine start; return the arguments that name them."""
    start = run.start
    run.write_volumes()
    arguments = []
    if start.affine_matters:
        sitk.WriteTransform(start.affine.to_sitk(), str(run.folder / "start.tfm"))
        arguments += ["--initial-moving-transform", "start.tfm"]
    if start.fixed_mask is not None or start.moving_mask is not None:
        named = (("fixed_mask.mha", start.fixed_mask), ("moving_mask.mha", start.moving_mask))
        names = ["NULL" if mask is None else run.write_mask(mask, name) for name, mask in named]
        arguments += ["--masks", f"[{','.join(names)}]"]
    return arguments


def _arguments(run: ExternalRun[AntsSettings], levels: list[int]) -> list[str]:
    settings = run.settings

    def per_level(values: tuple[float, ...]) -> str:
        return "x".join(f"{values[level]:g}" for level in levels)

    low, high = settings.winsorize
    return [
        *("--dimensionality", "3", "--float", "1", "--verbose", "1"),
        *("--random-seed", str(run.compute.seed + 1)),  # 0 would mean the wall clock
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


class _Parser:
    """Parses the log of antsRegistration."""

    def __init__(self, settings: AntsSettings, levels: list[int]) -> None:
        self.iterations = [max(1, settings.iterations[level]) for level in levels]
        # The time of an iteration is proportional to its voxels; levels often converge early, so these are upper
        # bounds.
        self.costs = [n / settings.shrink[level] ** 3 for n, level in zip(self.iterations, levels, strict=True)]
        self.level = -1

    def parse(self, line: str) -> Step | None:
        """Return the step of a line."""
        if LEVEL in line:
            self.level = min(self.level + 1, len(self.iterations) - 1)
            return None
        match = ITERATION.match(line)
        if not match or self.level < 0:
            return None
        number = int(match[1])
        done = work_done(self.costs, self.level, number / self.iterations[self.level])
        title = f"SyN, level {self.level + 1} of {len(self.iterations)}"
        return Step(title, done, number, float(match[2]))
