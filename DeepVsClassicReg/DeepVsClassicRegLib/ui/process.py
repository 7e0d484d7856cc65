"""Runs jobs in warm workers, each in a QProcess, and passes their output to the worker's session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt

from ..core.errors import RegistrationError
from ..worker.job_folder import task_of
from ..worker.processes import worker_command, worker_environment
from ..worker.protocol import patience_s, run_request
from ..worker.session import JobOutcome, Session
from .scheduling import Signal

END_WAIT_MS = 1000


_idle: list[Any] = []  # QProcesses of warm workers whose job has ended, for the next job


def end_idle_workers() -> None:
    """End the warm workers that wait for a job."""
    while _idle:
        process = _idle.pop()
        process.closeWriteChannel()
        process.waitForFinished(END_WAIT_MS)


class WorkerProcess:
    """One job of a warm worker, without blocking the panel.

    Parameters
    ----------
    folder : Path
        The job folder with its job.json.

    Attributes
    ----------
    happened : Signal
        Emits every `Event`.
    ended : Signal
        Emits the `JobOutcome`, once.
    """

    def __init__(self, folder: Path) -> None:
        self.session = Session(folder)
        self.happened, self.ended = Signal(), Signal()
        self._process = _idle_process() or qt.QProcess()
        for signal, slot in self._slots:
            self._process.connect(signal, slot)
        self.kill_timer = qt.QTimer()
        self.kill_timer.setSingleShot(True)
        self.kill_timer.interval = int(1000 * patience_s(task_of(folder)))
        self.kill_timer.connect("timeout()", self.kill)

    @property
    def _slots(self) -> tuple[tuple[str, Any], ...]:
        return (
            ("readyReadStandardOutput()", self._on_output),
            ("readyReadStandardError()", self._on_log),
            ("errorOccurred(QProcess::ProcessError)", self._on_error),
            ("finished(int,QProcess::ExitStatus)", self._on_finished),
        )

    @property
    def pid(self) -> int:
        """Id of the process that was started, 0 when there is none."""
        return int(self._process.processId())

    def start(self) -> None:
        """Start the job, and a worker when none is idle; a failure is reported through `ended`."""
        try:
            if not self.pid:
                self._start_worker()
        except RegistrationError as error:
            self._end(self.session.not_started(str(error)))
            return
        self._process.write(run_request(self.session.folder.resolve()))

    def _start_worker(self) -> None:
        program, *arguments = worker_command()
        environment = qt.QProcessEnvironment()
        for name, value in worker_environment().items():
            environment.insert(name, value)
        self._process.setProcessEnvironment(environment)
        self._process.start(program, arguments)

    def cancel(self) -> None:
        """Ask the worker to stop; when it does not within the time of its task, it is killed."""
        if self.session.outcome is not None:
            return
        self._process.write(self.session.cancel())
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
        if self.session.is_over and self.session.outcome is None:
            self._keep()
            self._end(self.session.finish(self.session.ended_code))

    def _keep(self) -> None:
        """Keep the worker for the next job."""
        for signal, slot in self._slots:
            self._process.disconnect(signal, slot)
        _idle.append(self._process)

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


def _idle_process() -> Any:
    """Return the process of an idle worker, None when there is none."""
    while _idle:
        process = _idle.pop()
        if int(process.processId()):
            return process
    return None


def _bytes(data: Any) -> bytes:
    """Return the content of a QByteArray (PythonQt may return None for an empty one)."""
    return bytes(data.data() or b"")
