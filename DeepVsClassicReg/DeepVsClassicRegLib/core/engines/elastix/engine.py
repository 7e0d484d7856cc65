"""The elastix engine: the itk-elastix package or an elastix program, with the same parameter files."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from ...errors import SettingsError, did_you_mean
from ...files import resource_folder
from ...images.grid import Grid
from ...pair import Pair
from ...settings import option
from ...transforms.transform import Part, Transform
from ..base import EngineInfo, Requirement
from ..engine_input import EngineInput, native_start
from ..external.base import Complaint, ExternalEngine, ExternalRun, Step
from ..external.program import Output, python_child
from .files import (
    TRANSFORMS,
    ParameterMap,
    fitted,
    iterations_of,
    prepared,
    read_parameters,
    read_part,
    write_initial,
    write_parameters,
)

METRICS = (
    "",
    "AdvancedMattesMutualInformation",
    "AdvancedNormalizedCorrelation",
    "AdvancedMeanSquares",
    "NormalizedMutualInformation",
)
FIRST_SEED = 121212  # elastix' own default
ITERATION = re.compile(r"^(\d+)\t([-+.\deE]+)\t")


@dataclass(frozen=True)
class ElastixSettings:
    """Stages of an elastix run and parameters that replace those of all stages."""

    stages: tuple[str, ...] = option(("bspline",), "Stages", tooltip="Bundled parameter files, run one after another.")
    parameter_files: tuple[str, ...] = option(
        (), "Parameter files", tooltip="Your own elastix parameter files, used instead of the stages."
    )
    grid_spacing_mm: float = option(
        0.0,
        "B-spline grid",
        unit="mm",
        minimum=0,
        maximum=2000,
        tooltip="Final B-spline grid spacing. 0 uses the value of the stage, which is for a head and is scaled to the "
        "size of other volumes. Smaller values capture finer details.",
        special="automatic",
    )
    iterations: int = option(
        0,
        "Iterations per level",
        minimum=0,
        maximum=100000,
        tooltip="Iterations per resolution level. 0 uses the value of the stage; more iterations are slower.",
        special="automatic",
    )
    samples: int = option(
        0,
        "Samples per iteration",
        minimum=0,
        maximum=1000000,
        tooltip="Samples per iteration. 0 uses the value of the stage.",
        special="automatic",
        advanced=True,
    )
    metric: str = option(
        "",
        "Similarity",
        choices=METRICS,
        tooltip="Replaces the metric of the stages; empty keeps it. A bending penalty is kept.",
        special="automatic",
        advanced=True,
    )
    executable: str = option(
        "", "elastix program", tooltip="Path of elastix; empty uses the package, ELASTIX_PATH or PATH.", advanced=True
    )


class ElastixRequirement(Requirement):
    """The itk-elastix package or an elastix program; one of them suffices."""

    def found(self) -> bool:
        """Return whether one of them is installed, without importing it."""
        return package_installed() or find_program() is not None


class ElastixEngine(ExternalEngine[ElastixSettings]):
    """Parametric registration with elastix."""

    info: ClassVar[EngineInfo] = EngineInfo(
        name="elastix",
        title="elastix",
        summary="B-spline registration with parameter files; fast, smooth, for any contrast and any organ.",
        family="classical",
        settings=ElastixSettings,
        citation="Klein et al., elastix, IEEE TMI 29:196-205, 2010, doi 10.1109/TMI.2009.2035616",
        requires=(
            ElastixRequirement(
                name="itk",
                package="itk-elastix",
                how='run "pip install itk-elastix", or install the extension SlicerElastix, or set ELASTIX_PATH',
            ),
        ),
        uses_masks=True,
        multimodal=True,
    )

    program = "elastix"
    packages = ("itk-elastix",)
    stop_condition = "all iterations done"
    complaints = (
        Complaint(
            "Too many samples map outside moving image buffer",
            "The volumes hardly overlap at the start.",
            "Check the linear alignment first (engine 'linear'), or use landmarks or an initial transform.",
        ),
        Complaint(
            "Could not find enough image samples",
            "The mask contains too few voxels.",
            "Enlarge the mask, or run without it.",
        ),
        Complaint(
            "Please select a smaller SampleRegionSize",
            "The sample region of the parameter file is larger than the fixed volume.",
            "Set SampleRegionSize to a third of the volume, or use a bundled stage.",
        ),
        Complaint(
            "No entry found in file for",
            "The elastix parameter files are incomplete.",
            "Compare them with a bundled stage.",
        ),
    )

    def start(self, pair: Pair, settings: ElastixSettings) -> EngineInput:
        """Return the pair in the form for elastix."""
        return native_start(pair, unit_mm=_unit_mm(pair.fixed.grid, settings))

    def register(self, run: ExternalRun[ElastixSettings]) -> Sequence[Part | Transform]:
        """Run all stages; the affine start precedes their transforms."""
        start, settings = run.start, run.settings
        seed = FIRST_SEED + run.compute.seed
        stages = stage_parameters(settings, seed=seed, grid=start.fixed.grid, unit_mm=start.unit_mm)
        command = backend(settings.executable)
        own = not settings.executable and package_installed()
        run.recorder.notes.append(f"Back end: {'itk-elastix' if own else command[0]}.")
        arguments = _write_inputs(run, stages)
        output = run.execute([*command, *arguments], _Parser(stages).parse, environment=_library_path(command))
        files = ", ".join(settings.parameter_files)
        self.check_output(output, hint=f"Check your parameter files {files}." if files else "See the log.")
        found = [read_part(run.folder / f"TransformParameters.{number}.txt") for number in range(len(stages))]
        for part in found:
            self.check_finite(getattr(part, "coefficients_mm", 0.0), "Use a coarser grid.")
        return [start.affine, *found] if start.affine_matters else found

    def reason(self, output: Output) -> str:
        """Return elastix' own description of the problem, or its last lines."""
        described = [line for line in output.tail if line.startswith("Description:")]
        return described[-1].removeprefix("Description:").strip() if described else output.last_words()


def _unit_mm(grid: Grid, settings: ElastixSettings) -> float:
    """Return 1 for the user's own parameter files, whose lengths are not scaled; bundled stages are for a head."""
    return 1.0 if settings.parameter_files else grid.unit_mm


def stage_parameters(settings: ElastixSettings, *, seed: int, grid: Grid, unit_mm: float = 1.0) -> list[ParameterMap]:
    """Return the parameter maps of all stages, ready to be written; bundled ones are adapted to the fixed grid.

    Parameters
    ----------
    settings : ElastixSettings
        Stages and changed parameters.
    seed : int
        Seed of the random samples.
    grid : Grid
        The fixed grid of elastix, with lengths divided by `unit_mm`.
    unit_mm : float
        Unit by which the lengths in the settings, in mm, are divided as well.

    Raises
    ------
    SettingsError
        When a stage does not exist, none is given, or one is not supported.
    """
    paths = [Path(name).expanduser() for name in settings.parameter_files] or [stage_file(s) for s in settings.stages]
    if not paths:
        raise SettingsError("There is no elastix stage.", hint="Choose a preset, a stage or a parameter file.")
    maps = [prepared(read_parameters(path), seed=seed, source=path.name) for path in paths]
    if not settings.parameter_files:
        maps = [fitted(entries, grid) for entries in maps]
    return [_changed(entries, settings, unit_mm) for entries in maps]


def stage_file(name: str) -> Path:
    """Return the bundled parameter file of a stage; `SettingsError` when there is none."""
    folder = resource_folder() / "Presets" / "elastix"
    known = {path.stem: path for path in folder.glob("*.txt")}
    if name not in known:
        raise SettingsError(f"There is no elastix stage '{name}'.", hint=did_you_mean(name, known))
    return known[name]


def package_installed() -> bool:
    """Return whether the itk-elastix package is installed (itk alone does not suffice)."""
    try:
        metadata.version("itk-elastix")
        return importlib.util.find_spec("itk") is not None
    except (metadata.PackageNotFoundError, ModuleNotFoundError, ValueError):
        return False


def find_program() -> Path | None:
    """Return the elastix program of $ELASTIX_PATH, the SlicerElastix extension or PATH."""
    name = "elastix.exe" if os.name == "nt" else "elastix"
    folders = []
    if given := os.environ.get("ELASTIX_PATH"):
        folders += [Path(given).parent, Path(given), Path(given) / "bin"]
    for module in (Path(entry) for entry in sys.path if entry.rstrip("/\\").endswith("qt-scripted-modules")):
        # SlicerElastix is installed as <extension>/lib/Slicer-x.y/{elastix, qt-scripted-modules/Elastix.py}.
        if (module / "Elastix.py").is_file():
            folders += [module.parent, module.parents[2] / "bin"]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    on_path = shutil.which("elastix")
    return Path(on_path) if on_path else None


def backend(executable: str) -> list[str | os.PathLike[str]]:
    """Return the start of the command line: the given program, the package, or an installed program.

    Raises
    ------
    SettingsError
        When the given program does not exist.
    """
    if executable:
        given = shutil.which(executable)
        if given is None:
            raise SettingsError(f"'{executable}' is not an executable program.", hint="Give the full path of elastix.")
        return [given]
    if package_installed():
        return python_child(f"{__package__}.child")
    program = find_program()
    if program is None:
        raise SettingsError("elastix was not found.", hint='Run "pip install itk-elastix", or set ELASTIX_PATH.')
    return [program]


def _changed(entries: ParameterMap, settings: ElastixSettings, unit_mm: float) -> ParameterMap:
    changed = dict(entries)
    if settings.grid_spacing_mm and entries["Transform"][0].endswith("BSplineTransform"):
        changed.pop("FinalGridSpacingInVoxels", None)
        changed["FinalGridSpacingInPhysicalUnits"] = (str(settings.grid_spacing_mm / unit_mm),)
    if settings.iterations:
        changed["MaximumNumberOfIterations"] = (str(settings.iterations),)
    if settings.samples:
        changed["NumberOfSpatialSamples"] = (str(settings.samples),)
    if settings.metric:
        changed["Metric"] = (settings.metric, *entries.get("Metric", ())[1:])
    return changed


def _write_inputs(run: ExternalRun[ElastixSettings], stages: list[ParameterMap]) -> list[str]:
    """Write volumes, masks, start and parameter files; return the command line arguments."""
    start = run.start
    run.write_volumes()
    arguments = ["-f", "fixed.mha", "-m", "moving.mha", "-out", ".", "-threads", str(run.compute.thread_count)]
    for flag, mask in (("-fMask", start.fixed_mask), ("-mMask", start.moving_mask)):
        if mask is not None:
            arguments += [flag, run.write_mask(mask, f"{flag[1:]}.mha")]
    if start.affine_matters:
        write_initial(start.affine, start.fixed.grid, run.folder / "start.txt")
        arguments += ["-t0", "start.txt"]
    for number, entries in enumerate(stages):
        write_parameters(entries, run.folder / f"parameters.{number}.txt")
        arguments += ["-p", f"parameters.{number}.txt"]
    return arguments


class _Parser:
    """Parses the log of elastix."""

    def __init__(self, stages: list[ParameterMap]) -> None:
        self.planned = [iterations_of(entries) for entries in stages]
        self.titles = [TRANSFORMS[entries["Transform"][0]] for entries in stages]
        self.total = max(1, sum(map(sum, self.planned)))
        self.stage, self.level, self.before = 0, -1, 0

    def parse(self, line: str) -> Step | None:
        """Return the step of a line."""
        if line.startswith("Resolution: "):
            self._next_level()
            return None
        match = ITERATION.match(line)
        return self._iteration(int(match[1]), float(match[2])) if match else None

    def _next_level(self) -> None:
        if self.level >= 0:
            self.before += self.planned[self.stage][self.level]
        self.level += 1
        if self.level >= len(self.planned[self.stage]) and self.stage + 1 < len(self.planned):
            self.stage, self.level = self.stage + 1, 0
        self.level = min(self.level, len(self.planned[self.stage]) - 1)

    def _iteration(self, number: int, metric: float) -> Step:
        self.level = max(self.level, 0)
        title = f"{self.titles[self.stage]}, level {self.level + 1} of {len(self.planned[self.stage])}"
        return Step(title, (self.before + number) / self.total, number, metric, shown=number % 10 == 0)


def _library_path(command: list[str | os.PathLike[str]]) -> dict[str, str]:
    """Return the environment in which an elastix program finds the libraries beside it (its download has ../lib)."""
    program = Path(command[0])
    if len(command) > 1 or not program.is_absolute():
        return {}
    variable = {"darwin": "DYLD_LIBRARY_PATH", "win32": "PATH"}.get(sys.platform, "LD_LIBRARY_PATH")
    beside = [str(program.parent), str(program.parent.parent / "lib"), os.environ.get(variable, "")]
    return {variable: os.pathsep.join(filter(None, beside))}
