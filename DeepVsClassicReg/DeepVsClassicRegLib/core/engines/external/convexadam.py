"""The ConvexAdam engine: the optional convexAdam package (MIND features), run as a child process."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...device import Compute
from ...images.grid import Grid
from ...images.resample import warp_labels, warp_volume
from ...pair import Pair
from ...settings import option
from ...transforms.transform import Affine, DisplacementField, Part, Transform
from ...transforms.units import channels_to_mm
from ..base import TORCH, EngineInfo, Requirement
from ..engine_input import EngineInput
from ..partial_views import continue_beyond
from .base import ExternalEngine, ExternalRun, Step, cpu_or_cuda

# The package averages features over blocks and divides by the number of blocks minus one.
FEWEST_BLOCKS = 4
ITERATION = re.compile(r"^ITERATION (\d+) LOSS ([-+.\deEnaif]+)")
STAGE = re.compile(r"^STAGE (.+)")
# Fraction of the run before the iterations; measured on brains: about a third.
SEARCH_SHARE = 0.3


@dataclass(frozen=True)
class ConvexAdamSettings:
    """Settings of ConvexAdam; the defaults are those of the package."""

    radius_vox: int = option(1, "Patch radius", unit="voxels", minimum=1, maximum=4, tooltip="For the MIND features.")
    dilation_vox: int = option(2, "Patch distance", unit="voxels", minimum=1, maximum=4, tooltip="Of MIND.")
    grid_vox: int = option(
        6, "Search grid", unit="voxels", minimum=2, maximum=16, tooltip="Block size of the displacement search."
    )
    reach_blocks: int = option(4, "Search range", unit="blocks", minimum=1, maximum=8, tooltip="Along each axis.")
    iterations: int = option(80, "Adam iterations", minimum=1, maximum=10000)
    weight: float = option(1.25, "Smoothness", minimum=0.01, maximum=100, tooltip="Weight of the diffusion term.")
    fine_grid_vox: int = option(
        2, "Field grid", unit="voxels", minimum=1, maximum=8, tooltip="Spacing of the field optimized by Adam."
    )
    final_smoothing: int = option(
        0,
        "Final smoothing",
        unit="voxels",
        minimum=0,
        maximum=15,
        tooltip="Kernel size of the final smoothing, an odd number; 0 disables it.",
        special="none",
        advanced=True,
    )
    consistent: bool = option(
        True, "Inverse consistent start", tooltip="Searches in both directions and averages them.", advanced=True
    )
    spacing_mm: float = option(
        0.0,
        "Working spacing",
        unit="mm",
        minimum=0,
        maximum=20,
        tooltip="Isotropic voxel size; 0 uses the finest spacing of the fixed volume.",
        special="automatic",
    )
    most_voxels: int = option(
        12_000_000,
        "Most voxels",
        minimum=10_000,
        maximum=500_000_000,
        tooltip="The working spacing is increased until it fits; about 0.35 GB per million voxels.",
        advanced=True,
    )


class ConvexAdamEngine(ExternalEngine[ConvexAdamSettings]):
    """Coupled convex search of large displacements, then Adam on a smooth field; any contrast."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="convexadam",
        title="ConvexAdam",
        summary="Discrete search and Adam refinement on self-similarity features; suited for large motion.",
        family="classical",
        settings=ConvexAdamSettings,
        citation="Siebert et al., IEEE Trans. Med. Imaging 44:738-748, 2025, doi 10.1109/TMI.2024.3462248; "
        "Siebert et al., 2021, doi 10.1007/978-3-030-97281-3_25",
        requires=(
            TORCH,
            Requirement(name="convexAdam", package="convexAdam"),
            Requirement(name="nibabel", package="nibabel"),
            Requirement(name="scipy", package="scipy"),
        ),
        licence="Apache-2.0",
        uses_masks=True,
        multimodal=True,
        devices=("cpu", "cuda"),
    )

    # Random seeds have no effect: the package uses no random numbers.
    program = "ConvexAdam"
    packages = ("convexAdam", "torch")
    stop_condition = "all iterations"
    memory_hint = "Increase the working spacing, or use device 'cpu'."

    def device(self, compute: Compute) -> str:
        """Return where it computes: 'cpu' or 'cuda'."""
        return cpu_or_cuda(compute)

    def start(self, pair: Pair, settings: ConvexAdamSettings) -> EngineInput:
        """Return the unchanged pair: the moving volume is resampled on the working grid with the whole start."""
        start = pair.initial or Transform()
        return EngineInput(pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask, Affine.identity(), start)

    def register(self, run: ExternalRun[ConvexAdamSettings]) -> Sequence[Part | Transform]:
        """Run the package on an isotropic grid over the fixed volume."""
        start = run.start
        grid, notes = working_grid(start.fixed.grid, run.settings)
        run.recorder.notes.extend(notes)
        compared = []
        for name, mapping in (("fixed", Transform()), ("moving", start.tail)):
            volume, mask = getattr(start, name), getattr(start, f"{name}_mask")
            array = np.array(warp_volume(volume, grid, mapping).array)
            compared += [continue_beyond(array, volume, grid, mapping)]
            compared += [None if mask is None else warp_labels(mask, grid, mapping).mask()]
            np.save(run.folder / f"{name}.npy", array)
        if masks := [mask for mask in compared if mask is not None]:
            np.save(run.folder / "compared.npy", np.logical_and.reduce(masks).astype(np.float32))
        output = run.execute_package("convexadam_child", _Parser(run.settings.iterations).parse)
        result = run.folder / "field.npy"
        self.check_output(output, result)
        voxels = np.load(result)
        self.check_finite(voxels, "Increase the smoothness.")
        return [DisplacementField(channels_to_mm(voxels, grid), grid)]


def working_grid(fixed: Grid, settings: ConvexAdamSettings) -> tuple[Grid, list[str]]:
    """Return an isotropic grid of whole blocks over the fixed volume, and a note when it is coarser.

    Notes
    -----
    The package assumes the same voxel size along all axes, and scales its field by sizes rounded down to blocks. Both
    are correct only on such a grid.
    """
    finest = settings.spacing_mm or min(fixed.spacing_mm)
    spacing = max(finest, (math.prod(fixed.extent_mm) / settings.most_voxels) ** (1 / 3))
    notes = []
    if spacing > finest * 1.001:
        notes.append(
            f"Working spacing: {spacing:.3g} mm, not {finest:.3g} mm, to stay within {settings.most_voxels} voxels."
        )
    origin = fixed.index_to_point(0.5 * (spacing / np.array(fixed.spacing_mm) - 1))
    count = [math.ceil(extent / spacing - 1e-6) for extent in fixed.extent_mm]
    grid = Grid((count[0], count[1], count[2]), (spacing,) * 3, tuple(origin.tolist()), fixed.direction)
    block = math.lcm(settings.grid_vox, settings.fine_grid_vox)
    size = [block * max(-(-n // block), -(-FEWEST_BLOCKS * settings.grid_vox // block)) for n in grid.size]
    start = [-((wanted - n) // 2) for wanted, n in zip(size, grid.size, strict=True)]
    return grid.cropped(start, size), notes


class _Parser:
    """Parses the output of `convexadam_child`."""

    def __init__(self, iterations: int) -> None:
        self.iterations, self.stages = iterations, 0

    def parse(self, line: str) -> Step | None:
        """Return the step of a line."""
        if match := STAGE.match(line):
            self.stages += 1
            return Step(f"ConvexAdam, {match[1]}", SEARCH_SHARE * min(self.stages, 5) / 6)
        if match := ITERATION.match(line):
            number = int(match[1])
            done = SEARCH_SHARE + (1 - SEARCH_SHARE) * number / self.iterations
            return Step("ConvexAdam, refinement", done, number, float(match[2]))
        return None
