"""Tasks in separate processes: resumable, and a task that crashes does not stop the others."""

from __future__ import annotations

import importlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ..device import cpu_seconds, kept_memory
from ..errors import FileError, RegistrationError
from ..files import json_digest, jsonable
from ..process_pool import process_pool
from ..progress import Progress

LOG_FILE = "units.jsonl"  # the name and its key "unit" are those of the first release
DONE, FAILED, CRASHED = "done", "failed", "crashed"
LISTEN_SECONDS = 0.2


@dataclass(frozen=True)
class Task:
    """A task whose result is stored as one line of JSON.

    Attributes
    ----------
    name : str
        Unique name within an experiment ('instance: S12 -> S11').
    work : str
        'module:function' of this package, or of any package when the module has a dot; called with `arguments`, returns
        a list of flat JSON mappings.
    arguments : mapping
        JSON values; when they change, the task runs again.
    group : str
        Kind of the task, added to every row as 'task'.
    """

    name: str
    work: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""

    @property
    def fingerprint(self) -> str:
        """Digest of function and arguments."""
        return json_digest([self.work, dict(self.arguments)])[:16]


@dataclass(frozen=True)
class TaskResult:
    """The result of a task in the log.

    Attributes
    ----------
    task, group, fingerprint : str
        Name of the task.
    status : str
        'done', 'failed' (an error was raised) or 'crashed' (its process ended unexpectedly).
    rows : tuple of mappings
        The result.
    reason : str
        Reason of a failure.
    seconds, cpu_seconds : float
        Time of the task.
    """

    task: str
    group: str
    fingerprint: str
    status: str
    rows: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class TaskLog:
    """The file of finished tasks, one JSON line each; a later line of a task replaces an earlier one.

    Parameters
    ----------
    folder : path
        Folder of the file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_FILE

    def read(self) -> dict[str, TaskResult]:
        """Return task name -> result; an incomplete line is ignored."""
        found: dict[str, TaskResult] = {}
        if not self.path.is_file():
            return found
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                content = json.loads(line)
            except json.JSONDecodeError:
                continue
            name = content.pop("unit")
            found[name] = TaskResult(name, **{**content, "rows": tuple(content["rows"])})
        return found

    def add(self, finished: TaskResult) -> None:
        """Append a line.

        Raises
        ------
        FileError
            When it cannot be written.
        """
        content = jsonable(finished)
        content = {"unit": content.pop("task"), **content}
        try:
            with self.path.open("a+", encoding="utf-8") as file:
                _end_line(file)
                file.write(json.dumps(content, ensure_ascii=False) + "\n")
        except OSError as error:
            raise FileError(f"Could not write {self.path}: {error.strerror or error}.") from error


def run_tasks(
    tasks: Iterable[Task], folder: Path, *, workers: int = 1, threads: int = 1, progress: Progress | None = None
) -> list[TaskResult]:
    """Run the tasks that are not in the log of the folder, and return the results of all tasks in order.

    Parameters
    ----------
    tasks : iterable of Task
        The tasks; results of finished ones with the same arguments are read from the log, failed ones run again.
    folder : path
        Folder of the log.
    workers : int
        Number of parallel processes; 0 runs everything in this process (for debugging: a crash is then fatal).
    threads : int
        Threads of each process.
    progress : Progress, optional
        Receives progress updates; a cancel ends the processes, finished tasks stay in the log.

    Raises
    ------
    Cancelled
        When the user canceled.
    FileError
        When the log cannot be written.
    """
    wanted = list(tasks)
    listener = progress or Progress()
    log = TaskLog(folder)
    known = log.read()
    finished = {task.name: known[task.name] for task in wanted if _is_done(task, known)}
    missing = [task for task in wanted if task.name not in finished]

    def keep(answer: TaskResult) -> None:
        finished[answer.task] = answer
        log.add(answer)
        listener.report(len(finished) / max(1, len(wanted)), f"{answer.task}: {answer.status}")

    if workers == 0:
        for task in missing:
            listener.check()
            keep(_finish(task, _attempt(task.work, dict(task.arguments))))
    elif missing:
        _run_in_processes(missing, min(workers, len(missing)), threads, keep, listener)
    return [finished[task.name] for task in wanted]


def rows_of(finished: Iterable[TaskResult], group: str) -> list[dict[str, Any]]:
    """Return the rows of all finished tasks of a group."""
    return [dict(row) for entry in finished if entry.group == group for row in entry.rows]


def failures_of(finished: Iterable[TaskResult]) -> list[TaskResult]:
    """Return the failed tasks."""
    return [entry for entry in finished if entry.status != DONE]


def _is_done(task: Task, known: Mapping[str, TaskResult]) -> bool:
    entry = known.get(task.name)
    return entry is not None and entry.status == DONE and entry.fingerprint == task.fingerprint


def _run_in_processes(
    tasks: Sequence[Task], workers: int, threads: int, keep: Callable[[TaskResult], None], listener: Progress
) -> None:
    """Run `workers` tasks in parallel; when a process dies, each running task is repeated once alone."""
    waiting = list(tasks)
    while waiting:
        suspects = _until_broken(waiting, workers, threads, keep, listener)
        for task in suspects:
            waiting.remove(task)
            if _until_broken([task], 1, threads, keep, listener):
                keep(
                    _finish(
                        task,
                        {"status": CRASHED, "reason": "Its process ended unexpectedly (out of memory, or a crash)."},
                    )
                )


def _until_broken(
    waiting: list[Task], workers: int, threads: int, keep: Callable[[TaskResult], None], listener: Progress
) -> list[Task]:
    """Run tasks until the list is empty or a process dies; return the tasks running at that time."""
    running: dict[Future[dict[str, Any]], Task] = {}
    ahead = iter(list(waiting))
    with process_pool(workers, threads) as pool:
        while True:
            try:
                # The pool has at most one task per process, so that few tasks must be repeated after a crash.
                while len(running) < workers and (task := next(ahead, None)) is not None:
                    running[pool.submit(_attempt_in_own_process, task.work, dict(task.arguments))] = task
                if not running:
                    return []
                for future in wait(running, timeout=LISTEN_SECONDS, return_when=FIRST_COMPLETED).done:
                    answer = future.result()
                    task = running.pop(future)
                    waiting.remove(task)
                    keep(_finish(task, answer))
            except BrokenProcessPool:
                return [task for task in waiting if task in running.values()] or waiting[:1]
            listener.check()


def _attempt_in_own_process(work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with kept_memory():
        return _attempt(work, arguments)


def _attempt(work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a task; an error becomes a failed result."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    try:
        module, _, name = work.partition(":")
        package = None if "." in module else __package__
        function = getattr(importlib.import_module(module if package is None else f".{module}", package), name)
        answer: dict[str, Any] = {"status": DONE, "rows": function(**arguments)}
    except RegistrationError as error:
        answer = {"status": FAILED, "reason": str(error)}
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        answer = {"status": FAILED, "reason": reason}
    return {**answer, "seconds": time.perf_counter() - wall, "cpu_seconds": cpu_seconds() - cpu}


def _finish(task: Task, answer: Mapping[str, Any]) -> TaskResult:
    return TaskResult(
        task=task.name,
        group=task.group,
        fingerprint=task.fingerprint,
        status=answer["status"],
        rows=tuple(answer.get("rows", ())),
        reason=answer.get("reason", ""),
        seconds=round(answer.get("seconds", 0.0), 3),
        cpu_seconds=round(answer.get("cpu_seconds", 0.0), 3),
    )


def _end_line(file: TextIO) -> None:
    """Start a new line when the last one is incomplete."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != "\n":
            file.write("\n")
