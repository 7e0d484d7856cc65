"""The NiftyReg engine: the programs reg_f3d and reg_transform on PATH."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ...device import Compute
from ...errors import EngineFailed
from ...images.grid import Grid
from ...settings import option
from ...transforms.transform import DisplacementField, Part, Transform
from ..base import EngineInfo, Requirement
from ..engine_input import EngineInput
from .base import ExternalEngine, ExternalRun, Step
from .levels import work_done
from .ras import lps_vectors, write_ras_matrix

LEVEL = re.compile(r"[Cc]urrent level:?\s+(\d+)\s*/\s*(\d+)")
ITERATION = re.compile(r"\[(\d+)\] Current objective function: ([-+.\deE]+)")
HOW = "install NiftyReg (https://github.com/KCL-BMEIS/niftyreg) and put its programs on PATH"
NIFTI_TYPES = {16: "f4", 64: "f8"}


@dataclass(frozen=True)
class NiftyRegSettings:
    """Settings of reg_f3d; the defaults are those of the program."""

    metric: str = option("nmi", "Similarity", choices=("nmi", "lncc", "ssd"), tooltip="nmi: any contrast.")
    lncc_sigma_vox: float = option(
        5.0, "LNCC window", unit="voxels", minimum=0.5, maximum=50, tooltip="Gaussian sigma of lncc.", advanced=True
    )
    grid_spacing_vox: float = option(5.0, "Grid spacing", unit="voxels", minimum=1, maximum=100)
    bending: float = option(0.001, "Bending penalty", minimum=0, maximum=1)
    linear_energy: float = option(0.01, "Linear energy", minimum=0, maximum=1, advanced=True)
    levels: int = option(3, "Levels", minimum=1, maximum=8)
    iterations: int = option(150, "Iterations", minimum=1, maximum=10000, tooltip="Maximum at the finest level.")
    velocity: bool = option(False, "Velocity field", tooltip="Diffeomorphic; slower.", advanced=True)


class NiftyRegEngine(ExternalEngine[NiftyRegSettings]):
    """Fast free-form deformation by University College London."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="niftyreg",
        title="NiftyReg",
        summary="Fast free-form deformation by normalized mutual information; needs the NiftyReg programs.",
        family="classical",
        settings=NiftyRegSettings,
        citation="Modat et al., Comput. Methods Programs Biomed. 98:278-284, 2010, doi 10.1016/j.cmpb.2009.09.002",
        requires=(
            Requirement(name="reg_f3d", title="NiftyReg", how=HOW, program=True),
            Requirement(name="reg_transform", title="NiftyReg", how=HOW, program=True),
        ),
        licence="BSD-3-Clause",
        uses_masks=True,
        multimodal=True,
    )

    program = "NiftyReg"
    stop_condition = "converged or all iterations"

    def check(self, settings: NiftyRegSettings) -> None:
        """Raise `EngineUnavailable` when a program is not on PATH."""
        self.info.require()

    def register(self, run: ExternalRun[NiftyRegSettings]) -> Sequence[Part | Transform]:
        """Run reg_f3d, then reg_transform, which converts control points to a field."""
        start, settings = run.start, run.settings
        if start.moving_mask is not None and not settings.velocity:
            run.recorder.notes.append("The moving mask was not used: reg_f3d supports it only with a velocity field.")
        self._execute(run, "reg_f3d", *_write_inputs(run), *_arguments(settings, run.compute))
        self._execute(run, "reg_transform", "-ref", "fixed.nii", "-disp", "spline.nii", "field.nii")
        field = _read_field(run.folder / "field.nii", start.fixed.grid)
        self.check_finite(field.array_mm, "Increase the bending penalty.")
        # The control points of reg_f3d include the affine start, so the field is the complete transform.
        return _split(field, start)

    def _execute(self, run: ExternalRun[NiftyRegSettings], name: str, *arguments: str) -> None:
        output = run.execute([shutil.which(name) or name, *arguments], _Parser(run.settings).parse)
        self.check_output(output, program=name)


def _write_inputs(run: ExternalRun[NiftyRegSettings]) -> list[str]:
    """Write volumes, masks and the affine start; return the arguments that name them."""
    start = run.start
    run.write_volumes(".nii")
    arguments = ["-ref", "fixed.nii", "-flo", "moving.nii", "-cpp", "spline.nii", "-res", "warped.nii"]
    if start.fixed_mask is not None:
        arguments += ["-rmask", run.write_mask(start.fixed_mask, "rmask.nii")]
    if start.moving_mask is not None and run.settings.velocity:
        arguments += ["-fmask", run.write_mask(start.moving_mask, "fmask.nii")]
    if start.affine_matters:
        write_ras_matrix(start.affine, run.folder / "start.txt")
        arguments += ["-aff", "start.txt"]
    return arguments


def _arguments(settings: NiftyRegSettings, compute: Compute) -> list[str]:
    metric = {"nmi": ["--nmi"], "lncc": ["--lncc", f"{-settings.lncc_sigma_vox:g}"], "ssd": ["--ssd"]}
    arguments = [
        *metric[settings.metric],
        *("-sx", f"{-settings.grid_spacing_vox:g}"),  # negative: in voxels
        *("-be", f"{settings.bending:g}", "-le", f"{settings.linear_energy:g}"),
        *("-ln", str(settings.levels), "-maxit", str(settings.iterations)),
        *("-omp", str(compute.thread_count)),
    ]
    return [*arguments, "-vel"] if settings.velocity else arguments


class _Parser:
    """Parses the log of reg_f3d; its objective is maximized."""

    def __init__(self, settings: NiftyRegSettings) -> None:
        self.level, self.iterations = 0, settings.iterations
        # A level takes eight times as long as the one before.
        self.costs = [8.0**level for level in range(settings.levels)]

    def parse(self, line: str) -> Step | None:
        """Return the step of a line."""
        if match := LEVEL.search(line):
            self.level = min(int(match[1]), len(self.costs)) - 1
            return None
        match = ITERATION.search(line)
        if not match:
            return None
        number = int(match[1])
        done = work_done(self.costs, self.level, number / self.iterations)
        return Step(f"NiftyReg, level {self.level + 1} of {len(self.costs)}", done, number, -float(match[2]))


def _read_field(path: Path, grid: Grid) -> DisplacementField:
    """Return the displacement field of an uncompressed NIfTI file of reg_transform.

    It is parsed here because versions of ITK differ in the conversion of vectors from RAS to LPS.
    """
    if not path.is_file():
        raise EngineFailed("reg_transform ended without writing the field.", hint="See the log.")
    raw = path.read_bytes()
    order = "<" if int.from_bytes(raw[:4], "little") == 348 else ">"
    shape = np.frombuffer(raw, f"{order}i2", 8, 40)[1:6]
    kind = NIFTI_TYPES.get(int(np.frombuffer(raw, f"{order}i2", 1, 70)[0]))
    offset = int(np.frombuffer(raw, f"{order}f4", 1, 108)[0])
    if kind is None or tuple(shape) != (*grid.size, 1, 3):
        raise EngineFailed(f"reg_transform wrote a field of shape {tuple(shape)}, expected {(*grid.size, 1, 3)}.")
    values: npt.NDArray[np.floating] = np.frombuffer(raw, f"{order}{kind}", 3 * grid.voxel_count, offset)
    vectors = np.moveaxis(values.reshape(3, *grid.shape), 0, -1).astype(np.float32)
    return DisplacementField(lps_vectors(vectors).astype(np.float32), grid)


def _split(field: DisplacementField, start: EngineInput) -> list[Part]:
    """Return a complete transform as a small field followed by the affine start, so that it is valid outside."""
    if not start.affine_matters:
        return [field]
    points = start.fixed.grid.points()
    before = start.affine.inverse().apply(points + field.array_mm) - points
    return [DisplacementField(before.astype(np.float32), field.grid), start.affine]
