"""The state of a worker as seen by its parent: converts bytes to events and an outcome, independent of processes.

The command line passes it the output of `subprocess`, the panel that of `QProcess`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import Cancelled, FileError, RegistrationError
from ..core.files import read_json
from ..core.job import OUTPUT_FOLDER, RESULT_FILE
from .job_folder import clean_up
from .processes import kill_groups
from .protocol import (
    CANCEL,
    END_OF_LOG,
    ENDED,
    EXIT_BUG,
    EXIT_CANCELLED,
    EXIT_RESULT,
    EXIT_USER,
    Decoder,
    Event,
    LineSplitter,
)

WAITING, RUNNING, CANCELLING = "waiting", "running", "cancelling"
FINISHED, FAILED, REJECTED, CANCELLED = "finished", "failed", "rejected", "cancelled"
LOG_LINES = 5000


@dataclass(frozen=True)
class JobOutcome:
    """How a run ended.

    Attributes
    ----------
    state : str
        'finished' (there is a result), 'cancelled', 'rejected' (a user error) or 'failed' (a bug, a crash
        or a killed process).
    message, hint : str
        What happened and what to do, when there is no result.
    result : mapping
        The content of result.json; empty when there is no result.
    files : mapping of str to Path
        The files written, by entry of `job.OUTPUTS`.
    exit_code : int or None
        Exit code of the worker; None when it could not be started.
    log : tuple of str
        The last lines of its log.
    """

    state: str
    message: str = ""
    hint: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    exit_code: int | None = None
    log: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.state == FINISHED

    @property
    def code(self) -> int:
        """The exit code for the calling program."""
        return {FINISHED: EXIT_RESULT, REJECTED: EXIT_USER, CANCELLED: EXIT_CANCELLED}.get(self.state, EXIT_BUG)

    def require(self) -> JobOutcome:
        """Return this outcome, or raise an error when there is no result.

        Raises
        ------
        RegistrationError
            When the run was rejected.
        Cancelled
            When it was canceled.
        RuntimeError
            When it failed.
        """
        if self.state == REJECTED:
            raise RegistrationError(self.message, hint=self.hint)
        if self.state == CANCELLED:
            raise Cancelled(self.message)
        if self.state == FAILED:
            raise RuntimeError(f"{self.message} {self.hint}".strip())
        return self


class Session:
    """Follows one run of a worker.

    Parameters
    ----------
    folder : path
        The job folder.

    Attributes
    ----------
    state : str
        'waiting', 'running', 'cancelling', and at the end an outcome's state.
    fraction, stage, metric
        The latest progress.
    outcome : JobOutcome or None
        The outcome; None while it is running.
    ended_code : int or None
        Exit code of the job that a warm worker has sent; None while it is running and for other workers.
    log_ended : bool
        Whether a warm worker has sent the whole log of the job.

    Examples
    --------
    >>> session = Session(Path("job"))
    >>> session.feed(b'{"event":"progress","fraction":0.5,"stage":"Affine"}' + bytes([10]))[0].kind
    'progress'
    >>> session.fraction, session.stage
    (0.5, 'Affine')
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = WAITING
        self.fraction = 0.0
        self.stage = ""
        self.metric: float | None = None
        self.notes: list[str] = []
        self.outcome: JobOutcome | None = None
        self.ended_code: int | None = None
        self.log_ended = False
        self._error: Mapping[str, Any] = {}
        self.groups: list[int] = []
        self._events, self._lines = Decoder(), LineSplitter()
        self._log: deque[str] = deque(maxlen=LOG_LINES)

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes of the worker's standard output and return the events they complete."""
        return [self._take(event) for event in self._events.feed(data)]

    def feed_log(self, data: bytes) -> list[Event]:
        """Take bytes of the worker's standard error and return the lines they complete as 'log' events."""
        return self._take_lines(self._lines.feed(data))

    @property
    def is_over(self) -> bool:
        """Whether a warm worker has sent everything of this job: its last event and the end of its log."""
        return self.ended_code is not None and self.log_ended

    def cancel(self) -> bytes:
        """Record the cancel request and return the bytes to write to the worker's standard input.

        Close the standard input afterwards; after `protocol.patience_s` seconds call `kill`.
        """
        if self.outcome is None:
            self.state = CANCELLING
        return CANCEL

    def kill(self, pid: int | None = None) -> None:
        """Kill the worker and all its child processes.

        Parameters
        ----------
        pid : int, optional
            The started process, used until the worker has sent its own id; with a launcher (PythonSlicer) the two
            processes differ.
        """
        kill_groups([*self.groups, pid])

    def not_started(self, reason: str) -> JobOutcome:
        """Record that the worker could not be started and return the outcome."""
        return self._end(
            JobOutcome(FAILED, f"The registration process could not be started: {reason}.", "Reinstall the extension.")
        )

    def finish(self, exit_code: int | None, *, killed: bool = False) -> JobOutcome:
        """Record the end of the worker and return the outcome.

        Parameters
        ----------
        exit_code : int or None
            Its exit code, if known.
        killed : bool
            Whether it was killed by a signal (QProcess: CrashExit), so that the code has no meaning.
        """
        if self.outcome is not None:
            return self.outcome
        for event in self._events.finish():
            self._take(event)
        self._take_lines(self._lines.finish())
        if killed or exit_code not in (EXIT_RESULT, EXIT_BUG, EXIT_USER, EXIT_CANCELLED):
            self.kill()
            clean_up(self.folder)
            return self._end(self._killed(exit_code))
        return self._end(self._judged(exit_code))

    def _take(self, event: Event) -> Event:
        data = event.data
        if self.state == WAITING:
            self.state = RUNNING
        if event.kind == "started":
            self.groups = [number for key in ("pid", "group") if isinstance(number := data.get(key), int)]
        elif event.kind == "progress":
            self.fraction = max(self.fraction, float(data.get("fraction", 0.0)))
            self.stage, self.metric = str(data.get("stage", "")), data.get("metric")
        elif event.kind == "note":
            self.notes.append(event.text)
        elif event.kind == "error":
            self._error = data
        elif event.kind == ENDED:
            self.ended_code = int(data.get("code", EXIT_BUG))
        elif event.kind in ("log", "noise"):
            self._log.append(event.text)
        return event

    def _take_lines(self, lines: list[str]) -> list[Event]:
        self.log_ended = self.log_ended or END_OF_LOG in lines
        return [self._take(Event("log", {"text": line})) for line in lines if line != END_OF_LOG]

    def _judged(self, exit_code: int | None) -> JobOutcome:
        if exit_code == EXIT_CANCELLED:
            return JobOutcome(CANCELLED, "Canceled.", exit_code=exit_code)
        if exit_code == EXIT_RESULT:
            return self._result()
        message = str(self._error.get("message") or f"The registration process ended with exit code {exit_code}.")
        state = REJECTED if exit_code == EXIT_USER else FAILED
        return JobOutcome(state, message, str(self._error.get("hint", "")), exit_code=exit_code)

    def _result(self) -> JobOutcome:
        try:
            result = read_json(self.folder / RESULT_FILE)
        except FileError as error:
            return JobOutcome(FAILED, f"The registration ended without a result ({error}).", exit_code=EXIT_RESULT)
        out = self.folder / OUTPUT_FOLDER
        files = {name: out / path for name, path in result.get("files", {}).items()}
        return JobOutcome(FINISHED, result=result, files=files, exit_code=EXIT_RESULT)

    def _killed(self, exit_code: int | None) -> JobOutcome:
        if self.state == CANCELLING:
            return JobOutcome(CANCELLED, "Canceled.", exit_code=exit_code)
        return JobOutcome(
            FAILED,
            str(self._error.get("message") or "The registration process was killed."),
            str(self._error.get("hint") or "It may have run out of memory; try a coarser preset."),
            exit_code=exit_code,
        )

    def _end(self, outcome: JobOutcome) -> JobOutcome:
        self.outcome = JobOutcome(**{**outcome.__dict__, "log": tuple(self._log)})
        self.state = outcome.state
        return self.outcome
