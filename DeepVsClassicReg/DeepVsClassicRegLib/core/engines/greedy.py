"""The greedy engine: fast greedy diffeomorphic registration of the picsl_greedy package, run as a child process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from ..device import Compute
from ..errors import EngineFailed, SettingsError
from ..images.intensity import background_value
from ..images.simple import image_from_array, to_sitk
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.field import DisplacementField
from ._program import Output, python_child, run_program, scratch_folder
from ._ras import write_ras_matrix
from ._start import Start, native_start
from .base import EngineInfo, Recorder, Requirement, Result

ITERATION = re.compile(r"^Level\s+(\d+)\s+Iter\s+(\d+)\s+.*?=\s*([-+.\deE]+)")
FEWEST_VOXELS = 8


@dataclass(frozen=True)
class GreedySettings:
    """What drives greedy."""

    metric: str = option(
        "WNCC", "Similarity", choices=("WNCC", "NCC", "SSD", "MI", "NMI"), tooltip="NMI and MI: any contrast."
    )
    radius_vox: int = option(
        2, "Radius", unit="voxels", minimum=1, maximum=20, tooltip="Of the window of NCC and WNCC."
    )
    iterations: tuple[int, ...] = option(
        (100, 100, 40), "Iterations", minimum=0, maximum=10000, tooltip="Per level, coarsest first; levels halve."
    )
    update_sigma_vox: float = option(
        1.5, "Update smoothing", unit="voxels", minimum=0.01, maximum=50, tooltip="Of the finest fixed voxel edge."
    )
    total_sigma_vox: float = option(0.5, "Field smoothing", unit="voxels", minimum=0.01, maximum=50)
    step: float = option(1.0, "Step", unit="voxels", minimum=0.01, maximum=10, advanced=True)
    stationary: bool = option(
        False, "Stationary velocity", tooltip="Smoother fields with fewer folds; slower.", advanced=True
    )


class GreedyEngine:
    """Greedy diffeomorphic registration by the Penn Image Computing and Science Laboratory."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="greedy",
        title="greedy",
        summary="Greedy diffeomorphic registration: the most accurate classical engine on brains here.",
        family="classical",
        settings=GreedySettings,
        citation="Yushkevich et al., Alzheimer's & Dementia 12:P126-P127, 2016, doi 10.1016/j.jalz.2016.06.205",
        requires=(Requirement(name="picsl_greedy", package="picsl_greedy"),),
        licence="GPL-3.0",
        uses_masks=True,
        multimodal=True,
        interruptible=True,
    )

    def run(self, pair: Pair, settings: GreedySettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        if not settings.iterations or sum(settings.iterations) == 0:
            raise SettingsError("greedy was given no iterations.", hint="Give one number per level, e.g. 100,100,40.")
        recorder = Recorder(compute, packages=("picsl_greedy",))
        progress.report(0.0, "Preparing greedy")
        start = native_start(pair)
        # A level too small for its window is left out; the coarsest come first.
        iterations = settings.iterations[-_levels(pair, len(settings.iterations)) :]
        if len(iterations) < len(settings.iterations):
            recorder.notes.append(f"The volume is small: {len(iterations)} of {len(settings.iterations)} levels run.")
        with scratch_folder("greedy") as folder, recorder.stage("greedy"):
            arguments = _write_inputs(start, folder) + _arguments(start, settings, iterations, compute)
            follower = _Follower(settings, iterations, progress, recorder)
            output = run_program(
                python_child("_greedy_child", *arguments),
                folder=folder,
                progress=progress,
                on_line=follower.hear,
                threads=compute.thread_count,
            )
            field = _read_field(output, folder / "warp.mha")
        progress.report(1.0, "greedy done")
        parts = [field, start.affine] if start.affine_matters else [field]
        return Result(start.complete(*parts), recorder.diagnostics("all iterations done"), settings=settings)


def _levels(pair: Pair, wanted: int) -> int:
    """Return how many halvings leave enough voxels along the shortest axis, at least one level."""
    smallest = min(pair.fixed.grid.size)
    return max(1, min(wanted, 1 + int(np.log2(max(1.0, smallest / FEWEST_VOXELS)))))


def _write_inputs(start: Start, folder: Path) -> list[str]:
    """Write volumes, masks and the affine start; return the arguments that name them."""
    for name, volume in (("fixed", start.fixed), ("moving", start.moving)):
        sitk.WriteImage(to_sitk(volume), str(folder / f"{name}.mha"))
    arguments = ["-i", "fixed.mha", "moving.mha"]
    for flag, name, mask in (("-gm", "fixed_mask", start.fixed_mask), ("-mm", "moving_mask", start.moving_mask)):
        if mask is not None:
            sitk.WriteImage(image_from_array(mask.mask().astype(np.float32), mask.grid), str(folder / f"{name}.mha"))
            arguments += [flag, f"{name}.mha"]
    if start.affine_matters:
        write_ras_matrix(start.affine, folder / "start.mat")
        arguments += ["-it", "start.mat"]
    return arguments


def _arguments(start: Start, settings: GreedySettings, iterations: tuple[int, ...], compute: Compute) -> list[str]:
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
        *("-seed", str(compute.seed + 1)),  # of the faint noise greedy adds; 0 would mean the wall clock
    ]
    return [*arguments, "-sv"] if settings.stationary else arguments


class _Follower:
    """Turns greedy's lines into progress and a metric trace."""

    def __init__(
        self, settings: GreedySettings, iterations: tuple[int, ...], progress: Progress, recorder: Recorder
    ) -> None:
        # Every level has eight times the voxels of the one before.
        self.costs = [n * 8.0**level for level, n in enumerate(iterations)]
        self.iterations = iterations
        self.sign = 1.0 if settings.metric == "SSD" else -1.0
        self.progress, self.recorder = progress, recorder

    def hear(self, line: str) -> None:
        """Take in one line."""
        match = ITERATION.match(line)
        if not match or int(match[1]) >= len(self.iterations):
            return
        level, number, metric = int(match[1]), int(match[2]), self.sign * float(match[3])
        title = f"greedy, level {level + 1} of {len(self.iterations)}"
        done = sum(self.costs[:level]) + self.costs[level] * number / max(1, self.iterations[level])
        if np.isfinite(metric):
            self.recorder.trace(title, number, metric)
        self.progress.report(0.02 + 0.96 * done / sum(self.costs), title, metric=metric, iteration=number)


def _read_field(output: Output, path: Path) -> DisplacementField:
    if output.status == 137 or output.said("bad_alloc"):
        raise EngineFailed("greedy ran out of memory.", hint="Use a smaller volume or close other programs.")
    if output.status != 0 or not path.is_file():
        raise EngineFailed(f"greedy stopped with status {output.status}: {output.last_words()}", hint="See the log.")
    field = DisplacementField.from_sitk(sitk.ReadImage(str(path), sitk.sitkVectorFloat32))
    if not np.isfinite(field.array_mm).all():
        raise EngineFailed("greedy diverged.", hint="Raise the smoothing or take the stationary velocity mode.")
    return field
