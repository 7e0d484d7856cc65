"""The tasks of the worker process: copy and write the selected nodes, compute, use the result, without blocking.

`WorkerTask` is the life of any job; `RegistrationTask` runs a `RegistrationRequest` and publishes its result,
`QueryTask` returns plain values. The runs of one comparison share their linear start through a `SharedStart`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.engines.error_map import AUTO
from ..core.errors import RegistrationError
from ..core.files import read_json
from ..core.job import (
    ERROR_MODEL,
    FIRST,
    METHODS,
    OUTPUT_FOLDER,
    RESULT_FILE,
    SEGMENT,
    SHARE_START,
    SIDES,
    START,
    Job,
)
from ..core.settings import Choice
from ..mrml.cases import nothing_to_copy
from ..mrml.inputs import Inputs, fingerprint
from ..mrml.nodes import in_scene, save_for_undo
from ..mrml.outputs import (
    Loaded,
    Targets,
    complete_run,
    load_report,
    load_result,
    load_segmentations,
    publish,
    publish_segmentations,
)
from ..mrml.repair import repair_inputs
from ..mrml.runs import Run, set_base
from ..mrml.snapshot import Snapshot, snapshot_steps
from ..worker.job_folder import new_job_folder
from ..worker.session import CANCELLED, FAILED, FINISHED, REJECTED, JobOutcome
from .process import WorkerProcess
from .scheduling import BackgroundCall, Signal

WAITING, COPYING, WRITING, COMPUTING, READING = "waiting", "copying", "writing", "computing", "reading"
ENDED = (FINISHED, FAILED, REJECTED, CANCELLED)
BEGUN, COMPUTED = 0.04, 0.96  # fractions of the progress where the computation begins and ends
REPAIR = Choice("instance", "repair")
MakeProcess = Callable[[Path], Any]
OUTPUTS = {
    "warped": "warped.nrrd",
    "warped_labels": "warped_seg.nrrd",
    "transform": "transform.h5",
    "jacobian": "jacobian.nrrd",
    "uncertainty": "uncertainty.nrrd",
    "error": "estimated_error.nrrd",
    "extras": "extra.nrrd",
    "report": "report.json",
}


class SharedStart:
    """The linear start that the first run of a comparison computes and the others reuse; kept in memory, not in files.

    All methods but `take` may be called in a thread.
    """

    def __init__(self) -> None:
        self._seen: Hashable = None
        self._entry: Mapping[str, Any] = {}
        self._content = b""

    def options(self, folder: Path, seen: Hashable) -> dict[str, Any]:
        """Write the alignment to a job folder, if it is known for these inputs, and return the job's options."""
        if not self._content or seen != self._seen:
            return {SHARE_START: True}
        (folder / self._entry["file"]).write_bytes(self._content)
        return {START: self._entry}

    def read(self, folder: Path, result: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes] | None:
        """Return the linear start written by a finished run, None when it wrote none."""
        entry = result.get(START)
        return (entry, (folder / OUTPUT_FOLDER / entry["file"]).read_bytes()) if entry else None

    def take(self, found: tuple[Mapping[str, Any], bytes] | None, seen: Hashable) -> None:
        """Keep the linear start for these inputs."""
        if found is not None:
            (self._entry, self._content), self._seen = found, seen


@dataclass(frozen=True, kw_only=True)
class RegistrationRequest:
    """One registration to run.

    Attributes
    ----------
    inputs : Inputs
        The selected nodes.
    engine, preset : str
        The engine and its preset.
    settings : mapping
        Settings changed from the preset.
    compute : Compute
        Device, threads and seed.
    targets : Targets or None
        Nodes to overwrite and outputs wanted.
    parameter_node : callable
        Returns the parameter node that refers to the run once it is published.
    keep_files : bool
        Whether the job folder stays for inspection.
    shared_start : SharedStart or None
        The same object for all runs of a comparison, which then share one linear alignment.
    base : Run or None
        The run that is repaired.
    in_steps : bool
        Whether the run is published as soon as its verdict is known, and measures that take long are added later.
    """

    inputs: Inputs
    engine: str
    preset: str = "default"
    settings: Mapping[str, Any] = field(default_factory=dict)
    compute: Compute = field(default_factory=Compute)
    targets: Targets | None = None
    parameter_node: Callable[[], Any] | None = None
    keep_files: bool = False
    shared_start: SharedStart | None = None
    base: Run | None = None
    in_steps: bool = False

    @property
    def name(self) -> str:
        """Engine, with the preset unless it is the default one."""
        return str(Choice(self.engine, self.preset))


def repair_request(
    run: Run,
    fixed_points: Any,
    moving_points: Any,
    *,
    compute: Compute,
    parameter_node: Callable[[], Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    in_steps: bool = False,
) -> RegistrationRequest:
    """Return the request that continues a run around landmarks; points as for `mrml.repair.repair_inputs`."""
    return RegistrationRequest(
        inputs=repair_inputs(run, fixed_points, moving_points),
        engine=REPAIR.engine,
        preset=REPAIR.preset,
        settings=settings or {},
        compute=compute,
        parameter_node=parameter_node,
        base=run,
        in_steps=in_steps,
    )


class WorkerTask:
    """One job, from the selected nodes to the worker's result; subclasses define the job and use the result.

    Parameters
    ----------
    inputs : Inputs
        The selected nodes.
    compute : Compute
        Device, threads and seed.
    keep_files : bool
        Whether the job folder stays for inspection.
    make_process : callable
        Makes the process, `WorkerProcess(folder)`.

    Attributes
    ----------
    state : str
        'waiting', 'copying', 'writing', 'computing', 'reading', at the end 'finished', 'cancelled', 'rejected'
        (a user error) or 'failed' (a bug).
    fraction, stage, metric, iteration
        The latest progress.
    message, hint : str
        What happened and what to do when there is no result.
    changed, logged, ended : Signal
        Emit this task; a line of the log; this task, once.
    """

    def __init__(
        self,
        inputs: Inputs,
        compute: Compute,
        *,
        keep_files: bool = False,
        make_process: MakeProcess = WorkerProcess,
    ) -> None:
        self.inputs, self.compute, self.keep_files = inputs, compute, keep_files
        self.state, self.fraction, self.stage = WAITING, 0.0, _("Waiting")
        self.metric: float | None = None
        self.iteration: int | None = None
        self.message = self.hint = ""
        self.notes: list[str] = []
        self.changed, self.logged, self.ended = Signal(), Signal(), Signal()
        self.folder: Path | None = None
        self.process: Any = None
        self._make_process = make_process
        self._snapshot: Any = None
        self._steps: Generator[str, None, Any] | None = None
        self._call: BackgroundCall | None = None
        self._timer = qt.QTimer()
        self._timer.interval = 0
        self._timer.connect("timeout()", self._copy_next)

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job for the written inputs; called in a thread."""
        raise NotImplementedError

    def take(self, outcome: JobOutcome) -> None:
        """Use the worker's result, then call `end`."""
        raise NotImplementedError

    def copies(self) -> Generator[str, None, Any]:
        """Return the steps that copy what the worker needs; their value can `write` it in a thread."""
        return snapshot_steps(self.inputs)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, with success or not."""
        return self.state in ENDED

    def start(self) -> None:
        """Begin copying the inputs."""
        try:
            self.folder = new_job_folder(Path(slicer.app.temporaryPath))
            self._steps = self.copies()
        except RegistrationError as error:
            self.end(REJECTED, error.message, error.hint)
            return
        self.enter(COPYING, _("Copying the inputs"), 0.0)
        self._timer.start()

    def cancel(self, message: str = "") -> None:
        """Cancel; a running worker is asked to stop, and killed after some seconds."""
        if self.is_over:
            return
        self.message = message or _("Canceled.")
        if self.state == COMPUTING:
            self.stage = _("Canceling")
            self.changed.emit(self)
            self.process.cancel()
            return
        self.end(CANCELLED, self.message)

    def shut_down(self) -> None:
        """Kill the worker immediately without signals: the panel or Slicer is closing."""
        for signal in (self.changed, self.logged, self.ended):
            signal.disconnect()
        if self.process is not None:
            self.process.shut_down()
        if not self.is_over:
            self.end(CANCELLED, _("Canceled."))

    def enter(self, state: str, stage: str, fraction: float) -> None:
        """Enter a state and emit `changed`."""
        self.state, self.stage, self.fraction = state, stage, fraction
        self.changed.emit(self)

    def in_background(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run `work` in a thread and `then(value)` in the main thread; an error ends the task."""

        def done(value: Any, error: BaseException | None) -> None:
            self._call = None
            if error is not None:
                self.fail(error)
            else:
                then(value)

        self._call = BackgroundCall(work, done).start()

    def end_with(
        self,
        read: Callable[[], Any],
        use: Callable[[Any], None],
        *,
        stage: str = "",
        state: str = FINISHED,
        message: str = "",
    ) -> None:
        """Read a result in a thread, use it in the main thread, then end; an error of either ends the task instead."""

        def used(value: Any) -> None:
            try:
                use(value)
            except Exception as error:
                self.fail(error)
            else:
                self.end(state, message)

        self.enter(READING, stage or _("Reading the result"), COMPUTED)
        self.in_background(read, used)

    def fail(self, error: BaseException) -> None:
        """End with an error, which is a user error or a bug."""
        if isinstance(error, RegistrationError):
            self.end(REJECTED, error.message, error.hint)
            return
        logging.error("DeepVsClassicReg: %s", error, exc_info=error)
        what = _("This is a bug; see the application log.")
        self.end(FAILED, f"{type(error).__name__}: {error}", what)

    def end(self, state: str, message: str = "", hint: str = "") -> None:
        """End in a state and emit `ended`, once."""
        if self.is_over:
            return
        self._timer.stop()
        self._steps = None
        self.state, self.message, self.hint = state, message, hint
        self.fraction = 1.0 if state == FINISHED else self.fraction
        if self._call is not None:
            self._call.abandon(self._remove_folder)
        else:
            self._remove_folder()
        self._snapshot = None
        self.changed.emit(self)
        self.ended.emit(self)

    @property
    def snapshot(self) -> Snapshot:
        """The copied inputs."""
        if self._snapshot is None:
            raise RuntimeError("There is no snapshot before the inputs are copied.")
        return self._snapshot

    @property
    def need_folder(self) -> Path:
        """The job folder."""
        if self.folder is None:
            raise RuntimeError("There is no folder before the start.")
        return self.folder

    def _copy_next(self) -> None:
        if self._steps is None:
            self._timer.stop()
            return
        try:
            next(self._steps)
        except StopIteration as end:
            self._timer.stop()
            self._write(end.value)
        except Exception as error:
            self._timer.stop()
            self.fail(error)

    def _write(self, snapshot: Any) -> None:
        self._snapshot = snapshot
        folder = self.need_folder
        self.enter(WRITING, _("Writing the inputs"), BEGUN / 2)
        self.in_background(
            lambda: self.job(snapshot.write(folder), snapshot.label_names).write(folder), self._on_written
        )

    def _on_written(self, _path: Any) -> None:
        self.enter(COMPUTING, _("Starting the background process"), BEGUN)
        self.process = self._make_process(self.need_folder)
        self.process.happened.connect(self._on_event)
        self.process.ended.connect(self._on_process_ended)
        self.process.start()

    def _on_event(self, event: Any) -> None:
        if event.kind == "progress":
            share = float(event.data.get("fraction", 0.0))
            self.fraction = max(self.fraction, BEGUN + (COMPUTED - BEGUN) * share)
            self.metric, self.iteration = event.data.get("metric"), event.data.get("iteration")
            if self.process.session.state != "cancelling":
                self.stage = str(event.data.get("stage", ""))
            self.changed.emit(self)
        elif event.kind in ("log", "noise"):
            self.logged.emit(event.text)
        elif event.kind == "note":
            self.notes.append(event.text)
            self.logged.emit(event.text)

    def _on_process_ended(self, outcome: JobOutcome) -> None:
        if outcome.ok:
            self.take(outcome)
            return
        message = self.message if outcome.state == CANCELLED and self.message else outcome.message
        self.end(outcome.state, message, outcome.hint)

    def _remove_folder(self) -> None:
        if self.folder is not None and not self.keep_files:
            shutil.rmtree(self.folder, ignore_errors=True)


class RegistrationTask(WorkerTask):
    """One registration, from the request to the result in the scene.

    Attributes
    ----------
    run : Run or None
        The published result.
    published : Signal
        Emits this task when its run is in the scene and measures that take long follow, see `RegistrationRequest`. The
        run stays however the task then ends; its report names the measures that are missing.
    """

    def __init__(self, request: RegistrationRequest, *, make_process: MakeProcess = WorkerProcess) -> None:
        super().__init__(request.inputs, request.compute, keep_files=request.keep_files, make_process=make_process)
        self.request = request
        self.run: Any = None
        self.published = Signal()
        self._seen: Hashable = None
        self._canceling = False
        self._outcome: JobOutcome | None = None

    def start(self) -> None:
        """Begin copying the inputs."""
        if self.request.shared_start is not None:
            self._seen = fingerprint(self.inputs)
        super().start()

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the requested registration."""
        request, shared = self.request, self.request.shared_start
        wants_error = request.targets is not None and "error" in request.targets.wanted
        options = shared.options(self.need_folder, self._seen) if shared is not None else {}
        return Job(
            inputs=files,
            engine=request.engine,
            preset=request.preset,
            settings=request.settings,
            compute=request.compute,
            outputs=OUTPUTS,
            label_names=label_names,
            options={
                **options,
                **({ERROR_MODEL: AUTO} if wants_error else {}),
                **({FIRST: True} if request.in_steps else {}),
            },
            ephemeral=not request.keep_files,
            compress=request.keep_files,
        )

    def cancel(self, message: str = "") -> None:
        """Cancel; a run that is published already stays."""
        self._canceling = True
        super().cancel(message)

    def shut_down(self) -> None:
        """Kill the worker immediately without signals."""
        self.published.disconnect()
        super().shut_down()

    def take(self, outcome: JobOutcome) -> None:
        """Read the files in a thread, then add them to the scene, or the complete report to the published run."""
        folder = self.need_folder
        if self.run is not None:
            self.end_with(lambda: load_report(folder), lambda report: complete_run(self.run, report, self.snapshot))
        else:
            self.end_with(lambda: self._read(RESULT_FILE), self._publish)

    def end(self, state: str, message: str = "", hint: str = "") -> None:
        """End in a state; the message of a published run without all measures says what is missing."""
        if state != FINISHED and self.run is not None and in_scene(self.run.record) and self.run.missing:
            message = _("{message} The result is there; not measured: {what}.").format(
                message=message, what=self.run.missing
            )
        super().end(state, message, hint)

    def _on_event(self, event: Any) -> None:
        super()._on_event(event)
        file = event.data.get("result") if event.kind == "progress" else None
        if file and self.run is None and self._call is None and not (self._canceling or self.is_over):
            self._call = BackgroundCall(lambda: self._read(file), self._publish_first).start()

    def _on_process_ended(self, outcome: JobOutcome) -> None:
        if self._call is not None:  # reading the first result
            self._outcome = outcome
        else:
            super()._on_process_ended(outcome)

    def _read(self, file: str) -> tuple[Loaded, Any]:
        """Read a result and the linear start in it; called in a thread."""
        folder, shared = self.need_folder, self.request.shared_start
        start = shared.read(folder, read_json(folder / file)) if shared is not None else None
        return load_result(folder, file=file), start

    def _publish_first(self, read: Any, error: BaseException | None) -> None:
        """Publish the first result; when that fails, the last one is published."""
        self._call = None
        try:
            if error is None and not self._canceling:
                self._publish(read)
        except Exception as problem:
            error = problem
        if error is not None:
            logging.warning("DeepVsClassicReg: the first result could not be shown: %s", error)
        if self.run is not None:
            self.published.emit(self)
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            self._on_process_ended(outcome)

    def _publish(self, read: tuple[Loaded, Any]) -> None:
        loaded, start = read
        if self.request.shared_start is not None:
            self.request.shared_start.take(start, self._seen)
        find = self.request.parameter_node
        save_for_undo()
        self.run = publish(
            loaded,
            self.request.inputs,
            self.snapshot,
            parameter_node=find() if find is not None else None,
            targets=self.request.targets,
        )
        base = self.request.base
        if base is not None and base.exists:
            set_base(self.run, base)


class QueryTask(WorkerTask):
    """One job that returns values and writes no output files.

    Parameters
    ----------
    kind : {'recommend', 'evaluate', 'methods'}
        The worker's task, see `worker.tasks`; 'methods' needs no pair.
    inputs : Inputs
        The pair.
    compute : Compute
        Device and threads.
    options : mapping, optional
        Options of the task.
    make_process : callable
        As for `WorkerTask`.

    Attributes
    ----------
    answer : mapping
        Content of the worker's result.json once it has finished.
    """

    def __init__(
        self,
        kind: str,
        inputs: Inputs,
        compute: Compute,
        *,
        options: Mapping[str, Any] | None = None,
        make_process: MakeProcess = WorkerProcess,
    ) -> None:
        super().__init__(inputs, compute, make_process=make_process)
        self.kind, self.options = kind, dict(options or {})
        self.answer: Mapping[str, Any] = {}

    def copies(self) -> Generator[str, None, Any]:
        """Return the steps that copy the pair; none for the list of methods."""
        return nothing_to_copy() if self.kind == METHODS else super().copies()

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job of this query."""
        return Job(
            task=self.kind,
            inputs=files,
            compute=self.compute,
            outputs={},
            label_names=label_names,
            options=self.options,
            ephemeral=True,
        )

    def take(self, outcome: JobOutcome) -> None:
        """Keep the answer."""
        self.answer = outcome.result
        self.end(FINISHED)


class SegmentationTask(WorkerTask):
    """Segments volumes with a network and adds the segmentations to the scene.

    Parameters
    ----------
    inputs : Inputs
        The volumes.
    compute : Compute
        Device and threads.
    sides : list of str
        'fixed', 'moving' or both.
    make_process : callable
        As for `WorkerTask`.

    Attributes
    ----------
    nodes : mapping of str to vtkMRMLSegmentationNode
        Role ('fixed_labels', 'moving_labels') -> segmentation, once it has finished.
    """

    def __init__(
        self, inputs: Inputs, compute: Compute, sides: list[str], *, make_process: MakeProcess = WorkerProcess
    ) -> None:
        super().__init__(inputs, compute, make_process=make_process)
        self.sides = sides
        self.nodes: Mapping[str, Any] = {}

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job of this segmentation."""
        options = {SIDES: self.sides}
        return Job(task=SEGMENT, inputs=files, compute=self.compute, outputs={}, options=options, ephemeral=True)

    def take(self, outcome: JobOutcome) -> None:
        """Read the segmentations in a thread, then add them to the scene."""
        folder = self.need_folder
        self.end_with(lambda: load_segmentations(folder), self._publish)

    def _publish(self, found: Any) -> None:
        save_for_undo()
        self.nodes = publish_segmentations(found, self.inputs)
