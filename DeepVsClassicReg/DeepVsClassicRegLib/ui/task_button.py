"""A button that starts a task of the worker and cancels it, with a line below that tells how it goes."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from ..core.errors import RegistrationError
from ..worker.session import FINISHED
from .runner import Runner
from .tasks import WorkerTask


class TaskButton:
    """Starts one task at a time outside the queue of registrations; while it runs, the button cancels it.

    Parameters
    ----------
    button, label : QPushButton, QLabel
        The button and the line of its messages.
    runner : Runner
        Runs the task.
    make : callable
        Returns the task; a `RegistrationError` is shown.
    finished : callable
        `finished(task)` returns what to say about the result.
    texts : tuple of (str, str)
        Text and tool tip of the button while nothing runs, then while a task runs.
    """

    def __init__(
        self,
        button: Any,
        label: Any,
        runner: Runner,
        *,
        make: Callable[[], WorkerTask],
        finished: Callable[[Any], str],
        texts: tuple[tuple[str, str], tuple[str, str]],
    ) -> None:
        self._button, self._label, self._runner = button, label, runner
        self._make, self._finished, self._texts = make, finished, texts
        self._task: WorkerTask | None = None
        self._problem = ""
        button.connect("clicked()", self._on_clicked)

    @property
    def busy(self) -> bool:
        """Whether its task is running."""
        return self._task is not None

    def allow(self, problem: str) -> None:
        """Enable the button, or disable it and show why nothing can be started."""
        self._problem = problem
        text, tip = self._texts[self.busy]
        self._button.text = text
        self._button.enabled = self.busy or not problem
        self._button.toolTip = tip if self.busy else problem or tip

    def say(self, text: str) -> None:
        """Show a line of plain text; none when it is empty."""
        self._label.text = html.escape(text)
        self._label.visible = bool(text)

    def close(self) -> None:
        """Forget the task; its worker is killed by the runner."""
        self._task = None

    def _on_clicked(self) -> None:
        if self._task is not None:
            self._task.cancel()
            return
        try:
            task = self._make()
        except RegistrationError as error:  # a package of the engine is missing
            self.say(str(error))
            return
        self._task = task
        task.changed.connect(self._on_progress)
        task.ended.connect(self._on_ended)
        self._runner.start_beside(task)
        self.allow(self._problem)

    def _on_progress(self, task: WorkerTask) -> None:
        if not task.is_over:
            self.say(f"{task.stage} ({round(100 * task.fraction)} %)")

    def _on_ended(self, task: WorkerTask) -> None:
        if task is not self._task:
            return
        self._task = None
        self.say(self._finished(task) if task.state == FINISHED else f"{task.message} {task.hint}".strip())
        self.allow(self._problem)
