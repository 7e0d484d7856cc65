"""The interface of registration engines: description, requirements, the method `run` and its diagnostics."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar, Protocol

from ..device import Compute, cpu_seconds, peak_memory_mb
from ..errors import EngineUnavailable
from ..pair import Pair
from ..progress import Progress
from ..result import Diagnostics, Result, TracePoint

__all__ = [
    "MODEL_REQUIRES",
    "TORCH",
    "Diagnostics",
    "Engine",
    "EngineInfo",
    "Recorder",
    "Requirement",
    "Result",
    "TracePoint",
    "missing_of",
    "needs",
    "remedy",
    "require_all",
    "versions",
]


@dataclass(frozen=True)
class Requirement:
    """A package, a program or a system that an engine needs.

    Attributes
    ----------
    name : str
        Import name of the package, or name of the program on PATH.
    package : str
        Name of the package for pip; '' when pip cannot install it.
    title : str
        Name shown to users; `package` or `name` when empty.
    how : str
        How to install it, in the imperative and without a period; when empty, `package` is installed with pip.
    no_deps : bool
        Whether pip must not install its dependencies, because they would replace versions that others need.
    program : bool
        Whether it is a program, not a Python package.
    final : bool
        Whether it cannot be installed on this computer.
    """

    name: str
    package: str = ""
    title: str = ""
    how: str = ""
    no_deps: bool = False
    program: bool = False
    final: bool = False

    def found(self) -> bool:
        """Return whether it is installed, without importing it."""
        if self.program:
            return shutil.which(self.name) is not None
        try:
            return importlib.util.find_spec(self.name) is not None
        except (ModuleNotFoundError, ValueError):
            return False


TORCH = Requirement(
    name="torch",
    package="torch",
    title="PyTorch",
    how='install PyTorch (in Slicer its extension of that name, elsewhere "pip install torch")',
)


# Of everything that computes with a trained model.
MODEL_REQUIRES = (TORCH, Requirement(name="safetensors", package="safetensors"))


def missing_of(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Return the requirements that are not installed."""
    return tuple(need for need in requirements if not need.found())


def require_all(requirements: Iterable[Requirement], subject: str) -> None:
    """Raise `EngineUnavailable` with the remedy when something is missing that the subject of the message needs."""
    if missing := missing_of(requirements):
        raise EngineUnavailable(f"{subject} needs {needs(missing)}, which is not installed.", hint=remedy(missing))


def needs(missing: Iterable[Requirement]) -> str:
    """Return the names of requirements without repetition, at most three."""
    names = list(dict.fromkeys(need.title or need.package or need.name for need in _decisive(missing)))
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def remedy(missing: Iterable[Requirement]) -> str:
    """Return how to install all missing requirements, in one sentence; '' when nothing is missing.

    Examples
    --------
    >>> remedy([TORCH, Requirement("nibabel", "nibabel"), Requirement("convexAdam", "convexAdam")])
    'Install PyTorch (in Slicer its extension of that name, elsewhere "pip install torch"), then run "pip install \
nibabel convexAdam".'
    """
    missing = _decisive(missing)
    steps = list(dict.fromkeys(need.how for need in missing if need.how))
    commands = []
    for options, no_deps in (("", False), ("--no-deps ", True)):
        packages = [need.package for need in missing if not need.how and need.no_deps is no_deps]
        if packages:
            commands.append(f'"pip install {options}{" ".join(packages)}"')
    if commands:
        steps.append(f"run {' and '.join(commands)}")
    text = ", then ".join(steps)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _decisive(missing: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Return the requirements that cannot be installed, if any, otherwise all of them."""
    missing = tuple(missing)
    return tuple(need for need in missing if need.final) or missing


@dataclass(frozen=True)
class EngineInfo:
    """The description of an engine for the panel, the command line and the recommendation.

    Attributes
    ----------
    name, title, summary : str
        Name used in commands, title shown to users, one sentence.
    family : str
        'linear', 'classical' or 'deep'.
    settings : type
        The frozen dataclass of its settings.
    citation : str
        The paper to cite, with DOI or arXiv number.
    requires : tuple of Requirement
        Packages and programs that must be installed.
    licence : str
        License of the back end, when it is not part of this project.
    uses_annotations : bool
        Whether it may use segmentations and landmarks; other engines receive a pair without them.
    uses_masks : bool
        Whether the masks of the pair have an effect.
    keeps_bodies : bool
        Whether it moves the rigid bodies of the pair rigidly.
    starts_linear : bool
        Whether it needs the linear alignment first (all deformable engines).
    multimodal : bool
        Whether it can match different contrasts with some of its settings.
    single_slices : bool
        Whether it also registers volumes of one slice as they are.
    slabs : bool
        Whether it registers single slices as slabs of equal slices, when it cannot as they are.
    devices : tuple of str
        Supported devices.
    """

    name: str
    title: str
    summary: str
    family: str
    settings: type
    citation: str
    requires: tuple[Requirement, ...] = ()
    licence: str = "Apache-2.0"
    uses_annotations: bool = False
    uses_masks: bool = False
    keeps_bodies: bool = False
    starts_linear: bool = True
    multimodal: bool = False
    single_slices: bool = False
    slabs: bool = True
    devices: tuple[str, ...] = ("cpu",)

    def missing(self) -> tuple[Requirement, ...]:
        """Return the requirements that are not installed."""
        return missing_of(self.requires)

    def require(self) -> None:
        """Raise `EngineUnavailable` with the remedy when something is missing."""
        require_all(self.requires, f"Engine '{self.name}'")


class Engine(Protocol):
    """The interface of an engine.

    `run` starts at `pair.initial` (identity when None), does not change the pair, calls `progress.report` often enough
    to be canceled, and returns the complete transform.
    """

    info: ClassVar[EngineInfo]

    def run(self, pair: Pair, settings: Any, progress: Progress, compute: Compute) -> Result:
        """Register the pair."""
        ...


class Recorder:
    """Collects the diagnostics of a run in progress.

    Examples
    --------
    >>> recorder = Recorder(Compute(threads=1))
    >>> with recorder.stage("Affine"):
    ...     recorder.trace("Affine", 1, -0.5)
    >>> recorder.diagnostics("converged").stop_condition
    'converged'
    """

    def __init__(self, compute: Compute, *, device: str = "cpu", packages: tuple[str, ...] = ()) -> None:
        self.compute = compute
        self.device = device
        self.packages = packages
        self.notes: list[str] = []
        self.confidence: float | None = None
        self._trace: list[TracePoint] = []
        self._seconds: dict[str, float] = {}
        self._cpu_seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - wall
            self._cpu_seconds[name] = self._cpu_seconds.get(name, 0.0) + cpu_seconds() - cpu

    def trace(self, stage: str, iteration: int, metric: float) -> None:
        """Record the objective (lower is better) of an iteration."""
        self._trace.append(TracePoint(stage, iteration, float(metric)))

    def diagnostics(self, stop_condition: str) -> Diagnostics:
        """Return the collected diagnostics."""
        return Diagnostics(
            trace=tuple(self._trace),
            stop_condition=stop_condition,
            seconds=dict(self._seconds),
            cpu_seconds=dict(self._cpu_seconds),
            device=self.device,
            threads=self.compute.thread_count,
            seed=self.compute.seed,
            versions=versions(*self.packages),
            peak_memory_mb=peak_memory_mb(),
            confidence=self.confidence,
            notes=tuple(self.notes),
        )


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of distributions; those without metadata are skipped."""
    found = {}
    for name in ("numpy", "SimpleITK", *packages):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
