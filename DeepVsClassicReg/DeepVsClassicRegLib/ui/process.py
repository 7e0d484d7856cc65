"""Runs the worker in a QProcess and passes its output to the worker's session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..worker.job_folder import task_of
from ..worker.processes import worker_command, worker_environment
from ..worker.protocol import patience_s
from ..worker.session import JobOutcome, Session
from .scheduling import Signal

END_WAIT_MS = 1000


class WorkerProcess:
    """One run of the worker on a job folder, without blocking the panel.

    Parameters
    ----------
    folder : Path
        The job folder with its job.json.
    compute : Compute
        Device and threads, which set the environment of the process.

    Attributes
    ----------
    happened : Signal
        Emits every `Event`.
    ended : Signal
        Emits the `JobOutcome`, once.
    """

    def __init__(self, folder: Path, compute: Compute) -> None:
        self.session = Session(folder)
        self.happened, self.ended = Signal(), Signal()
        self._compute = compute
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._on_output)
        self._process.connect("readyReadStandardError()", self._on_log)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        self.kill_timer = qt.QTimer()
        self.kill_timer.setSingleShot(True)
        self.kill_timer.interval = int(1000 * patience_s(task_of(folder)))
        self.kill_timer.connect("timeout()", self.kill)

    @property
    def pid(self) -> int:
        """Id of the process that was started, 0 when there is none."""
        return int(self._process.processId())

    def start(self) -> None:
        """Start the worker; a failure is reported through `ended`."""
        try:
            program, *arguments = worker_command(self.session.folder)
        except RegistrationError as error:
            self._end(self.session.not_started(str(error)))
            return
        environment = qt.QProcessEnvironment()
        for name, value in worker_environment(self._compute).items():
            environment.insert(name, value)
        self._process.setProcessEnvironment(environment)
        self._process.start(program, arguments)

    def cancel(self) -> None:
        """Ask the worker to stop; when it does not within the time of its task, it is killed."""
        if self.session.outcome is not None:
            return
        self._process.write(self.session.cancel())
        self._process.closeWriteChannel()
        self.kill_timer.start()

    def kill(self) -> None:
        """Kill the worker and its child processes."""
        self.session.kill(self.pid or None)
        self._process.kill()

    def shut_down(self) -> None:
        """Kill the worker immediately without signals: the panel is closing."""
        self.happened.disconnect()
        self.ended.disconnect()
        self.kill_timer.stop()
        if self.session.outcome is None and self.pid:
            self.kill()
            self._process.waitForFinished(END_WAIT_MS)

    def leave(self) -> None:
        """Let the worker stop by itself, without signals: it writes a checkpoint after this program has ended."""
        self.happened.disconnect()
        self.ended.disconnect()
        self.kill_timer.stop()
        if self.session.outcome is None and self.pid:
            self._process.closeWriteChannel()
            self._process.waitForFinished(END_WAIT_MS)

    def _on_output(self) -> None:
        self._forward(self.session.feed(_bytes(self._process.readAllStandardOutput())))

    def _on_log(self) -> None:
        self._forward(self.session.feed_log(_bytes(self._process.readAllStandardError())))

    def _forward(self, events: list[Any]) -> None:
        for event in events:
            self.happened.emit(event)

    def _on_error(self, error: Any) -> None:
        # After every other error QProcess emits `finished`.
        if error == qt.QProcess.FailedToStart:
            self._end(self.session.not_started(self._process.errorString()))

    def _on_finished(self, code: int, status: Any) -> None:
        self._on_output()
        self._on_log()
        self._end(self.session.finish(int(code), killed=status == qt.QProcess.CrashExit))

    def _end(self, outcome: JobOutcome) -> None:
        self.kill_timer.stop()
        self.ended.emit(outcome)


def _bytes(data: Any) -> bytes:
    """Return the content of a QByteArray (PythonQt may return None for an empty one)."""
    return bytes(data.data() or b"")
