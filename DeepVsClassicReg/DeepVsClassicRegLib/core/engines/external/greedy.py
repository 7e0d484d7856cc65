"""The greedy engine: fast greedy diffeomorphic registration of the picsl_greedy package, run as a child process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from ...device import Compute
from ...errors import SettingsError
from ...images.grid import Grid
from ...images.intensity import background_value
from ...settings import option
from ...transforms.transform import DisplacementField, Part, Transform
from ..base import EngineInfo, Requirement
from ..engine_input import EngineInput
from .base import ExternalEngine, ExternalRun, Step
from .levels import work_done
from .program import python_child
from .ras import write_ras_matrix

ITERATION = re.compile(r"^Level\s+(\d+)\s+Iter\s+(\d+)\s+.*?=\s*([-+.\deE]+)")
FEWEST_VOXELS = 8


@dataclass(frozen=True)
class GreedySettings:
    """Settings of greedy."""

    metric: str = option(
        "WNCC", "Similarity", choices=("WNCC", "NCC", "SSD", "MI", "NMI"), tooltip="NMI and MI: any contrast."
    )
    radius_vox: int = option(
        2, "Radius", unit="voxels", minimum=1, maximum=20, tooltip="Window radius of NCC and WNCC."
    )
    iterations: tuple[int, ...] = option(
        (100, 100, 40), "Iterations", minimum=0, maximum=10000, tooltip="Per level, coarsest first."
    )
    update_sigma_vox: float = option(
        1.5, "Update smoothing", unit="voxels", minimum=0.01, maximum=50, tooltip="Gaussian sigma on updates."
    )
    total_sigma_vox: float = option(0.5, "Field smoothing", unit="voxels", minimum=0.01, maximum=50)
    step: float = option(1.0, "Step", unit="voxels", minimum=0.01, maximum=10, advanced=True)
    stationary: bool = option(
        False, "Stationary velocity", tooltip="Smoother fields with fewer folds; slower.", advanced=True
    )


class GreedyEngine(ExternalEngine[GreedySettings]):
    """Greedy diffeomorphic registration by the Penn Image Computing and Science Laboratory."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="greedy",
        title="greedy",
        summary="Greedy diffeomorphic registration; very accurate on brains.",
        family="classical",
        settings=GreedySettings,
        citation="Yushkevich et al., Alzheimer's & Dementia 12:P126-P127, 2016, doi 10.1016/j.jalz.2016.06.205",
        requires=(Requirement(name="picsl_greedy", package="picsl_greedy"),),
        licence="GPL-3.0",
        uses_masks=True,
        multimodal=True,
    )

    program = "greedy"
    packages = ("picsl_greedy",)
    stop_condition = "all iterations done"

    def check(self, settings: GreedySettings) -> None:
        """Raise `SettingsError` when there are no iterations."""
        if not settings.iterations or sum(settings.iterations) == 0:
            raise SettingsError("greedy has no iterations.", hint="Give one number per level, for example 100,100,40.")

    def register(self, run: ExternalRun[GreedySettings]) -> Sequence[Part | Transform]:
        """Run greedy; its field precedes the affine start."""
        start, wanted = run.start, run.settings.iterations
        # Levels too small for the window are skipped; the coarsest come first.
        iterations = wanted[-_levels(start.fixed.grid, len(wanted)) :]
        if len(iterations) < len(wanted):
            run.recorder.notes.append(f"The volume is small: only {len(iterations)} of {len(wanted)} levels were run.")
        arguments = _write_inputs(run) + greedy_arguments(start, run.settings, iterations, run.compute)
        command = python_child(f"{__package__}.greedy_child", *arguments)
        output = run.execute(command, _Parser(run.settings, iterations).parse)
        result = run.folder / "warp.mha"
        self.check_output(output, result)
        field = DisplacementField.from_sitk(sitk.ReadImage(str(result), sitk.sitkVectorFloat32))
        self.check_finite(field.array_mm, "Increase the smoothing or use the stationary velocity mode.")
        return [field, start.affine] if start.affine_matters else [field]


def _levels(grid: Grid, wanted: int) -> int:
    """Return the number of levels with enough voxels along the shortest axis, at least one."""
    return max(1, min(wanted, 1 + int(np.log2(max(1.0, min(grid.size) / FEWEST_VOXELS)))))


def _write_inputs(run: ExternalRun[GreedySettings]) -> list[str]:
    """Write volumes, masks and the affine start; return the arguments that name them."""
    start = run.start
    run.write_volumes()
    arguments = ["-i", "fixed.mha", "moving.mha"]
    for flag, name, mask in (("-gm", "fixed_mask", start.fixed_mask), ("-mm", "moving_mask", start.moving_mask)):
        if mask is not None:
            arguments += [flag, run.write_mask(mask, f"{name}.mha", np.float32)]
    if start.affine_matters:
        write_ras_matrix(start.affine, run.folder / "start.mat")
        arguments += ["-it", "start.mat"]
    return arguments


def greedy_arguments(
    start: EngineInput, settings: GreedySettings, iterations: tuple[int, ...], compute: Compute
) -> list[str]:
    """Return the arguments of greedy other than its inputs; lengths are multiples of the finest voxel edge."""
    metric = [settings.metric]
    edge = min(start.fixed.grid.spacing_mm)
    if settings.metric in ("NCC", "WNCC"):
        metric.append("x".join([str(settings.radius_vox)] * 3))
    arguments = [
        *("-d", "3", "-m", *metric),
        *("-n", "x".join(str(n) for n in iterations)),
        *("-s", f"{settings.update_sigma_vox * edge:g}mm", f"{settings.total_sigma_vox * edge:g}mm"),
        *("-e", f"{settings.step:g}", "-o", "warp.mha", "-wp", "0"),
        *("-bg", f"{background_value(start.moving):g}", "-threads", str(compute.thread_count), "-V", "2"),
        *("-seed", str(compute.seed + 1)),  # seed of the weak noise that greedy adds; 0 would use the clock
    ]
    return [*arguments, "-sv"] if settings.stationary else arguments


class _Parser:
    """Parses the log of greedy."""

    def __init__(self, settings: GreedySettings, iterations: tuple[int, ...]) -> None:
        # Every level has eight times the voxels of the one before.
        self.costs = [n * 8.0**level for level, n in enumerate(iterations)]
        self.iterations = iterations
        self.sign = 1.0 if settings.metric == "SSD" else -1.0

    def parse(self, line: str) -> Step | None:
        """Return the step of a line."""
        match = ITERATION.match(line)
        if not match or int(match[1]) >= len(self.iterations):
            return None
        level, number = int(match[1]), int(match[2])
        done = work_done(self.costs, level, number / max(1, self.iterations[level]))
        return Step(f"greedy, level {level + 1} of {len(self.iterations)}", done, number, self.sign * float(match[3]))
