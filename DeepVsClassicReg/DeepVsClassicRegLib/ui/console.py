"""Registration from Python: background runs as in the panel, blocking or with progress callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..core.job import EVALUATE, RECOMMEND
from ..mrml.inputs import Inputs
from ..mrml.outputs import Targets
from ..mrml.runs import Run
from ..worker.session import FINISHED, JobOutcome
from .dependencies import default_engine, engine_availability
from .runner import Runner
from .tasks import (
    QueryTask,
    RegistrationRequest,
    RegistrationTask,
    SharedStart,
    WorkerTask,
    repair_request,
)
from .training_task import TrainingRequest, TrainingTask

POLL_S = 0.01


class Handle:
    """Registrations that run in the background.

    Parameters
    ----------
    tasks : sequence of RegistrationTask
        The queued registrations.
    """

    def __init__(self, tasks: Sequence[RegistrationTask]) -> None:
        self._tasks = list(tasks)

    @property
    def fraction(self) -> float:
        """Completed fraction of all of them, 0 to 1."""
        return sum(1.0 if task.is_over else task.fraction for task in self._tasks) / len(self._tasks)

    @property
    def stage(self) -> str:
        """What is being done."""
        return next((task.stage for task in self._tasks if not task.is_over), "")

    @property
    def states(self) -> list[str]:
        """State of each, from 'waiting' to 'finished', 'cancelled', 'rejected' or 'failed'."""
        return [task.state for task in self._tasks]

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return all(task.is_over for task in self._tasks)

    @property
    def runs(self) -> list[Run]:
        """The runs that finished."""
        return [task.run for task in self._tasks if task.state == FINISHED]

    def on_progress(self, listener: Callable[[float, str], None]) -> Handle:
        """Call `listener(fraction, stage)` whenever there is progress."""
        for task in self._tasks:
            task.changed.connect(lambda _task: listener(self.fraction, self.stage))
        return self

    def on_finished(self, listener: Callable[[Handle], None]) -> Handle:
        """Call `listener(handle)` once all have ended, with success or not."""

        def on_ended(_task: RegistrationTask) -> None:
            if self.over:
                listener(self)

        for task in self._tasks:
            task.ended.connect(on_ended)
        return self

    def cancel(self) -> None:
        """Cancel all of them."""
        for task in reversed(self._tasks):
            task.cancel()

    def wait(self, timeout_s: float | None = None) -> list[Run]:
        """Wait until all have ended and return the runs; Slicer handles events meanwhile.

        Raises
        ------
        RegistrationError
            When a run was rejected; the hint says what to do.
        Cancelled
            When one was canceled.
        RuntimeError
            When one failed.
        TimeoutError
            When they have not ended within `timeout_s` seconds.
        """
        _await(self._tasks, timeout_s)
        return self.runs


class Answer:
    """The answer to a query that runs in the background.

    Parameters
    ----------
    query : QueryTask
        The running query.
    key : str
        The key of the answer in the worker's result.
    """

    def __init__(self, query: QueryTask, key: str) -> None:
        self._query, self._key = query, key

    @property
    def fraction(self) -> float:
        """Completed fraction, 0 to 1."""
        return self._query.fraction

    @property
    def stage(self) -> str:
        """What is being done."""
        return self._query.stage

    @property
    def over(self) -> bool:
        """Whether it has ended, with success or not."""
        return self._query.is_over

    def on_finished(self, listener: Callable[[Answer], None]) -> Answer:
        """Call `listener(answer)` once it has ended, with success or not."""
        self._query.ended.connect(lambda _query: listener(self))
        return self

    def cancel(self) -> None:
        """Cancel the query."""
        self._query.cancel()

    def wait(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait for the answer and return it; Slicer handles events meanwhile. Raises as `Handle.wait` does."""
        _await([self._query], timeout_s)
        return dict(self._query.answer[self._key])


class TrainingHandle:
    """A training that runs in the background.

    Parameters
    ----------
    task : TrainingTask
        The running training.
    """

    def __init__(self, task: TrainingTask) -> None:
        self._task = task

    @property
    def fraction(self) -> float:
        """Completed fraction of its hours, 0 to 1."""
        return self._task.share

    @property
    def stage(self) -> str:
        """What is being done: step, seconds per step and best validation Dice."""
        return self._task.stage

    @property
    def over(self) -> bool:
        """Whether it has ended: as a model, canceled with a checkpoint, or with an error."""
        return self._task.is_over

    def on_finished(self, listener: Callable[[TrainingHandle], None]) -> TrainingHandle:
        """Call `listener(handle)` once it has ended."""
        self._task.ended.connect(lambda _task: listener(self))
        return self

    def cancel(self) -> None:
        """Stop with a checkpoint; `resumeTraining` continues it."""
        self._task.cancel()

    def finish(self) -> None:
        """Stop, and add the best weights so far to the models."""
        self._task.finish_now()

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait for the end and return the name of the model; Slicer handles events meanwhile.

        Raises as `Handle.wait` does.
        """
        _await([self._task], timeout_s)
        return self._task.model


class Console:
    """The Python interface of the module's logic.

    Parameters
    ----------
    runner : Runner
        Runs the registrations; shared with the panel.
    parameter_node : callable
        Returns the module's parameter node, which keeps the runs in the scene.
    """

    def __init__(self, runner: Runner, parameter_node: Callable[[], Any]) -> None:
        self._runner, self._parameter_node = runner, parameter_node

    def queue(
        self,
        inputs: Inputs,
        entries: Sequence[tuple[str, str, Mapping[str, Any]]],
        *,
        targets: Targets | None = None,
        compute: Compute | None = None,
    ) -> Handle:
        """Queue (engine, preset, settings) entries on one pair and return their handle."""
        shared = SharedStart() if len(entries) > 1 else None
        tasks = self._runner.submit(
            RegistrationRequest(
                inputs=inputs,
                engine=engine or default_engine(engine_availability()),
                preset=preset,
                settings=settings,
                compute=compute or Compute(),
                targets=targets,
                parameter_node=self._parameter_node,
                shared_start=shared,
            )
            for engine, preset, settings in entries
        )
        return Handle(tasks)

    def repair(
        self, run: Run, fixed_points: Any, moving_points: Any, settings: Mapping[str, Any], compute: Compute
    ) -> Handle:
        """Queue the repair of a run around landmarks and return its handle."""
        request = repair_request(
            run,
            fixed_points,
            moving_points,
            compute=compute,
            parameter_node=self._parameter_node,
            settings=settings,
        )
        return Handle(self._runner.submit([request]))

    def train(self, request: TrainingRequest) -> TrainingHandle:
        """Start or resume a training and return its handle."""
        return TrainingHandle(self._runner.train(request))

    def recommend(self, inputs: Inputs, options: Mapping[str, Any], compute: Compute) -> Answer:
        """Start the query for a recommendation and return its handle."""
        return Answer(self._runner.query(RECOMMEND, inputs, compute, options=options), "advice")

    def evaluate(self, inputs: Inputs, compute: Compute) -> Answer:
        """Start measuring the pair before and after `inputs.initial` is applied and return the handle."""
        if inputs.initial is None:
            raise RegistrationError(_("There is no transform to evaluate."), hint=_("Pass the transform node."))
        return Answer(self._runner.query(EVALUATE, inputs, compute), "measures")


def _await(tasks: Sequence[WorkerTask], timeout_s: float | None) -> None:
    """Handle events until all have ended, then raise the error of the first one without a result."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    while not all(task.is_over for task in tasks):
        if end is not None and time.monotonic() > end:
            raise TimeoutError(_("It is still running after {seconds} s.").format(seconds=timeout_s))
        slicer.app.processEvents()
        time.sleep(POLL_S)
    for task in tasks:
        JobOutcome(task.state, task.message, task.hint).require()
