"""The base of engines that run a program or a package in a process of its own.

An engine says how its inputs are written, how a line of its log is read and how its result is read back; what is the
same for all of them happens here: the temporary folder, progress, metric trace, cancel, and failures as sentences.
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
from ...images.simple import image_from_array, to_sitk
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
    """What a line of a log says about the run.

    Attributes
    ----------
    stage : str
        What is being done, in words a clinician reads.
    done : float
        Done part of the program's work, 0 to 1.
    iteration : int or None
        Iteration within the stage.
    metric : float or None
        Objective, lower is better.
    shown : bool
        Whether it becomes progress; a metric enters the trace either way.
    """

    stage: str
    done: float
    iteration: int | None = None
    metric: float | None = None
    shown: bool = True


LogParser = Callable[[str], Step | None]


@dataclass(frozen=True)
class Complaint:
    """A complaint of a program in our words: what its log holds, what is wrong, what to do."""

    text: str
    message: str
    hint: str


@dataclass(frozen=True, eq=False)
class ExternalRun(Generic[Settings]):
    """What an engine has at hand while its program runs.

    Attributes
    ----------
    start : EngineInput
        The pair as the program gets it.
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
        """Write the volumes as fixed and moving with this suffix."""
        for name, volume in (("fixed", self.start.fixed), ("moving", self.start.moving)):
            sitk.WriteImage(to_sitk(volume), str(self.folder / f"{name}{suffix}"))

    def write_mask(self, mask: LabelMap, file: str, dtype: npt.DTypeLike = np.uint8) -> str:
        """Write a mask as 0 and 1 of this type; return the name of its file."""
        sitk.WriteImage(image_from_array(mask.mask().astype(dtype), mask.grid), str(self.folder / file))
        return file

    def execute(
        self,
        command: Sequence[str | os.PathLike[str]],
        parse: LogParser,
        *,
        environment: dict[str, str] | None = None,
    ) -> Output:
        """Run the program until it ends or the user cancels; its lines become progress and the metric trace."""

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
        """Run a module of this room that calls a Python package on the folder.

        Its job.json holds the settings, 'device', 'threads' and `more`.
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
    """An engine whose work another program does.

    Attributes
    ----------
    info : EngineInfo
        What every engine says about itself.
    program : str
        What messages call the program.
    packages : tuple of str
        Distributions whose versions enter the diagnostics.
    stop_condition : str
        Why a run that succeeds has ended.
    memory_hint : str
        What to do when it runs out of memory.
    complaints : tuple of Complaint
        What else its log may hold when it fails.
    """

    info: ClassVar[EngineInfo]
    program: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    stop_condition: ClassVar[str]
    memory_hint: ClassVar[str] = "Use a smaller volume or close other programs."
    complaints: ClassVar[tuple[Complaint, ...]] = ()

    @abstractmethod
    def register(self, run: ExternalRun[Settings]) -> Sequence[Part | Transform]:
        """Run the program; return its map from the fixed to the moving volume of `run.start`, first part first."""

    def check(self, settings: Settings) -> None:
        """Raise `SettingsError` for settings that do not fit each other."""

    def start(self, pair: Pair, settings: Settings) -> EngineInput:
        """Return the pair as the program gets it."""
        return native_start(pair)

    def device(self, compute: Compute) -> str:
        """Return where it computes: 'cpu' or 'cuda'."""
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
        """Raise `EngineFailed` unless the program ended well and its result, where one is named, is there.

        Parameters
        ----------
        output : Output
            What the program left.
        result : path, optional
            File that it must have written.
        program : str
            Its name in the message, where the engine runs several.
        hint : str
            What to do about a failure that is none of the known ones.
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
        """Return what the program says about a failure: its last lines."""
        return output.last_words()

    def check_finite(self, values: npt.ArrayLike, hint: str) -> None:
        """Raise `EngineFailed` with a hint when a field or its parameters are not finite."""
        if not np.isfinite(np.asarray(values)).all():
            raise EngineFailed(f"{self.program} diverged: its result is not finite.", hint=hint)


def cpu_or_cuda(compute: Compute) -> str:
    """Return the device for packages that do not know Apple's graphics processors."""
    device = "cpu" if compute.device == "mps" else torch_device(compute.device)
    return "cpu" if device == "mps" else device
