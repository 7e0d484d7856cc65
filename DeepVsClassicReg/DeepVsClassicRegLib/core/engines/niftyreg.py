"""The NiftyReg engine: the programs reg_f3d and reg_transform a user has on PATH."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..device import Compute
from ..errors import EngineFailed
from ..images.grid import Grid
from ..images.simple import image_from_array, to_sitk
from ..pair import Pair
from ..progress import Progress
from ..settings import option
from ..transforms.field import DisplacementField
from ..transforms.transform import Transform
from ._program import Output, run_program, scratch_folder
from ._ras import lps_vectors, write_ras_matrix
from ._start import Start, native_start
from .base import EngineInfo, Recorder, Requirement, Result

LEVEL = re.compile(r"[Cc]urrent level:?\s+(\d+)\s*/\s*(\d+)")
ITERATION = re.compile(r"\[(\d+)\] Current objective function: ([-+.\deE]+)")
HOW = "install NiftyReg (https://github.com/KCL-BMEIS/niftyreg) and put its programs on PATH"
NIFTI_TYPES = {16: "f4", 64: "f8"}


@dataclass(frozen=True)
class NiftyRegSettings:
    """What drives reg_f3d; the defaults are the program's own."""

    metric: str = option("nmi", "Similarity", choices=("nmi", "lncc", "ssd"), tooltip="nmi: any contrast.")
    lncc_sigma_vox: float = option(
        5.0, "LNCC window", unit="voxels", minimum=0.5, maximum=50, tooltip="Gaussian, with lncc.", advanced=True
    )
    grid_spacing_vox: float = option(5.0, "Grid spacing", unit="voxels", minimum=1, maximum=100)
    bending: float = option(0.001, "Bending penalty", minimum=0, maximum=1)
    linear_energy: float = option(0.01, "Linear energy", minimum=0, maximum=1, advanced=True)
    levels: int = option(3, "Levels", minimum=1, maximum=8)
    iterations: int = option(150, "Iterations", minimum=1, maximum=10000, tooltip="Most at the finest level.")
    velocity: bool = option(False, "Velocity field", tooltip="Diffeomorphic; slower.", advanced=True)


class NiftyRegEngine:
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
        interruptible=True,
    )

    def run(self, pair: Pair, settings: NiftyRegSettings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        self.info.require()
        recorder = Recorder(compute)
        progress.report(0.0, "Preparing NiftyReg")
        start = native_start(pair)
        if start.moving_mask is not None and not settings.velocity:
            recorder.notes.append("reg_f3d uses a moving mask only with a velocity field; it was left out.")
        with scratch_folder("niftyreg") as folder, recorder.stage("niftyreg"):
            arguments = _write_inputs(start, settings, folder) + _arguments(settings, compute)
            follower = _Follower(settings, progress, recorder)
            _run("reg_f3d", arguments, folder, progress, follower, compute)
            _run(
                "reg_transform",
                ["-ref", "fixed.nii", "-disp", "spline.nii", "field.nii"],
                folder,
                progress,
                follower,
                compute,
            )
            field = _read_field(folder / "field.nii", start.fixed.grid)
        progress.report(1.0, "NiftyReg done")
        # The control points of reg_f3d hold the affine start, so the field is the whole map.
        whole = _split(field, start)
        return Result(start.complete(whole), recorder.diagnostics("converged or all iterations"), settings=settings)


def _write_inputs(start: Start, settings: NiftyRegSettings, folder: Path) -> list[str]:
    """Write volumes, masks and the affine start; return the arguments that name them."""
    for name, volume in (("fixed", start.fixed), ("moving", start.moving)):
        sitk.WriteImage(to_sitk(volume), str(folder / f"{name}.nii"))
    arguments = ["-ref", "fixed.nii", "-flo", "moving.nii", "-cpp", "spline.nii", "-res", "warped.nii"]
    masks = [("-rmask", start.fixed_mask)]
    if settings.velocity:
        masks.append(("-fmask", start.moving_mask))
    for flag, mask in masks:
        if mask is not None:
            image = image_from_array(mask.mask().astype(np.uint8), mask.grid)
            sitk.WriteImage(image, str(folder / f"{flag[1:]}.nii"))
            arguments += [flag, f"{flag[1:]}.nii"]
    if start.affine_matters:
        write_ras_matrix(start.affine, folder / "start.txt")
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


class _Follower:
    """Turns reg_f3d's lines into progress and a metric trace (its objective is maximized)."""

    def __init__(self, settings: NiftyRegSettings, progress: Progress, recorder: Recorder) -> None:
        self.level, self.levels, self.iterations = 0, settings.levels, settings.iterations
        self.progress, self.recorder = progress, recorder

    def hear(self, line: str) -> None:
        """Take in one line."""
        if match := LEVEL.search(line):
            self.level = min(int(match[1]), self.levels) - 1
        elif match := ITERATION.search(line):
            number, metric = int(match[1]), -float(match[2])
            title = f"NiftyReg, level {self.level + 1} of {self.levels}"
            self.recorder.trace(title, number, metric)
            # A level costs eight times the one before.
            costs = [8.0**level for level in range(self.levels)]
            done = sum(costs[: self.level]) + costs[self.level] * min(1.0, number / self.iterations)
            self.progress.report(0.02 + 0.94 * done / sum(costs), title, metric=metric, iteration=number)


def _run(
    name: str, arguments: list[str], folder: Path, progress: Progress, follower: _Follower, compute: Compute
) -> None:
    program = shutil.which(name) or name
    output = run_program(
        [program, *arguments], folder=folder, progress=progress, on_line=follower.hear, threads=compute.thread_count
    )
    _check(name, output)


def _check(name: str, output: Output) -> None:
    if output.status == 137 or output.said("bad_alloc"):
        raise EngineFailed(f"{name} ran out of memory.", hint="Use a smaller volume or close other programs.")
    if output.status != 0:
        raise EngineFailed(f"{name} stopped with status {output.status}: {output.last_words()}", hint="See the log.")


def _read_field(path: Path, grid: Grid) -> DisplacementField:
    """Return the displacement field of an uncompressed NIfTI file of reg_transform.

    Read by hand because ITK's versions differ in whether they turn vectors from RAS to LPS.
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
    if not np.isfinite(vectors).all():
        raise EngineFailed("NiftyReg's field is not finite.", hint="Raise the bending penalty.")
    return DisplacementField(lps_vectors(vectors).astype(np.float32), grid)


def _split(field: DisplacementField, start: Start) -> Transform:
    """Return a whole map as a small field followed by the affine start, so that it stays sane off the grid."""
    if not start.affine_matters:
        return Transform((field,))
    points = start.fixed.grid.points()
    before = start.affine.inverse().apply(points + field.array_mm) - points
    return Transform((DisplacementField(before.astype(np.float32), field.grid), start.affine))
