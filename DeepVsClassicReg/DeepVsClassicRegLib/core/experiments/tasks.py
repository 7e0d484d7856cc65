"""Work that is done task by task in processes of its own: resumable, and one that crashes does not stop the rest."""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any, TextIO

from ..device import cpu_seconds, thread_variables
from ..errors import FileError, RegistrationError
from ..memory import kept_memory
from ..progress import Progress
from ..serialize import jsonable

LOG_FILE = "units.jsonl"  # the name and its key "unit" are those of the first release
DONE, FAILED, CRASHED = "done", "failed", "crashed"
LISTEN_SECONDS = 0.2


@dataclass(frozen=True)
class Task:
    """A piece of work whose answer is kept as one line of JSON.

    Attributes
    ----------
    name : str
        Unique within an experiment, read by people ('instance: S12 -> S11').
    work : str
        'module:function' of this room, or of any package when the module has a dot; called with `arguments`,
        returns a list of flat JSON mappings.
    arguments : mapping
        JSON values only; a change of them makes the task run again.
    group : str
        What kind of task it is; every row gets it as 'task'.
    """

    name: str
    work: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""

    @property
    def fingerprint(self) -> str:
        """Digest of what is computed."""
        text = json.dumps([self.work, dict(self.arguments)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TaskResult:
    """What a task left in the log.

    Attributes
    ----------
    task, group, fingerprint : str
        Which task it was.
    status : str
        'done', 'failed' (an error was raised) or 'crashed' (its process died).
    rows : tuple of mappings
        Its answer.
    reason : str
        Why there is none.
    seconds, cpu_seconds : float
        What it took.
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
        Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_FILE

    def read(self) -> dict[str, TaskResult]:
        """Return task name -> what it left; a line that was cut off by a power cut is passed over."""
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
    """Run the tasks that the log of the folder does not hold yet, and return all of them in order.

    Parameters
    ----------
    tasks : iterable of Task
        What shall be done; finished ones with the same arguments are taken from the log, failed ones are
        tried again.
    folder : path
        Where the log lies.
    workers : int
        Processes at a time; 0 runs everything in this process (for debugging: a crash is then fatal).
    threads : int
        Threads each of them may use.
    progress : Progress, optional
        Receives how far it is; a cancel ends the processes, what was finished stays in the log.

    Raises
    ------
    Cancelled
        When the user stopped it.
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
    """Return the rows of all tasks of a group that came to an answer."""
    return [dict(row) for entry in finished if entry.group == group for row in entry.rows]


def failures_of(finished: Iterable[TaskResult]) -> list[TaskResult]:
    """Return the tasks without an answer."""
    return [entry for entry in finished if entry.status != DONE]


def _is_done(task: Task, known: Mapping[str, TaskResult]) -> bool:
    entry = known.get(task.name)
    return entry is not None and entry.status == DONE and entry.fingerprint == task.fingerprint


def _run_in_processes(
    tasks: Sequence[Task], workers: int, threads: int, keep: Callable[[TaskResult], None], listener: Progress
) -> None:
    """Keep `workers` tasks going; when a process dies, each task that was on its way is tried once more alone."""
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
    """Run tasks off the list until it is empty or a process died; return those on their way at that moment."""
    running: dict[Future[dict[str, Any]], Task] = {}
    ahead = iter(list(waiting))
    with _pool(workers, threads) as pool:
        while True:
            try:
                # No more tasks in the pool than processes: after a crash only those few are suspects.
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


@contextmanager
def _pool(workers: int, threads: int) -> Any:
    """Give a pool of fresh processes; leaving the block by an error or a cancel ends them."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(threads,)
    )
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(threads: int) -> None:
    """Bound the threads before any library that reads these variables is loaded; leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(thread_variables(threads))


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, however that ended: no orphan goes on computing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _attempt_in_own_process(work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with kept_memory():
        return _attempt(work, arguments)


def _attempt(work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do the work of a task; every error becomes an answer."""
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
    """Begin a new line when the last one was cut off."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != "\n":
            file.write("\n")
