"""Registration from Python: the same background runs as the panel's, awaited or followed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer

from ..core.device import Compute
from ..core.errors import Cancelled, RegistrationError
from ..mrml.inputs import Inputs
from ..mrml.outputs import Targets
from ..mrml.runs import Run
from ..mrml.snapshot import snapshot
from ..worker.job import new_job_folder
from ..worker.session import CANCELLED, FAILED, FINISHED, REJECTED
from .attempt import Attempt
from .background import Background
from .offers import default_engine, offers
from .requests import Request
from .runner import Runner

PAUSE_S = 0.01


class Handle:
    """Registrations that run in the background.

    Parameters
    ----------
    attempts : sequence of Attempt
        What was queued.
    """

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self._attempts = list(attempts)

    @property
    def fraction(self) -> float:
        """Done part of all of them, 0 to 1."""
        return sum(1.0 if attempt.is_over else attempt.fraction for attempt in self._attempts) / len(self._attempts)

    @property
    def stage(self) -> str:
        """What is being done."""
        return next((attempt.stage for attempt in self._attempts if not attempt.is_over), "")

    @property
    def states(self) -> list[str]:
        """State of each: 'waiting' ... 'finished', 'cancelled', 'rejected' or 'failed'."""
        return [attempt.state for attempt in self._attempts]

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return all(attempt.is_over for attempt in self._attempts)

    @property
    def runs(self) -> list[Run]:
        """The runs that finished."""
        return [attempt.run for attempt in self._attempts if attempt.state == FINISHED]

    def on_progress(self, listener: Callable[[float, str], None]) -> Handle:
        """Call `listener(fraction, stage)` whenever there is progress."""
        for attempt in self._attempts:
            attempt.changed.connect(lambda _attempt: listener(self.fraction, self.stage))
        return self

    def on_finished(self, listener: Callable[[Handle], None]) -> Handle:
        """Call `listener(handle)` once all have ended, well or not."""

        def told(_attempt: Attempt) -> None:
            if self.over:
                listener(self)

        for attempt in self._attempts:
            attempt.ended.connect(told)
        return self

    def cancel(self) -> None:
        """Stop them all."""
        for attempt in reversed(self._attempts):
            attempt.cancel()

    def wait(self, timeout_s: float | None = None) -> list[Run]:
        """Return the runs once all have ended; Slicer goes on handling events meanwhile.

        Raises
        ------
        RegistrationError
            When a run was rejected; the hint says what to do.
        Cancelled
            When one was cancelled.
        RuntimeError
            When one failed.
        TimeoutError
            When they have not ended within `timeout_s` seconds.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.over:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"The registration is still running after {timeout_s} s.")
            slicer.app.processEvents()
            time.sleep(PAUSE_S)
        for attempt in self._attempts:
            _require(attempt)
        return self.runs


class Console:
    """What the module's logic offers to scripts.

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
        attempts = self._runner.submit(
            Request(
                inputs=inputs,
                engine=engine or default_engine(offers()),
                preset=preset,
                settings=settings,
                compute=compute or Compute(),
                targets=targets,
                parameter_node=self._parameter_node,
            )
            for engine, preset, settings in entries
        )
        return Handle(attempts)

    def evaluate(self, inputs: Inputs, *, threads: int = 0) -> dict[str, dict[str, Any]]:
        """Return the measures before and after `inputs.initial` is applied, measured in a thread."""
        if inputs.initial is None:
            raise RegistrationError("There is no transform to evaluate.", hint="Give the transform node.")
        copied = snapshot(inputs)
        folder = new_job_folder(Path(slicer.app.temporaryPath))
        ended: list[tuple[Any, BaseException | None]] = []

        def work() -> dict[str, dict[str, Any]]:
            from ..core.api import evaluate, load_pair

            files: dict[str, Any] = {role: folder / name for role, name in copied.write(folder).items()}
            pair = load_pair(files.pop("fixed"), files.pop("moving"), **files)
            found = evaluate(pair.replace(initial=None), pair.initial, threads=threads)
            return {"before": dict(found.before), "after": dict(found.after)}

        try:
            background = Background(work, lambda value, error: ended.append((value, error))).start()
            while not ended:
                slicer.app.processEvents()
                time.sleep(PAUSE_S)
            del background
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        value, error = ended[0]
        if error is not None:
            raise error
        return dict(value)


def _require(attempt: Attempt) -> None:
    if attempt.state == REJECTED:
        raise RegistrationError(attempt.message, hint=attempt.hint)
    if attempt.state == CANCELLED:
        raise Cancelled(attempt.message)
    if attempt.state == FAILED:
        raise RuntimeError(f"{attempt.message} {attempt.hint}".strip())
