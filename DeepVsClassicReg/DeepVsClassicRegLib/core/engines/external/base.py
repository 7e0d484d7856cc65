"""The base of engines that run an external program or package in a separate process.

An engine defines how its inputs are written, how a line of its log is parsed and how its result is read. The base
provides the temporary folder, progress, metric trace, cancel and error messages.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ...device import Compute, torch_device
from ...errors import EngineFailed
from ...files import write_json
from ...images.resample import image_from_array, to_sitk
from ...images.volume import LabelMap
from ...pair import Pair
from ...progress import Progress
from ...transforms.transform import Part, Transform
from ..base import EngineInfo, Recorder, Result
from ..engine_input import EngineInput, native_start
from .program import KILLED, Output, python_child, run_program, scratch_folder

MEMORY = ("bad_alloc", "failed to allocate memory", "can't allocate memory", "out of memory")
# Writing the inputs and reading the result are the rest of a run.
FIRST, LAST = 0.02, 0.98
JOB_FILE = "job.json"

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Step:
    """The information of one line of a log.

    Attributes
    ----------
    stage : str
        The current step in words for clinicians.
    done : float
        Completed fraction of the program's work, 0 to 1.
    iteration : int or None
        Iteration within the stage.
    metric : float or None
        Objective, lower is better.
    shown : bool
        Whether it is reported as progress; a metric is always added to the trace.
    """

    stage: str
    done: float
    iteration: int | None = None
    metric: float | None = None
    shown: bool = True


LogParser = Callable[[str], Step | None]


@dataclass(frozen=True)
class Complaint:
    """A known error of a program: text in its log, message and hint."""

    text: str
    message: str
    hint: str


@dataclass(frozen=True, eq=False)
class ExternalRun(Generic[Settings]):
    """The state of an engine while its program runs.

    Attributes
    ----------
    start : EngineInput
        The pair in the form for the program.
    settings : dataclass
        Settings of the engine.
    folder : path
        Temporary folder, the program's working directory.
    """

    start: EngineInput
    settings: Settings
    folder: Path
    recorder: Recorder
    progress: Progress
    compute: Compute

    def write_volumes(self, suffix: str = ".mha") -> None:
        """Write the volumes as files `fixed` and `moving` with this suffix."""
        for name, volume in (("fixed", self.start.fixed), ("moving", self.start.moving)):
            sitk.WriteImage(to_sitk(volume), str(self.folder / f"{name}{suffix}"))

    def write_mask(self, mask: LabelMap, file: str, dtype: npt.DTypeLike = np.uint8) -> str:
        """Write a mask with values 0 and 1 of this type; return the file name."""
        sitk.WriteImage(image_from_array(mask.mask().astype(dtype), mask.grid), str(self.folder / file))
        return file

    def execute(
        self,
        command: Sequence[str | os.PathLike[str]],
        parse: LogParser,
        *,
        environment: dict[str, str] | None = None,
    ) -> Output:
        """Run the program until it ends or the user cancels; report progress and record the metric from its output."""

        def on_line(line: str) -> None:
            if step := parse(line):
                self._follow(step)

        return run_program(
            command,
            folder=self.folder,
            progress=self.progress,
            on_line=on_line,
            threads=self.compute.thread_count,
            environment=environment,
        )

    def execute_package(self, child: str, parse: LogParser, **more: Any) -> Output:
        """Run a module of this package that calls a Python package on the folder.

        Its job.json contains the settings, 'device', 'threads' and `more`.
        """
        job = {**asdict(cast("Any", self.settings)), "device": self.recorder.device}
        write_json(self.folder / JOB_FILE, {**job, "threads": self.compute.thread_count, **more})
        return self.execute(python_child(f"{__package__}.{child}", self.folder), parse)

    def _follow(self, step: Step) -> None:
        if step.iteration is not None and step.metric is not None and np.isfinite(step.metric):
            self.recorder.trace(step.stage, step.iteration, step.metric)
        if step.shown:
            fraction = FIRST + (LAST - FIRST) * step.done
            self.progress.report(fraction, step.stage, metric=step.metric, iteration=step.iteration)


class ExternalEngine(ABC, Generic[Settings]):
    """An engine that runs an external program.

    Attributes
    ----------
    info : EngineInfo
        Description of the engine.
    program : str
        Name of the program in messages.
    packages : tuple of str
        Distributions whose versions are in the diagnostics.
    stop_condition : str
        Stop condition of a successful run.
    memory_hint : str
        Hint when it runs out of memory.
    complaints : tuple of Complaint
        Known errors in its log.
    """

    info: ClassVar[EngineInfo]
    program: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    stop_condition: ClassVar[str]
    memory_hint: ClassVar[str] = "Use a smaller volume or close other programs."
    complaints: ClassVar[tuple[Complaint, ...]] = ()

    @abstractmethod
    def register(self, run: ExternalRun[Settings]) -> Sequence[Part | Transform]:
        """Run the program; return the fixed-to-moving transform for `run.start`, first part first."""

    def check(self, settings: Settings) -> None:
        """Raise `SettingsError` for inconsistent settings."""

    def start(self, pair: Pair, settings: Settings) -> EngineInput:
        """Return the pair in the form for the program."""
        return native_start(pair)

    def device(self, compute: Compute) -> str:
        """Return the device, 'cpu' or 'cuda'."""
        return "cpu"

    def run(self, pair: Pair, settings: Settings, progress: Progress, compute: Compute) -> Result:
        """Register the pair; see `Engine.run`."""
        self.check(settings)
        recorder = Recorder(compute, device=self.device(compute), packages=self.packages)
        progress.report(0.0, f"Preparing {self.program}")
        start = self.start(pair, settings)
        with scratch_folder(self.info.name) as folder, recorder.stage(self.info.name):
            parts = self.register(ExternalRun(start, settings, folder, recorder, progress, compute))
        progress.report(1.0, f"{self.program} done")
        return Result(start.complete(*parts), recorder.diagnostics(self.stop_condition), settings=settings)

    def check_output(
        self, output: Output, result: Path | None = None, *, program: str = "", hint: str = "See the log."
    ) -> None:
        """Raise `EngineFailed` unless the program succeeded and its result file, if given, exists.

        Parameters
        ----------
        output : Output
            Exit status and last lines of the program.
        result : path, optional
            File that must exist.
        program : str
            Name of the program in the message, when the engine runs several.
        hint : str
            Hint for unknown errors.
        """
        if output.status == 0 and (result is None or result.is_file()):
            return
        program = program or self.program
        for complaint in self.complaints:
            if output.said(complaint.text):
                raise EngineFailed(f"{program} stopped: {complaint.message}", hint=complaint.hint)
        if output.status == KILLED or any(output.said(text) for text in MEMORY):
            raise EngineFailed(f"{program} ran out of memory.", hint=self.memory_hint)
        raise EngineFailed(f"{program} stopped with status {output.status}: {self.reason(output)}", hint=hint)

    def reason(self, output: Output) -> str:
        """Return the reason of a failure: the last lines of the program."""
        return output.last_words()

    def check_finite(self, values: npt.ArrayLike, hint: str) -> None:
        """Raise `EngineFailed` with a hint when a field or its parameters are not finite."""
        if not np.isfinite(np.asarray(values)).all():
            raise EngineFailed(f"{self.program} diverged: its result is not finite.", hint=hint)


def cpu_or_cuda(compute: Compute) -> str:
    """Return the device for packages without support for Apple GPUs."""
    device = "cpu" if compute.device == "mps" else torch_device(compute.device)
    return "cpu" if device == "mps" else device
