"""One piece of work for the worker process: copy the picked nodes, write them, compute; never blocking the panel."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..core.job import Job
from ..mrml.inputs import Inputs
from ..mrml.snapshot import Snapshot, snapshot_steps
from ..worker.job_folder import new_job_folder
from ..worker.session import CANCELLED, FAILED, FINISHED, REJECTED, Outcome
from .background import Background
from .process import WorkerProcess
from .signals import Signal

WAITING, COPYING, WRITING, COMPUTING, READING = "waiting", "copying", "writing", "computing", "reading"
ENDED = (FINISHED, FAILED, REJECTED, CANCELLED)
BEGUN, COMPUTED = 0.04, 0.96
MakeProcess = Callable[[Path, Compute], Any]


class Errand:
    """The life of one job, from the picked nodes to the worker's answer; a child says what job and what comes of it.

    Parameters
    ----------
    inputs : Inputs
        The picked nodes.
    compute : Compute
        Device, threads and seed.
    keep_files : bool
        Whether the job folder stays for inspection.
    make_process : callable
        Makes what computes, `WorkerProcess(folder, compute)`.

    Attributes
    ----------
    state : str
        'waiting', 'copying', 'writing', 'computing', 'reading', at the end 'finished', 'cancelled', 'rejected'
        (the user can mend it) or 'failed'.
    fraction, stage, metric, iteration
        The last progress.
    message, hint : str
        What happened and what to do, when there is no result.
    changed, logged, ended : Signal
        Emit this errand; a line of the log; this errand, once.
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
        self._snapshot: Snapshot | None = None
        self._steps: Generator[str, None, Snapshot] | None = None
        self._background: Background | None = None
        self._timer = qt.QTimer()
        self._timer.interval = 0
        self._timer.connect("timeout()", self._copy_next)

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job for the written inputs; called in a thread."""
        raise NotImplementedError

    def take(self, outcome: Outcome) -> None:
        """Make something of the worker's answer and call `end` in the end."""
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in ENDED

    def start(self) -> None:
        """Begin copying the inputs."""
        try:
            self.folder = new_job_folder(Path(slicer.app.temporaryPath))
            self._steps = snapshot_steps(self.inputs)
        except RegistrationError as error:
            self.end(REJECTED, error.message, error.hint)
            return
        self.enter(COPYING, _("Copying the inputs"), 0.0)
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
        self.end(CANCELLED, self.message)

    def shut_down(self) -> None:
        """End everything at once and tell nobody: the panel or Slicer is going away."""
        for signal in (self.changed, self.logged, self.ended):
            signal.disconnect()
        if self.process is not None:
            self.process.shut_down()
        if not self.is_over:
            self.end(CANCELLED, _("Canceled."))

    def enter(self, state: str, stage: str, fraction: float) -> None:
        """Go on to a state and tell."""
        self.state, self.stage, self.fraction = state, stage, fraction
        self.changed.emit(self)

    def in_background(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run `work` in a thread and `then(value)` in the main thread; an error ends the errand."""

        def done(value: Any, error: BaseException | None) -> None:
            self._background = None
            if error is not None:
                self.fail(error)
            else:
                then(value)

        self._background = Background(work, done).start()

    def fail(self, error: BaseException) -> None:
        """End with an error: one the user can mend, or a bug."""
        if isinstance(error, RegistrationError):
            self.end(REJECTED, error.message, error.hint)
            return
        logging.error("DeepVsClassicReg: %s", error, exc_info=error)
        what = _("This is a bug; the application log tells more.")
        self.end(FAILED, f"{type(error).__name__}: {error}", what)

    def end(self, state: str, message: str = "", hint: str = "") -> None:
        """End in a state and tell, once."""
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

    @property
    def snapshot(self) -> Snapshot:
        """The copied inputs."""
        if self._snapshot is None:
            raise RuntimeError("There is no snapshot before the inputs were copied.")
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

    def _write(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        folder = self.need_folder
        self.enter(WRITING, _("Writing the inputs"), BEGUN / 2)
        self.in_background(
            lambda: self.job(snapshot.write(folder), snapshot.label_names).write(folder), self._on_written
        )

    def _on_written(self, _path: Any) -> None:
        self.enter(COMPUTING, _("Starting the background process"), BEGUN)
        self.process = self._make_process(self.need_folder, self.compute)
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
        if outcome.ok:
            self.take(outcome)
            return
        message = self.message if outcome.state == CANCELLED and self.message else outcome.message
        self.end(outcome.state, message, outcome.hint)

    def _remove_folder(self) -> None:
        if self.folder is not None and not self.keep_files:
            shutil.rmtree(self.folder, ignore_errors=True)
