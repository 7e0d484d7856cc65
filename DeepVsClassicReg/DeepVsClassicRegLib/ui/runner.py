"""The queue of registrations, which run one after another; shared by the panel and the console."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..mrml.inputs import Inputs
from ..mrml.runs import Run
from .process import WorkerProcess, end_idle_workers
from .scheduling import Signal
from .tasks import MakeProcess, QueryTask, RegistrationRequest, RegistrationTask, WorkerTask
from .training_task import TrainingRequest, TrainingTask


class Runner:
    """Runs requests one after another in the background.

    Parameters
    ----------
    make_process : callable, optional
        Creates the process, by default `WorkerProcess(folder)`; tests pass a fake.

    Attributes
    ----------
    started, changed, published, finished : Signal
        Emit the task; 'published' when its run is in the scene and measures that take long follow.
    logged : Signal
        Emits a line of the log.
    queued : Signal
        Emitted whenever the queue changed.
    idle : Signal
        Emitted when the queue is empty.
    training : TrainingTask or None
        The training that is running, beside the queue.
    trained : Signal
        Emits a training that started, and again when it ended.
    """

    def __init__(self, *, make_process: MakeProcess = WorkerProcess) -> None:
        self.make_process = make_process
        self._waiting: deque[RegistrationTask] = deque()
        self._beside: list[WorkerTask] = []
        self.training: TrainingTask | None = None
        self.trained = Signal()
        self.current: RegistrationTask | None = None
        self.done = 0
        self.started, self.changed, self.published, self.finished = Signal(), Signal(), Signal(), Signal()
        self.logged, self.queued, self.idle = Signal(), Signal(), Signal()
        slicer.app.connect("aboutToQuit()", self.shut_down)

    @property
    def busy(self) -> bool:
        """Whether something is running or waiting."""
        return self.current is not None

    def measures(self, run: Run) -> bool:
        """Whether measures of a published run are still being computed."""
        task = self.current
        return task is not None and not task.is_over and task.run is not None and task.run.record is run.record

    @property
    def waiting(self) -> tuple[RegistrationTask, ...]:
        """The waiting tasks, the next one first."""
        return tuple(self._waiting)

    @property
    def total(self) -> int:
        """Number of tasks since the queue was last empty, including running and waiting ones."""
        return self.done + len(self._waiting) + (1 if self.current else 0)

    def submit(self, requests: Iterable[RegistrationRequest]) -> list[RegistrationTask]:
        """Queue requests and return their tasks; the first starts immediately when nothing is running."""
        tasks = [RegistrationTask(request, make_process=self.make_process) for request in requests]
        self._waiting.extend(tasks)
        if not self.busy:
            self.done = 0
            self._next()
        self.queued.emit()
        return tasks

    def query(
        self, kind: str, inputs: Inputs, compute: Compute, *, options: Mapping[str, Any] | None = None
    ) -> QueryTask:
        """Start a query immediately, outside the queue, and return it; connect its signals before the next event."""
        query = QueryTask(kind, inputs, compute, options=options, make_process=self.make_process)
        self.start_beside(query)
        return query

    def start_beside(self, task: WorkerTask) -> None:
        """Start a task immediately, outside the queue."""
        self._beside.append(task)
        task.ended.connect(self._on_ended_beside)
        task.start()

    def train(self, request: TrainingRequest) -> TrainingTask:
        """Start a training beside the queue and return its task.

        Raises
        ------
        RegistrationError
            When another training is running: two would only slow each other down.
        """
        if self.training is not None:
            raise RegistrationError(
                _("The training '{name}' is running.").format(name=self.training.request.name),
                hint=_("Pause it first, or wait for its end."),
            )
        task = self.training = TrainingTask(request, make_process=self.make_process)
        task.ended.connect(self._on_trained)
        self.trained.emit(task)
        task.start()
        return task

    def remove(self, task: RegistrationTask) -> None:
        """Remove one run from the queue, canceling it when it is running; the others continue."""
        if task in self._waiting:
            self._waiting.remove(task)
            self.queued.emit()
        task.cancel()

    def cancel(self, message: str = "") -> None:
        """Cancel all running and waiting tasks."""
        waiting, self._waiting = list(self._waiting), deque()
        for task in waiting:
            task.cancel(message)
        self.queued.emit()
        if self.current is not None:
            self.current.cancel(message)

    def close_scene(self) -> None:
        """Cancel all tasks that would add something to the scene; queries and a training go on."""
        self.cancel(_("The scene was closed; the registration was canceled."))
        for task in self._beside:
            if not isinstance(task, QueryTask):
                task.cancel(_("The scene was closed; nothing was added."))

    def shut_down(self) -> None:
        """Kill everything but a training, which writes a checkpoint: the module is reloaded or Slicer exits."""
        slicer.app.disconnect("aboutToQuit()", self.shut_down)
        for signal in (self.started, self.changed, self.published, self.finished):
            signal.disconnect()
        for signal in (self.logged, self.queued, self.idle, self.trained):
            signal.disconnect()
        self._waiting.clear()
        tasks = (*self._beside, self.training, self.current)
        self._beside, self.training, self.current = [], None, None
        for task in tasks:
            if task is not None:
                task.shut_down()
        end_idle_workers()

    def _next(self) -> None:
        if not self._waiting:
            self.current = None
            self.queued.emit()
            self.idle.emit()
            return
        task = self.current = self._waiting.popleft()
        task.changed.connect(self.changed.emit)
        task.logged.connect(self.logged.emit)
        task.published.connect(self.published.emit)
        task.ended.connect(self._on_ended)
        self.queued.emit()
        self.started.emit(task)
        task.start()

    def _on_trained(self, task: TrainingTask) -> None:
        self.training = None
        self.trained.emit(task)

    def _on_ended_beside(self, task: WorkerTask) -> None:
        self._beside = [other for other in self._beside if other is not task]

    def _on_ended(self, task: Any) -> None:
        if task is not self.current:
            return
        self.done += 1
        self.finished.emit(task)
        self._next()
