"""Runs the tasks of a cohort with dask: bounded submission, lost workers and schedulers, cancel, and progress."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileError, RegistrationError
from ..progress import Progress
from .cluster import LOSSES, ClusterOptions, connected, dashboard_link, reconnect
from .records import DONE, FAILED, PairRecord, PairTask, failed_record, finished_record

log = logging.getLogger(__name__)
Execute = Callable[[PairTask], PairRecord]
# Tasks known to the scheduler at a time: enough to keep the workers busy, few enough to bound the client's memory.
WINDOW = 1000
POLL_S = 0.02
IDLE_S = 0.2  # while nothing ends
REPORT_S = 1.0
STOP_S = 15.0
# The scheduler may be away this long before the run ends (everything finished is kept).
AWAY_S = 120.0
LEAST_SPACE = 16 << 20
CANCELED = "canceled"


@dataclass
class Counts:
    """Progress of a cohort.

    Attributes
    ----------
    total : int
        Number of tasks.
    reused, done, failed : int
        Tasks that were already done, that were finished now, and that failed.
    """

    total: int
    reused: int = 0
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> int:
        """Number of tasks with a result or a failure."""
        return self.reused + self.done + self.failed

    def text(self) -> str:
        """Return the progress in words, with rate and remaining time."""
        now, computed = time.monotonic() - self.started, self.done + self.failed
        parts = [f"{self.ended} of {self.total} registrations"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if computed and now > 0:
            rate = computed / now
            parts.append(f"{60 * rate:.3g} a minute")
            parts.append(f"{duration(max(0, self.total - self.ended) / rate)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as text.

    Examples
    --------
    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2 h 30 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def run_tasks_of_cohort(
    tasks: Iterable[PairTask],
    execute: Execute,
    options: ClusterOptions,
    *,
    total: int,
    out: Path,
    stop_file: Path,
    on_record: Callable[[PairRecord], None],
    on_dashboard: Callable[[str], None],
    progress: Progress,
    window: int = WINDOW,
) -> Counts:
    """Run all tasks that are not done yet and report every record; a failed task stops nothing.

    Parameters
    ----------
    tasks : iterable of PairTask
        Consumed step by step.
    execute : callable
        Computes one task on a worker; an importable function. It writes the record, and returns at once when the task
        is done already.
    options : ClusterOptions
        Where to compute.
    total : int
        Number of tasks.
    out : Path
        Folder of the cohort; the run ends when its disk is full.
    stop_file : Path
        Written on cancel: tasks that are being computed end when it exists.
    on_record, on_dashboard : callable
        Receive every record, and the address of the dashboard of dask.
    progress : Progress
        Receives progress updates and can cancel.
    window : int
        Largest number of tasks at the scheduler.

    Raises
    ------
    RegistrationError
        When dask is missing, the scheduler does not answer, or the disk is full.
    Cancelled, KeyboardInterrupt
        When the user canceled; what was finished is kept.
    """
    counts = Counts(total)
    source = _missing(tasks, counts, on_record, progress)
    first = next(source, None)
    if first is None:
        return counts
    counts.started = time.monotonic()
    with connected(options) as client:
        on_dashboard(dashboard_link(client, options))
        run = _Run(client, options, execute, itertools.chain([first], source), window)
        try:
            for record in run.records(lambda: progress.report(counts.ended / total, counts.text())):
                _count(record, counts)
                on_record(record)
                if record.status == FAILED:
                    require_space(out, counts)
        except BaseException:
            run.stop(stop_file)
            raise
        finally:
            run.close()
    progress.report(1.0, counts.text())
    return counts


def _missing(
    tasks: Iterable[PairTask], counts: Counts, on_record: Callable[[PairRecord], None], progress: Progress
) -> Iterator[PairTask]:
    """Yield the tasks that are not done; report the records of the others."""
    for task in tasks:
        record = finished_record(task)
        if record is None:
            yield task
            continue
        counts.reused += 1
        on_record(record)
        if counts.reused % WINDOW == 0:
            progress.report(counts.ended / counts.total, f"{counts.reused} registrations of an earlier run are kept")


def _count(record: PairRecord, counts: Counts) -> None:
    if record.status == DONE:
        counts.done += 1
    elif record.status == FAILED:
        counts.failed += 1


def require_space(out: Path, counts: Counts) -> None:
    """Raise `FileError` when the disk of a folder is full: every further pair would fail as well."""
    free = shutil.disk_usage(out).free
    if free < LEAST_SPACE:
        raise FileError(
            f"The disk of {out} is full ({free / 1e6:.1f} MB free) after {counts.reused + counts.done} of "
            f"{counts.total} registrations; all of these are kept.",
            hint="Free some space and repeat the command: it continues. `--outputs transform` needs less.",
        )


class _Run:
    """The tasks of a cohort at a scheduler.

    Parameters
    ----------
    client : distributed.Client
        Connection to the scheduler.
    options : ClusterOptions
        For a new connection when a scheduler was restarted.
    execute : callable
        Computes a task.
    source : iterator of PairTask
        The tasks.
    window : int
        Largest number of tasks at the scheduler.
    """

    def __init__(
        self, client: Any, options: ClusterOptions, execute: Execute, source: Iterator[PairTask], window: int
    ) -> None:
        self.client, self.options, self.execute, self.window = client, options, execute, window
        self.source = source
        self.again: list[PairTask] = []
        self.waiting: dict[str, PairTask] = {}
        self.futures: dict[str, Any] = {}
        self.number = 0
        self.own_client: Any = None
        self.finished = self._collector()

    def records(self, report: Callable[[], None]) -> Iterator[PairRecord]:
        """Yield the records as tasks end; `report` is called about once a second."""
        reported, idle_s = 0.0, POLL_S
        while self._submit():
            if time.monotonic() - reported > REPORT_S:
                reported = time.monotonic()
                report()
            if self.client.status not in ("running", "connecting"):
                self._reconnect(report)
            if not self.finished.has_ready():
                time.sleep(idle_s)
                idle_s = min(2 * idle_s, IDLE_S)
                continue
            idle_s = POLL_S
            for future in self.finished.next_batch(block=False):
                record = self._record_of(future)
                if record is not None:
                    yield record
        report()

    def stop(self, stop_file: Path) -> None:
        """Cancel what has not started, and end what is being computed."""
        stop_file.touch()
        deadline = time.monotonic() + STOP_S
        try:
            running = {key for keys in self.client.processing().values() for key in keys}
            self.client.cancel([future for key, future in self.futures.items() if key not in running])
            while time.monotonic() < deadline and any(
                self.futures[key].status == "pending" for key in running & set(self.futures)
            ):
                time.sleep(POLL_S)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            log.debug("The scheduler did not answer while the run was stopped: %s", error)

    def close(self) -> None:
        """Close a connection that was made again."""
        if self.own_client is not None:
            self.own_client.close(timeout=5)

    def _collector(self) -> Any:
        from distributed import as_completed

        return as_completed([], loop=self.client.loop, with_results=False, raise_errors=False)

    def _submit(self) -> bool:
        """Fill the window up, in batches of half of it, and return whether tasks are left."""
        if len(self.waiting) <= self.window // 2:
            room = self.window - len(self.waiting)
            again, self.again = self.again[:room], self.again[room:]
            batch = [*again, *itertools.islice(self.source, room - len(again))]
            if batch:
                keys = [f"pair-{self.number + n}" for n in range(len(batch))]
                self.number += len(batch)
                futures = self.client.map(self.execute, batch, key=keys, retries=0)
                self.waiting.update(zip(keys, batch, strict=True))
                self.futures.update(zip(keys, futures, strict=True))
                self.finished.update(futures)
        return bool(self.waiting)

    def _record_of(self, future: Any) -> PairRecord | None:
        """Return the record of an ended task; None for one that a lost scheduler has forgotten, which runs again."""
        task = self.waiting.pop(future.key, None)
        self.futures.pop(future.key, None)
        if task is None:
            return None
        if future.status == "finished":
            # The scheduler can go away before it has sent the result.
            with contextlib.suppress(OSError, CancelledError):
                return future.result()
        if future.status in ("finished", "cancelled", "lost"):
            self.again.append(task)
            return None
        return _kept(task, *_reason(future.exception()))

    def _reconnect(self, report: Callable[[], None]) -> None:
        """Wait for a scheduler that went away, and run the tasks it had again; finished ones return at once."""
        if not self.options.is_address:
            raise RegistrationError("The scheduler of this computer has ended.", hint="Repeat the command.")
        log.warning("The scheduler at %s went away; waiting up to %.0f s for it.", self.options.scheduler, AWAY_S)
        self.again = [*self.waiting.values(), *self.again]
        self.waiting, self.futures = {}, {}
        deadline = time.monotonic() + AWAY_S
        while True:
            report()
            try:
                self.close()
                self.client = self.own_client = reconnect(self.options, timeout_s=5)
                break
            except RegistrationError:
                if time.monotonic() > deadline:
                    raise
        self.finished = self._collector()


def _reason(error: BaseException) -> tuple[str, str]:
    if type(error).__name__ == "KilledWorker":
        return (
            f"{LOSSES + 1} workers ended while they computed this pair.",
            "It probably needs more memory than a worker has: use --memory, or a coarser preset.",
        )
    return f"{type(error).__name__}: {error}", "This is an error of the program; see the log of the worker."


def _kept(task: PairTask, message: str, hint: str) -> PairRecord:
    """Return the record of a failed task, written where the worker could not write it."""
    record = failed_record(task, message, hint)
    try:
        folder = Path(task.folder)
        folder.mkdir(parents=True, exist_ok=True)
        record.write(folder)
    except (OSError, FileError) as error:
        log.warning("The failure of %s could not be recorded: %s", task.key, error)
    return record
