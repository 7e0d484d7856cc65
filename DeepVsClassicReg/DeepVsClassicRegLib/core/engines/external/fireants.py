"""The FireANTs engine: the optional fireants package (separate license), run as a child process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from ...device import Compute
from ...errors import SettingsError
from ...images.intensity import normalized
from ...images.resample import image_from_array, warp_volume
from ...images.volume import Volume
from ...settings import option
from ...transforms.transform import DisplacementField, Part, Transform
from ..base import TORCH, EngineInfo, Requirement
from .base import ExternalEngine, ExternalRun, Step, cpu_or_cuda
from .levels import work_done

FEWEST_VOXELS = 32
ITERATION = re.compile(r"^LEVEL (\d+) ITERATION (\d+) LOSS ([-+.\deEnaif]+)")


@dataclass(frozen=True)
class FireAntsSettings:
    """Settings of FireANTs; the defaults are the greedy mode of the paper."""

    mode: str = option("greedy", "Mode", choices=("greedy", "syn"), tooltip="syn: symmetric, slower, smoother.")
    metric: str = option("cc", "Similarity", choices=("cc", "mi", "mse"), tooltip="mi: any contrast.")
    scales: tuple[int, ...] = option((4, 2, 1), "Shrink factors", minimum=1, maximum=32)
    iterations: tuple[int, ...] = option(
        (250, 200, 100), "Iterations", minimum=1, maximum=10000, tooltip="Maximum per level, coarsest first."
    )
    learning_rate: float = option(0.25, "Learning rate", minimum=0.001, maximum=10)
    kernel_vox: int = option(7, "Window", unit="voxels", minimum=3, maximum=31, tooltip="For the correlation; odd.")
    gradient_sigma_vox: float = option(1.0, "Update smoothing", unit="voxels", minimum=0, maximum=10)
    warp_sigma_vox: float = option(0.25, "Field smoothing", unit="voxels", minimum=0, maximum=10)
    beta1: float = option(
        0.1, "Momentum", minimum=0, maximum=0.999, tooltip="First beta of the Adam optimizer.", advanced=True
    )


class FireAntsEngine(ExternalEngine[FireAntsSettings]):
    """Adam on the group of diffeomorphisms; fast on GPUs."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="fireants",
        title="FireANTs",
        summary="Dense diffeomorphic registration with torch; intended for GPUs.",
        family="classical",
        settings=FireAntsSettings,
        citation="Jena et al., FireANTs, arXiv 2404.01249, 2024",
        requires=(
            Requirement(
                name="fcntl",
                title="Linux or macOS",
                how="choose another engine, because this one needs Linux or macOS",
                final=True,
            ),
            TORCH,
            Requirement(name="fireants", package="fireants", no_deps=True),  # it pins an old SimpleITK
            Requirement(name="nibabel", package="nibabel"),
            Requirement(name="pandas", package="pandas"),
            Requirement(name="skimage", package="scikit-image"),
            Requirement(name="tqdm", package="tqdm"),
        ),
        licence="FireANTs License 1.0 (attribution; approved channels of redistribution)",
        multimodal=True,
        devices=("cpu", "cuda"),
    )

    program = "FireANTs"
    packages = ("fireants", "torch")
    stop_condition = "converged or all iterations"
    memory_hint = "Use device 'cpu' or a smaller volume."

    def check(self, settings: FireAntsSettings) -> None:
        """Raise `SettingsError` unless all settings have one value per level and the window is odd."""
        if len(settings.scales) != len(settings.iterations) or not settings.scales:
            raise SettingsError("FireANTs needs one number of iterations per shrink factor.")
        if settings.kernel_vox % 2 == 0:
            raise SettingsError(f"The window must be odd, got {settings.kernel_vox}.")

    def device(self, compute: Compute) -> str:
        """Return where it computes: 'cpu' or 'cuda'."""
        return cpu_or_cuda(compute)

    def register(self, run: ExternalRun[FireAntsSettings]) -> Sequence[Part | Transform]:
        """Run the package; its field precedes the affine start."""
        start = run.start
        for name, volume in (("fixed", start.fixed), ("moving", start.moving)):
            sitk.WriteImage(_scaled(_roomy(volume)), str(run.folder / f"{name}.mha"))
        affine = start.affine.homogeneous.tolist()
        output = run.execute_package(
            "fireants_child", _Parser(run.settings).parse, affine=affine, seed=run.compute.seed
        )
        result = run.folder / "field.npy"
        self.check_output(output, result)
        field = DisplacementField(np.load(result), _roomy(start.fixed).grid)
        self.check_finite(field.array_mm, "Reduce the learning rate or increase the smoothing.")
        return [field, start.affine] if start.affine_matters else [field]


def _roomy(volume: Volume) -> Volume:
    """Return the volume padded to at least 32 voxels per axis, which the package needs."""
    missing = [max(0, FEWEST_VOXELS - n) for n in volume.grid.size]
    return warp_volume(volume, volume.grid.padded([-(-n // 2) for n in missing])) if any(missing) else volume


def _scaled(volume: Volume) -> sitk.Image:
    """Return the volume with its robust range scaled to 0..1, as the metrics of the package expect."""
    return image_from_array(normalized(volume), volume.grid)


class _Parser:
    """Parses the output of `fireants_child`."""

    def __init__(self, settings: FireAntsSettings) -> None:
        self.iterations = settings.iterations
        self.costs = [n / s**3 for n, s in zip(settings.iterations, settings.scales, strict=True)]

    def parse(self, line: str) -> Step | None:
        """Return the step of a line."""
        match = ITERATION.match(line)
        if not match:
            return None
        level, number = int(match[1]), int(match[2])
        done = work_done(self.costs, level, number / self.iterations[level])
        return Step(f"FireANTs, level {level + 1} of {len(self.costs)}", done, number, float(match[3]))
