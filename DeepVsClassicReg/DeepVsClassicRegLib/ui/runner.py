"""The queue of registrations: one after the other, shared by the panel and the console."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import slicer

from ..core.device import Compute
from ..mrml.inputs import Inputs
from .attempt import Attempt
from .errand import Errand, MakeProcess
from .process import WorkerProcess
from .question import Question
from .requests import Request
from .signals import Signal


class Runner:
    """Runs requests one after the other in the background.

    Parameters
    ----------
    make_process : callable, optional
        Makes what computes, `WorkerProcess(folder, compute)`; tests put a fake here.

    Attributes
    ----------
    started, changed, finished : Signal
        Emit the attempt.
    logged : Signal
        Emits a line of the log.
    queued : Signal
        Emitted whenever the queue changed.
    idle : Signal
        Emitted when the queue is empty.
    """

    def __init__(self, *, make_process: MakeProcess = WorkerProcess) -> None:
        self._make_process = make_process
        self._waiting: deque[Attempt] = deque()
        self._questions: list[Question] = []
        self.current: Attempt | None = None
        self.done = 0
        self.started, self.changed, self.finished = Signal(), Signal(), Signal()
        self.logged, self.queued, self.idle = Signal(), Signal(), Signal()
        slicer.app.connect("aboutToQuit()", self.shut_down)

    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        return self.current is not None

    @property
    def waiting(self) -> tuple[Attempt, ...]:
        """What waits, the next one first."""
        return tuple(self._waiting)

    @property
    def total(self) -> int:
        """Number of attempts since the queue was last empty, the running and waiting ones included."""
        return self.done + len(self._waiting) + (1 if self.current else 0)

    def submit(self, requests: Iterable[Request]) -> list[Attempt]:
        """Queue requests and return their attempts; the first begins at once when nothing runs."""
        attempts = [Attempt(request, make_process=self._make_process) for request in requests]
        self._waiting.extend(attempts)
        if not self.busy:
            self.done = 0
            self._next()
        self.queued.emit()
        return attempts

    def ask(self, task: str, inputs: Inputs, compute: Compute, *, options: Mapping[str, Any] | None = None) -> Question:
        """Start a question at once, beside the queue, and return it; connect to its signals before events go on."""
        question = Question(task, inputs, compute, options=options, make_process=self._make_process)
        self._questions.append(question)
        question.ended.connect(self._on_answered)
        question.start()
        return question

    def remove(self, attempt: Attempt) -> None:
        """Take one run out of the queue, cancelling it when it runs already; the others go on."""
        if attempt in self._waiting:
            self._waiting.remove(attempt)
            self.queued.emit()
        attempt.cancel()

    def cancel(self, message: str = "") -> None:
        """Cancel everything that runs or waits."""
        waiting, self._waiting = list(self._waiting), deque()
        for attempt in waiting:
            attempt.cancel(message)
        self.queued.emit()
        if self.current is not None:
            self.current.cancel(message)

    def shut_down(self) -> None:
        """End everything at once: the module is reloaded or Slicer exits."""
        slicer.app.disconnect("aboutToQuit()", self.shut_down)
        for signal in (self.started, self.changed, self.finished, self.logged, self.queued, self.idle):
            signal.disconnect()
        self._waiting.clear()
        questions, self._questions = self._questions, []
        for question in questions:
            question.shut_down()
        attempt, self.current = self.current, None
        if attempt is not None:
            attempt.shut_down()

    def _next(self) -> None:
        if not self._waiting:
            self.current = None
            self.queued.emit()
            self.idle.emit()
            return
        attempt = self.current = self._waiting.popleft()
        attempt.changed.connect(self.changed.emit)
        attempt.logged.connect(self.logged.emit)
        attempt.ended.connect(self._on_ended)
        self.queued.emit()
        self.started.emit(attempt)
        attempt.start()

    def _on_answered(self, question: Errand) -> None:
        self._questions = [other for other in self._questions if other is not question]

    def _on_ended(self, attempt: Any) -> None:
        if attempt is not self.current:
            return
        self.done += 1
        self.finished.emit(attempt)
        self._next()
