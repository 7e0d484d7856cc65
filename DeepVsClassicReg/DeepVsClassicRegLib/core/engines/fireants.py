"""The FireANTs engine: the optional fireants package (own licence), run as a child process."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import SimpleITK as sitk

from ..device import Compute, torch_device
from ..errors import EngineFailed, SettingsError
from ..images.intensity import normalized
from ..images.resample import warp_volume
from ..images.simple import image_from_array
from ..images.volume import Volume
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.field import DisplacementField
from ._program import Output, python_child, run_program, scratch_folder
from ._start import Start, native_start
from .base import TORCH, EngineInfo, Recorder, Requirement, Result

FEWEST_VOXELS = 32
ITERATION = re.compile(r"^LEVEL (\d+) ITERATION (\d+) LOSS ([-+.\deEnaif]+)")


@dataclass(frozen=True)
class FireAntsSettings:
    """What drives FireANTs; the defaults are the paper's greedy mode."""

    mode: str = option("greedy", "Mode", choices=("greedy", "syn"), tooltip="syn: symmetric, slower, smoother.")
    metric: str = option("cc", "Similarity", choices=("cc", "mi", "mse"), tooltip="mi: any contrast.")
    scales: tuple[int, ...] = option((4, 2, 1), "Shrink factors", minimum=1, maximum=32)
    iterations: tuple[int, ...] = option(
        (250, 200, 100), "Iterations", minimum=1, maximum=10000, tooltip="Most per level, coarsest first."
    )
    learning_rate: float = option(0.25, "Learning rate", minimum=0.001, maximum=10)
    kernel_vox: int = option(7, "Window", unit="voxels", minimum=3, maximum=31, tooltip="Odd; of the correlation.")
    gradient_sigma_vox: float = option(1.0, "Update smoothing", unit="voxels", minimum=0, maximum=10)
    warp_sigma_vox: float = option(0.25, "Field smoothing", unit="voxels", minimum=0, maximum=10)
    beta1: float = option(
        0.1, "Momentum", minimum=0, maximum=0.999, tooltip="First beta of the Adam optimizer.", advanced=True
    )


class FireAntsEngine:
    """Adam on the group of diffeomorphisms; fast on graphics processors."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="fireants",
        title="FireANTs",
        summary="Dense diffeomorphic registration with torch; meant for graphics processors.",
        family="classical",
        settings=FireAntsSettings,
        citation="Jena et al., FireANTs, arXiv 2404.01249, 2024",
        requires=(
            Requirement(
                name="fcntl",
                title="Linux or macOS",
                how="choose another engine, since this one needs Linux or macOS",
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
        interruptible=True,
        devices=("cpu", "cuda"),
    )

    def run(self, pair: Pair, settings: FireAntsSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        _check(settings)
        device = "cpu" if compute.device == "mps" else torch_device(compute.device)
        device = "cpu" if device == "mps" else device
        recorder = Recorder(compute, device=device, packages=("fireants", "torch"))
        progress.report(0.0, "Preparing FireANTs")
        start = native_start(pair)
        with scratch_folder("fireants") as folder, recorder.stage("fireants"):
            _write_inputs(start, settings, folder, device, compute)
            follower = _Follower(settings, progress, recorder)
            output = run_program(
                python_child("_fireants_child", str(folder)),
                folder=folder,
                progress=progress,
                on_line=follower.hear,
                threads=compute.thread_count,
            )
            field = _read_field(output, folder / "field.npy", start)
        progress.report(1.0, "FireANTs done")
        parts = [field, start.affine] if start.affine_matters else [field]
        return Result(start.complete(*parts), recorder.diagnostics("converged or all iterations"), settings=settings)


def _check(settings: FireAntsSettings) -> None:
    if len(settings.scales) != len(settings.iterations) or not settings.scales:
        raise SettingsError("FireANTs needs one number of iterations per shrink factor.")
    if settings.kernel_vox % 2 == 0:
        raise SettingsError(f"The window must be odd, got {settings.kernel_vox}.")


def _write_inputs(start: Start, settings: FireAntsSettings, folder: Path, device: str, compute: Compute) -> None:
    for name, volume in (("fixed", start.fixed), ("moving", start.moving)):
        sitk.WriteImage(_scaled(_roomy(volume)), str(folder / f"{name}.mha"))
    job = {
        **asdict(settings),
        "affine": start.affine.homogeneous.tolist(),
        "device": device,
        "threads": compute.thread_count,
        "seed": compute.seed,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _roomy(volume: Volume) -> Volume:
    """Return the volume widened to at least 32 voxels per axis, which the package needs."""
    missing = [max(0, FEWEST_VOXELS - n) for n in volume.grid.size]
    return warp_volume(volume, volume.grid.padded([-(-n // 2) for n in missing])) if any(missing) else volume


def _scaled(volume: Volume) -> sitk.Image:
    """Return the volume with its robust range at 0..1, which the package's metrics expect."""
    return image_from_array(normalized(volume), volume.grid)


class _Follower:
    """Turns the child's lines into progress and a metric trace."""

    def __init__(self, settings: FireAntsSettings, progress: Progress, recorder: Recorder) -> None:
        self.iterations = settings.iterations
        self.costs = [n / s**3 for n, s in zip(settings.iterations, settings.scales, strict=True)]
        self.progress, self.recorder = progress, recorder

    def hear(self, line: str) -> None:
        """Take in one line."""
        match = ITERATION.match(line)
        if not match:
            return
        level, number, loss = int(match[1]), int(match[2]), float(match[3])
        title = f"FireANTs, level {level + 1} of {len(self.costs)}"
        done = sum(self.costs[:level]) + self.costs[level] * number / self.iterations[level]
        if np.isfinite(loss):
            self.recorder.trace(title, number, loss)
        self.progress.report(0.02 + 0.96 * done / sum(self.costs), title, metric=loss, iteration=number)


def _read_field(output: Output, path: Path, start: Start) -> DisplacementField:
    if output.status == 137 or output.said("out of memory"):
        raise EngineFailed("FireANTs ran out of memory.", hint="Use device 'cpu' or a smaller volume.")
    if output.status != 0 or not path.is_file():
        raise EngineFailed(f"FireANTs stopped with status {output.status}: {output.last_words()}", hint="See the log.")
    field = DisplacementField(np.load(path), _roomy(start.fixed).grid)
    if not np.isfinite(field.array_mm).all():
        raise EngineFailed("FireANTs diverged.", hint="Lower the learning rate or raise the smoothing.")
    return field
