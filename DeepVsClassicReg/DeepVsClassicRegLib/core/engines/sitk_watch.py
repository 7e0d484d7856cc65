"""Progress, metric trace and cancel of SimpleITK's own registration filters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import SimpleITK as sitk

from ..errors import EngineFailed
from ..progress import Progress
from .base import Recorder


class Watch:
    """Follows one run of a SimpleITK process object.

    An exception must not cross SimpleITK's callback, so a cancel is kept, the filter aborted, and the
    exception raised again by `guard` once the filter has returned.

    Parameters
    ----------
    process : sitk.ProcessObject
        The filter or registration method.
    progress : Progress
        The part of the job this run stands for.
    recorder : Recorder
        Gets the metric of every iteration.
    """

    def __init__(self, process: Any, progress: Progress, recorder: Recorder) -> None:
        self.process, self.progress, self.recorder = process, progress, recorder
        self._raised: BaseException | None = None

    def on(self, event: int, report: Callable[[], None]) -> None:
        """Call `report` at every event of this kind; what it raises aborts the filter."""
        self.process.AddCommand(event, lambda: self._guarded(report))

    def note(self, fraction: float, stage: str, iteration: int, metric: float) -> None:
        """Report an iteration."""
        finite = math.isfinite(metric)
        if finite:
            self.recorder.trace(stage, iteration, metric)
        self.progress.report(fraction, stage, metric=metric if finite else None, iteration=iteration)

    @contextlib.contextmanager
    def guard(self, hint: str) -> Iterator[None]:
        """Run the filter inside; raise what a callback raised, or `EngineFailed` with the filter's complaint."""
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


def watch_progress(watch: Watch) -> None:
    """Also look for a cancel at the filter's progress events, which come within an iteration."""
    watch.on(sitk.sitkProgressEvent, watch.progress.check)
