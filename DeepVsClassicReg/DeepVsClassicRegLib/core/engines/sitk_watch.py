"""Progress, metric trace and cancel check of SimpleITK's registration filters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import EngineFailed
from ..progress import Progress
from .base import Recorder


class Watch:
    """Observes one run of a SimpleITK process object.

    An exception must not leave SimpleITK's callback. It is stored, the filter is aborted, and `guard` raises the
    exception again after the filter has returned.

    Parameters
    ----------
    process : sitk.ProcessObject
        The filter or registration method.
    progress : Progress
        Progress of this part of the job.
    recorder : Recorder
        Receives the metric of every iteration.
    """

    def __init__(self, process: Any, progress: Progress, recorder: Recorder) -> None:
        self.process, self.progress, self.recorder = process, progress, recorder
        self._raised: BaseException | None = None

    def on(self, event: int, report: Callable[[], None]) -> None:
        """Call `report` at every event of this kind; an exception aborts the filter."""
        self.process.AddCommand(event, lambda: self._guarded(report))

    def note(self, fraction: float, stage: str, iteration: int, metric: float) -> None:
        """Report an iteration."""
        finite = math.isfinite(metric)
        if finite:
            self.recorder.trace(stage, iteration, metric)
        self.progress.report(fraction, stage, metric=metric if finite else None, iteration=iteration)

    @contextlib.contextmanager
    def guard(self, hint: str) -> Iterator[None]:
        """Run the filter inside the block; raise the exception of a callback, or `EngineFailed`."""
        try:
            yield
        except RuntimeError as error:
            if self._raised is None:
                complaint = str(error).strip().splitlines()[-1]
                raise EngineFailed(f"SimpleITK stopped: {complaint}", hint=hint) from error
        finally:
            self.process.RemoveAllCommands()
        if self._raised is not None:
            raise self._raised

    def _guarded(self, report: Callable[[], None]) -> None:
        if self._raised is not None:
            return
        try:
            report()
        except BaseException as error:
            self._raised = error
            self.process.Abort()
