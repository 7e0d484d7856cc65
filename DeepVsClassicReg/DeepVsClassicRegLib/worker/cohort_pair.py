"""One pair of a cohort, computed as a job in its own processes, with limits of time and memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.cohort.records import RECORD_FILE, PairRecord, PairTask, failed_record, finished_record, record_of_report
from ..core.cohort.run import CANCELED
from ..core.errors import FileError, RegistrationError
from ..core.evaluation.report import read_report
from ..core.files import NO_SPACE
from ..core.job import Job
from .client import WorkerClient
from .idle import WarmWorkers
from .job_folder import HIDDEN, new_job_folder, publish
from .session import CANCELLED, JobOutcome

POLL_S = 0.2
LOCK_FILE = ".lock"
WORKERS = WarmWorkers()  # of this process, which dask starts once and gives one pair after another


def run_pair(task: PairTask) -> PairRecord:
    """Compute a task unless it is done, and return its record, which is also written.

    Two workers never compute the same task at a time: the second one waits and finds the result.

    Returns
    -------
    PairRecord
        Status 'done', 'failed' with a message, or 'canceled' (not written) when the stop file appeared.
    """
    started = time.monotonic()
    folder = Path(task.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _claimed(folder, task) as mine:
            if not mine:
                return PairRecord(pair=task.pair.name, engine=task.choice.engine, status=CANCELED)
            return finished_record(task) or _computed(task, folder)
    except OSError as error:
        message = f"Could not write in {folder}: {error.strerror or error}."
        return failed_record(task, message, NO_SPACE, wall_seconds=time.monotonic() - started)


@contextmanager
def _claimed(folder: Path, task: PairTask) -> Iterator[bool]:
    """Hold the lock of a folder, which the system releases when a process ends; False when the run was stopped."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE)
    while True:
        try:
            lock.acquire(timeout=POLL_S)
            break
        except Timeout:
            if _is_stopped(task):
                yield False
                return
    try:
        yield True
    finally:
        lock.release()


def _computed(task: PairTask, folder: Path) -> PairRecord:
    started = time.monotonic()
    for left in folder.glob(f"{HIDDEN}*"):  # of a worker that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        job_folder = new_job_folder(folder)
    except FileError as error:
        return failed_record(task, error.message, error.hint)
    try:
        fingerprint = task.fingerprint()
        outcome, reason = _run_job(task, job_folder)
        seconds = time.monotonic() - started
        if outcome.state == CANCELLED and not reason:
            return PairRecord(pair=task.pair.name, engine=task.choice.engine, status=CANCELED)
        if not outcome.ok:
            message, hint = reason or (outcome.message, outcome.hint)
            return _failed(task, folder, message, hint, seconds)
        record = record_of_report(
            task,
            read_report(outcome.files["report"]),
            fingerprint=fingerprint,
            wall_seconds=seconds,
            files=(path.name for path in outcome.files.values()),
        )
        # Moved before the report, which marks the result as complete.
        files = {**outcome.files, "record": record.write(job_folder)}
        publish(files, folder)
        return record
    except RegistrationError as error:
        return _failed(task, folder, error.message, error.hint, time.monotonic() - started)
    finally:
        shutil.rmtree(job_folder, ignore_errors=True)


def _failed(task: PairTask, folder: Path, message: str, hint: str, seconds: float) -> PairRecord:
    """Return the record of a failure and write it, unless the disk is full; an earlier result is removed."""
    record = failed_record(task, message, hint, wall_seconds=seconds)
    try:
        publish({}, folder)
        record.write(folder)
    except FileError:
        (folder / RECORD_FILE).unlink(missing_ok=True)
    return record


def _run_job(task: PairTask, job_folder: Path) -> tuple[JobOutcome, tuple[str, str] | None]:
    """Run the job and return its outcome, and the limit it exceeded, if any, as message and hint."""
    job = Job(
        inputs=task.pair.inputs,
        engine=task.choice.engine,
        preset=task.choice.preset,
        settings=task.settings,
        compute=task.compute,
        outputs=_possible_outputs(task),
        ephemeral=True,
    )
    job.write(job_folder)
    client = WorkerClient(job_folder, workers=WORKERS)
    reason: tuple[str, str] | None = None
    started = time.monotonic()
    with client:
        while True:
            try:
                return client.wait(POLL_S), reason
            except TimeoutError:
                pass
            if reason is None:
                reason = _exceeded(task, client, time.monotonic() - started)
                if reason is not None:
                    client.kill()
                elif _is_stopped(task):
                    client.cancel()


def _possible_outputs(task: PairTask) -> dict[str, str]:
    without = set() if "moving_labels" in task.pair.inputs else {"warped_labels"}
    return {role: name for role, name in task.outputs.items() if role not in without}


def _is_stopped(task: PairTask) -> bool:
    return bool(task.stop_file) and Path(task.stop_file).exists()


def _exceeded(task: PairTask, client: WorkerClient, seconds: float) -> tuple[str, str] | None:
    """Return message and hint when a limit is exceeded."""
    if task.timeout_s and seconds > task.timeout_s:
        return (
            f"It was stopped after {seconds:.0f} s, the limit is {task.timeout_s:g} s.",
            "Use a faster preset, or a higher --timeout.",
        )
    if task.memory_mb and (used := used_memory_mb(client.pid)) > task.memory_mb:
        return (
            f"It was stopped because it used {used:.0f} MB of memory, the limit is {task.memory_mb:g} MB.",
            "Use a coarser preset, or a higher --memory.",
        )
    return None


def used_memory_mb(pid: int | None) -> float:
    """Return the resident memory of a process and its descendants in MB; 0 when it has ended."""
    import psutil

    if pid is None:
        return 0.0
    total = 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6
