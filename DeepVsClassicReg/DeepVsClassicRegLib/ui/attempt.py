"""One registration from the picked nodes to the published result, step by step, never blocking the panel."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..mrml.outputs import publish
from ..mrml.results import load_result
from ..mrml.snapshot import Snapshot, snapshot_steps
from ..worker.job import Job, new_job_folder
from ..worker.session import CANCELLED, FAILED, FINISHED, REJECTED, Outcome
from .background import Background
from .process import WorkerProcess
from .requests import Request
from .signals import Signal

WAITING, COPYING, WRITING, COMPUTING, READING = "waiting", "copying", "writing", "computing", "reading"
ENDED = (FINISHED, FAILED, REJECTED, CANCELLED)
BEGUN, COMPUTED = 0.04, 0.96
OUTPUTS = {
    "warped": "warped.nrrd",
    "warped_labels": "warped_seg.nrrd",
    "transform": "transform.h5",
    "jacobian": "jacobian.nrrd",
    "uncertainty": "uncertainty.nrrd",
    "report": "report.json",
}
MakeProcess = Callable[[Path, Compute], Any]


class Attempt:
    """The life of one request.

    Attributes
    ----------
    state : str
        'waiting', 'copying', 'writing', 'computing', 'reading', at the end 'finished', 'cancelled', 'rejected'
        (the user can mend it) or 'failed'.
    fraction, stage, metric, iteration
        The last progress.
    run : Run or None
        The published result.
    message, hint : str
        What happened and what to do, when there is none.
    changed, logged, ended : Signal
        Emit this attempt; a line of the log; this attempt, once.
    """

    def __init__(self, request: Request, *, make_process: MakeProcess = WorkerProcess) -> None:
        self.request = request
        self.state, self.fraction, self.stage = WAITING, 0.0, _("Waiting")
        self.metric: float | None = None
        self.iteration: int | None = None
        self.run: Any = None
        self.message = self.hint = ""
        self.notes: list[str] = []
        self.changed, self.logged, self.ended = Signal(), Signal(), Signal()
        self.folder: Path | None = None
        self._make_process = make_process
        self._snapshot: Snapshot | None = None
        self._steps: Generator[str, None, Snapshot] | None = None
        self._background: Background | None = None
        self.process: Any = None
        self._timer = qt.QTimer()
        self._timer.interval = 0
        self._timer.connect("timeout()", self._copy_next)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in ENDED

    def start(self) -> None:
        """Begin copying the inputs."""
        try:
            self.folder = new_job_folder(Path(slicer.app.temporaryPath))
            self._steps = snapshot_steps(self.request.inputs)
        except RegistrationError as error:
            self._end(REJECTED, error.message, error.hint)
            return
        self._enter(COPYING, _("Copying the inputs"), 0.0)
        self._timer.start()

    def cancel(self, message: str = "") -> None:
        """Stop; while the worker computes it is asked first and ended by force after some seconds."""
        if self.is_over:
            return
        self.message = message or _("Canceled.")
        if self.state == COMPUTING:
            self.stage = _("Canceling")
            self.changed.emit(self)
            self.process.cancel()
            return
        self._end(CANCELLED, self.message)

    def shut_down(self) -> None:
        """End everything at once and tell nobody: the panel or Slicer is going away."""
        for signal in (self.changed, self.logged, self.ended):
            signal.disconnect()
        if self.process is not None:
            self.process.shut_down()
        if not self.is_over:
            self._end(CANCELLED, _("Canceled."))

    def _enter(self, state: str, stage: str, fraction: float) -> None:
        self.state, self.stage, self.fraction = state, stage, fraction
        self.changed.emit(self)

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
            self._fail(error)

    def _write(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        folder, request = self._need_folder(), self.request

        def work() -> None:
            job = Job(
                inputs=snapshot.write(folder),
                engine=request.engine,
                preset=request.preset,
                settings=request.settings,
                compute=request.compute,
                outputs=OUTPUTS,
                label_names=snapshot.label_names,
                ephemeral=not request.keep_files,
            )
            job.write(folder)

        self._enter(WRITING, _("Writing the inputs"), BEGUN / 2)
        self._background = Background(work, self._on_written).start()

    def _on_written(self, _value: Any, error: BaseException | None) -> None:
        self._background = None
        if error is not None:
            self._fail(error)
            return
        self._enter(COMPUTING, _("Starting the registration process"), BEGUN)
        self.process = self._make_process(self._need_folder(), self.request.compute)
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

    def _on_process_ended(self, outcome: Outcome) -> None:
        if not outcome.ok:
            message = self.message if outcome.state == CANCELLED and self.message else outcome.message
            self._end(outcome.state, message, outcome.hint)
            return
        folder = self._need_folder()
        self._enter(READING, _("Reading the result"), COMPUTED)
        self._background = Background(lambda: load_result(folder), self._on_loaded).start()

    def _on_loaded(self, loaded: Any, error: BaseException | None) -> None:
        self._background = None
        if error is not None:
            self._fail(error)
            return
        find = self.request.parameter_node
        try:
            self.run = publish(
                loaded,
                self.request.inputs,
                self._need_snapshot(),
                parameter_node=find() if find is not None else None,
                targets=self.request.targets,
            )
        except Exception as failure:
            self._fail(failure)
            return
        self._end(FINISHED)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, RegistrationError):
            self._end(REJECTED, error.message, error.hint)
            return
        logging.error("DeepVsClassicReg: %s", error, exc_info=error)
        what = _("This is a bug; the application log tells more.")
        self._end(FAILED, f"{type(error).__name__}: {error}", what)

    def _end(self, state: str, message: str = "", hint: str = "") -> None:
        if self.is_over:
            return
        self._timer.stop()
        self._steps = None
        self.state, self.message, self.hint = state, message, hint
        self.fraction = 1.0 if state == FINISHED else self.fraction
        if self._background is not None:
            self._background.abandon(self._remove_folder)
        else:
            self._remove_folder()
        self._snapshot = None
        self.changed.emit(self)
        self.ended.emit(self)

    def _remove_folder(self) -> None:
        if self.folder is not None and not self.request.keep_files:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _need_folder(self) -> Path:
        if self.folder is None:
            raise RuntimeError("The attempt has no folder before it was started.")
        return self.folder

    def _need_snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("The attempt has no snapshot before the inputs were copied.")
        return self._snapshot
